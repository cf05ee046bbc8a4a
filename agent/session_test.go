package agent

import (
	"testing"

	"github.com/shardmanager/shardmanager/agent/roster"
)

// A session outlasts the longest rest of an agent (PROTOCOL R19), however long ago it was renewed before that, and though that renewal was lost.
func TestSessionOutlastsARest(t *testing.T) {
	expires := 2 * SessionTTL // as every store has it (package coord)
	longest := SessionRenewal * 12 / 10
	lost := storeTimeout
	back := storeTimeout // to start again and renew
	if needs := longest + lost + roster.MaxRest + back; expires < needs {
		t.Errorf("a session ends after %v, and is needed for %v", expires, needs)
	}
}
