package events_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/internal/shard"
)

func decided(i int) events.Body {
	return events.Decided{Decision: ledger.Decision{What: fmt.Sprint(i), App: "kv", Shard: shard.ID(fmt.Sprint(i % 3))}}
}

// shown is a list of events in short: decisions by name, gaps by how many were missed.
func shown(list []events.Event) string {
	out := ""
	for _, e := range list {
		switch b := e.Body.(type) {
		case events.Decided:
			out += b.Decision.What + " "
		case events.Gap:
			out += fmt.Sprintf("gap:%d ", b.Missed)
		case events.LeaderChanged, events.ServerChanged:
			out += "? "
		}
	}
	return out
}

func at(epoch, sequence uint64) events.Position {
	return events.Position{Epoch: shard.Epoch{Index: epoch}, Sequence: sequence}
}

func TestReadFromAnywhere(t *testing.T) {
	l := events.NewLog()
	l.Begin(shard.Epoch{Index: 7})
	if list, _ := l.Read(events.Position{}, 10); len(list) != 0 {
		t.Errorf("an empty log has %v", list)
	}
	for i := 1; i <= 4; i++ {
		l.Add(time.Now(), decided(i))
	}
	for _, c := range []struct {
		after events.Position
		most  int
		want  string
	}{
		{events.Position{}, 10, "1 2 3 4 "},
		{events.Position{}, 2, "1 2 "},
		{at(7, 0), 10, "1 2 3 4 "},
		{at(7, 2), 10, "3 4 "},
		{at(7, 4), 10, ""},
		{at(7, 9), 10, "gap:0 1 2 3 4 "}, // it was never told of that
		{at(6, 2), 10, "gap:0 1 2 3 4 "}, // another leadership
	} {
		if list, _ := l.Read(c.after, c.most); shown(list) != c.want {
			t.Errorf("after %v: %q, want %q", c.after, shown(list), c.want)
		}
	}
}

// Who falls behind hears of it once, and to resume from the gap is to go on behind it.
func TestForgottenEventsLeaveAGap(t *testing.T) {
	l := events.NewLog()
	l.Begin(shard.Epoch{Index: 7})
	for i := range events.KeptMost + 5 {
		l.Add(time.Now(), decided(i+1))
	}
	list, _ := l.Read(at(7, 2), 3)
	if got := shown(list); got != "gap:3 6 7 " {
		t.Errorf("after 2: %q", got)
	}
	next, _ := l.Read(list[0].Position, 2)
	if got := shown(next); got != "6 7 " {
		t.Errorf("after the gap: %q", got)
	}
	if list, _ := l.Read(events.Position{}, 1); shown(list) != "6 " {
		t.Errorf("from the beginning: %q", shown(list))
	}
	if l.Newest() != at(7, events.KeptMost+5) {
		t.Errorf("the newest is %v", l.Newest())
	}
}

func TestReadersAreWoken(t *testing.T) {
	l := events.NewLog()
	l.Begin(shard.Epoch{Index: 7})
	_, more := l.Read(events.Position{}, 10)
	select {
	case <-more:
		t.Fatal("woken for nothing")
	default:
	}
	l.Add(time.Now(), decided(1))
	<-more
}

func TestEventsOfAShard(t *testing.T) {
	l := events.NewLog()
	l.Begin(shard.Epoch{Index: 7})
	for i := 1; i <= 9; i++ {
		l.Add(time.Now(), decided(i), events.LeaderChanged{})
	}
	if got := shown(l.Of("kv", "1", 2)); got != "4 7 " {
		t.Errorf("got %q", got)
	}
	if got := shown(l.Of("other", "1", 2)); got != "" {
		t.Errorf("got %q of another app", got)
	}
}

func TestStatesTellWhatIsNew(t *testing.T) {
	status := func(i shard.Incarnation, s report.ServerState, draining bool) report.ServerStatus {
		return report.ServerStatus{Server: shard.Server{ID: "a.kv", Incarnation: i}, State: s, Draining: draining}
	}
	var states events.States
	for i, step := range []struct {
		now  []report.ServerStatus
		want []events.Body
	}{
		{[]report.ServerStatus{status(1, report.Attached, false)}, []events.Body{events.ServerChanged{Status: status(1, report.Attached, false)}}},
		{[]report.ServerStatus{status(1, report.Attached, false)}, nil},
		{[]report.ServerStatus{status(1, report.Attached, true)}, []events.Body{events.ServerChanged{Status: status(1, report.Attached, true)}}},
		{[]report.ServerStatus{status(1, report.Over, true), status(2, report.Attached, false)}, []events.Body{
			events.ServerChanged{Status: status(1, report.Over, true)}, events.ServerChanged{Status: status(2, report.Attached, false)},
		}},
		{[]report.ServerStatus{status(2, report.Attached, false)}, nil},
		{nil, []events.Body{events.ServerChanged{Status: report.ServerStatus{
			Server: shard.Server{ID: "a.kv", Incarnation: 2}, State: report.Over, Reason: "gone",
		}}}},
		{nil, nil},
	} {
		if d := cmp.Diff(step.want, states.Changes("a.kv", step.now)); d != "" {
			t.Errorf("step %d (-want +got):\n%s", i, d)
		}
	}
}
