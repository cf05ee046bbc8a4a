package invariant_test

import (
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/internal/invariant"
)

// A broken invariant panics and says what it is, with the tag only; one that holds does nothing.
func TestCheck(t *testing.T) {
	caught := func(ok bool) (said any) {
		defer func() { said = recover() }()
		invariant.Check(ok, "shard %s", "7")
		return nil
	}
	if said := caught(true); said != nil {
		t.Errorf("it holds, and panics: %v", said)
	}
	said, _ := caught(false).(string)
	if invariant.Enabled != strings.Contains(said, "shard 7") {
		t.Errorf("enabled: %t, and says %q", invariant.Enabled, said)
	}
}
