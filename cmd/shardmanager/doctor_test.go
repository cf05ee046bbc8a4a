package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/doctor"
)

// The doctor asks every allocator that is named, says what it found, and fails if something keeps a promise from being kept.
func TestDoctor(t *testing.T) {
	p := &plane{}
	p.left.Store(9)
	admin := serve(t, p)
	none := "unix://" + t.TempDir() + "/no.sock"
	code, out, errs := shell(t, "doctor", "--admin", admin, "--socket", none)
	if code != exitOK || !strings.Contains(out, "a1 leads") || !strings.Contains(out, "none on this host") || !strings.Contains(out, "node-1.kv is being drained") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	code, out, errs = shell(t, "doctor", "-o", "json", "--admin", admin+",127.0.0.1:1", "--socket", "unix://"+write(t, "agent.sock", ""))
	var list []doctor.Finding
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != exitFailure || !strings.Contains(errs, "doctor: 2 of ") {
		t.Errorf("%d %v %s%s", code, err, out, errs)
	}
	failed := map[string]string{}
	for _, f := range list {
		if f.Level == doctor.Fail {
			failed[f.About] = f.Says
		}
	}
	if !strings.Contains(failed["allocator"], "cannot reach allocator 127.0.0.1:1") || !strings.Contains(failed["agent"], "cannot reach the agent at unix://") {
		t.Errorf("failures %q", failed)
	}
	if code, _, errs := shell(t, "doctor", "--admin", "nonsense"); code != exitUsage || !strings.Contains(errs, "--admin") {
		t.Errorf("%d %s", code, errs)
	}
}
