package judge

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/overlap"
	"github.com/shardmanager/shardmanager/internal/overlap/requests"
)

const (
	ms  = int64(time.Millisecond)
	sec = int64(time.Second)
)

// eventAt is when the first event of the evidence below happens, and killed when a does.
const (
	eventAt = 20 * sec
	killed  = eventAt + 5*ms
)

// lossOfA is good evidence: a is killed and b serves its shard again 400 ms after that. 1 request a millisecond takes 2 ms, during the event 8 ms.
func lossOfA() Evidence {
	a, b := overlap.Process{File: "a", PID: 1}, overlap.Process{File: "b", PID: 2}
	e := Evidence{
		Kills: []overlap.Kill{{Process: a, At: killed}}, Trials: []Trial{{Process: a, At: killed}}, Played: 1, Moves: 1,
		First: eventAt, Last: eventAt + 2*sec,
	}
	e.Histories = []overlap.History{
		{Process: a, Opened: 1, Records: []overlap.Record{
			{Kind: overlap.ServerNamed, Name: "a.kv", Term: 7, At: 1},
			{Kind: overlap.LeaseExtended, At: 1, End: 26 * sec},
			{Kind: overlap.Activated, Name: "00", Term: 1, At: sec},
			{Kind: overlap.Operation, Name: "00", Term: 1, At: 2 * sec, End: 3 * sec},
		}},
		{Process: b, Opened: 1, Records: []overlap.Record{
			{Kind: overlap.ServerNamed, Name: "b.kv", Term: 8, At: 1},
			{Kind: overlap.LeaseExtended, At: 1, End: 40 * sec},
			{Kind: overlap.Activated, Name: "00", Term: 2, At: killed + 300*ms},
			{Kind: overlap.Operation, Name: "00", Term: 2, At: killed + 390*ms, End: killed + 400*ms},
		}},
	}
	for at := 9 * sec; at < 24*sec; at += ms {
		r := requests.Request{Start: at, End: at + 2*ms, Kind: requests.Read, Outcome: requests.OK}
		if at >= eventAt && at < eventAt+3*sec {
			r.End = at + 8*ms
		}
		e.Requests = append(e.Requests, r)
	}
	e.Load.Final = true
	return e
}

var lossScenario = Expected{Scenario: "crash", Store: "embedded", Mode: "primary-only", Failover: time.Second}

func TestJudgeMeasures(t *testing.T) {
	t.Parallel()
	e := lossOfA()
	e.Settled = []time.Duration{2500 * time.Millisecond, time.Second}
	r, broken, err := Judge(lossScenario, e)
	if err != nil || len(broken) > 0 {
		t.Fatalf("broken %v, error %v", broken, err)
	}
	const want = `{"scenario":"crash","store":"embedded","mode":"primary-only","requests":15000,"failed":0,"failed_reads":0,"failed_writes":0,"p50_ms":8,"p99_ms":8,` +
		`"p99_before_ms":2,"failover_ms":400,"failover_p99_ms":400,"settled_ms":2500,"trials":1,"moves":1,"overlap_ms":0,"lost_writes":0,"ok":true}`
	if diff := cmp.Diff(want, r.String()); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

func TestPlannedScenariosHaveNoFailover(t *testing.T) {
	t.Parallel()
	e := lossOfA()
	e.Trials = nil
	r, _, err := Judge(Expected{Scenario: "drain", Planned: true}, e)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(r.String()), &fields); err != nil {
		t.Fatal(err)
	}
	if fields["failover_ms"] != nil || fields["failover_p99_ms"] != nil || fields["settled_ms"] != nil || len(fields) != 18 {
		t.Errorf("fields %v: expected 18, with null for what was not measured", fields)
	}
}

// Each case damages the good evidence in one way; the judge must name the promise that this breaks.
func TestJudgeSeesBrokenPromises(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		expected Expected
		change   func(*Evidence)
		says     string
	}{
		{"a failed read in a planned event", Expected{Scenario: "drain", Planned: true}, func(e *Evidence) {
			e.Requests[7].Outcome = requests.Failed
		}, "1 of 15000 requests failed (in all 1 reads, 0 writes) although none had to"},
		{"a lost write", lossScenario, func(e *Evidence) { e.Load.LostWrites = 3 }, "3 acknowledged writes were lost"},
		{"a repeated write", lossScenario, func(e *Evidence) { e.Load.RepeatedWrites = 1 }, "1 writes were applied twice"},
		{"a stale read", lossScenario, func(e *Evidence) { e.Load.StaleReads = 1 }, "1 reads were older"},
		{"keys not read back", lossScenario, func(e *Evidence) { e.Load.UnverifiedKeys = 9 }, "9 keys could not be read back"},
		{"two owners", lossScenario, func(e *Evidence) { e.Kills = nil }, "two servers owned a shard at once"},
		{"a slow failover", lossScenario, func(e *Evidence) {
			e.Histories[1].Records[3].At, e.Histories[1].Records[3].End = killed+sec, killed+1001*ms
		}, "failover took 1001 ms (p99 of 1 trials), expected less than 1s"},
		{"a shard that nobody served again", lossScenario, func(e *Evidence) {
			e.Histories[1].Records = e.Histories[1].Records[:3]
		}, "shard 00 was never served again"},
		{"what the player saw", lossScenario, func(e *Evidence) { e.Broken = []string{"the balance is off"} }, "the balance is off"},
	} {
		e := lossOfA()
		c.change(&e)
		r, broken, err := Judge(c.expected, e)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if r.OK || !strings.Contains(strings.Join(broken, "\n"), c.says) {
			t.Errorf("%s: ok %v, broken %q, expected %q", c.name, r.OK, broken, c.says)
		}
	}
}

func TestFailedRequestsAreNoBrokenPromiseOfACrash(t *testing.T) {
	t.Parallel()
	e := lossOfA()
	e.Requests[len(e.Requests)-1].Outcome, e.Requests[len(e.Requests)-1].Kind = requests.Failed, requests.Write
	r, broken, err := Judge(lossScenario, e)
	if err != nil || !r.OK || r.Failed != 1 || r.FailedWrites != 1 {
		t.Errorf("%+v, broken %v, error %v", r, broken, err)
	}
}

func TestJudgeRefusesToJudgeNothing(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Evidence){
		"no histories":             func(e *Evidence) { e.Histories = nil },
		"no operations":            func(e *Evidence) { e.Histories[0].Records = nil; e.Histories[1].Records = nil },
		"no requests":              func(e *Evidence) { e.Requests = nil },
		"no requests before":       func(e *Evidence) { e.Requests = e.Requests[12*1000:] },
		"no event":                 func(e *Evidence) { e.First = 0 },
		"no trial":                 func(e *Evidence) { e.Trials = nil },
		"a trial without an owner": func(e *Evidence) { e.Trials[0].At = 1 },
	} {
		e := lossOfA()
		change(&e)
		_, _, err := Judge(lossScenario, e)
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if !errors.Is(err, overlap.ErrNoData) && !errors.Is(err, requests.ErrNoData) {
			t.Errorf("%s: %v is not about missing data", name, err)
		}
	}
}

// A shard that nobody could serve is no fault of those who should; every other shard is.
func TestSparedShardsMayFail(t *testing.T) {
	t.Parallel()
	x := Expected{Scenario: "poison-shard", Planned: true, Failover: time.Second}
	for _, c := range []struct {
		name   string
		failed uint32 // shard of the failed request
		ok     bool
	}{{"the spared shard", 3, true}, {"another shard", 4, false}} {
		e := lossOfA()
		e.Spared = map[string]uint32{"00": 0, "03": 3}
		e.Histories[1].Records = append(e.Histories[1].Records[:2:2], overlap.Record{Kind: overlap.Activated, Name: "01", Term: 1, At: sec})
		e.Requests[7].Outcome, e.Requests[7].Shard = requests.Failed, c.failed
		if r, broken, err := Judge(x, e); err != nil || r.OK != c.ok {
			t.Errorf("%s failed: ok %v, broken %q, error %v", c.name, r.OK, broken, err)
		}
	}
}
