package roster_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// TestScenarios plays the stories in testdata: each line is an event (or time passing), and what follows from it is recorded. The
// language is that of world.play; after every event the world checks the invariants of the package's doc.
func TestScenarios(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/scenarios", func(t *testing.T, path string) {
		w := newWorld(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.t = t
			var out strings.Builder
			if d.Cmd != "play" {
				d.Fatalf(t, "unknown directive %s", d.Cmd)
			}
			for line := range strings.Lines(d.Input) {
				line = strings.TrimSpace(line)
				fmt.Fprintf(&out, "%s\n", line)
				for _, effect := range w.play(line) {
					fmt.Fprintf(&out, "  %s\n", effect)
				}
			}
			return out.String()
		})
		if w.steps == 0 {
			t.Fatal("a scenario without a single step checks nothing")
		}
	})
}

func settings() roster.Settings {
	return roster.Settings{
		Interval: time.Second, Validity: 6 * time.Second, SessionRenewal: 9 * time.Second, LoadInterval: 5 * time.Second,
		StepDeadline: 10 * time.Second, EndDeadline: 5 * time.Second, ReportWait: 3 * time.Second, RestWait: 2 * time.Second,
	}
}

// reporter is told of broken invariants: a *testing.T, or a *rapid.T.
type reporter interface {
	Errorf(format string, args ...any)
	Fatal(args ...any)
}

// world is a roster with a clock.
type world struct {
	t     reporter
	r     *roster.Roster
	now   shard.Instant
	out   roster.Effects
	steps int
	next  roster.RequestID
	saved roster.Saved // as last written
	ended map[shard.Incarnation]bool
	quiet map[string]bool // effects that are not shown
}

func newWorld(t reporter) *world {
	return &world{
		t: t, now: shard.Instant{Boot: int64(time.Hour), Raw: int64(time.Minute)}, ended: map[shard.Incarnation]bool{}, quiet: map[string]bool{},
		r: roster.New(settings(), shard.Server{ID: "a.kv", App: "kv", Agent: "a", AgentAddress: "a:1"}),
	}
}

// args are the words of a line: bare ones, and key=value.
type args struct {
	bare  []string
	named map[string]string
}

func parse(line string) args {
	a := args{named: map[string]string{}}
	for _, word := range strings.Fields(line) {
		if key, value, ok := strings.Cut(word, "="); ok {
			a.named[key] = value
		} else {
			a.bare = append(a.bare, word)
		}
	}
	return a
}

func (a args) is(word string) bool {
	for _, b := range a.bare[1:] {
		if b == word {
			return true
		}
	}
	return false
}

func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 16, 64)
	if s != "" && err != nil {
		panic(err)
	}
	return n
}

func (a args) incarnation(key string) shard.Incarnation {
	return shard.Incarnation(number(a.named[key]))
}

func (a args) duration(key string) time.Duration {
	if a.named[key] == "" {
		return 0
	}
	d, err := time.ParseDuration(a.named[key])
	if err != nil {
		panic(err)
	}
	return d
}

func (a args) stream() roster.StreamID {
	if a.named["stream"] == "" {
		return 1
	}
	return roster.StreamID(number(a.named["stream"]))
}

func (a args) epoch() shard.Epoch {
	if a.named["epoch"] == "" {
		return shard.Epoch{Index: 7}
	}
	return shard.Epoch{Index: number(a.named["epoch"])}
}

func (a args) order(key string) shard.Order {
	term, move, _ := strings.Cut(a.named[key], "/")
	return shard.Order{Term: shard.Term(number(term)), Move: shard.MoveID(number(move))}
}

func (a args) process() roster.Process {
	return roster.Process{PID: int64(number(a.named["pid"])), StartTicks: 1, ExitProves: !a.is("unproven")}
}

// play takes one line in and returns what the roster wants done.
func (w *world) play(line string) []string {
	a := parse(line)
	if len(a.bare) == 0 {
		return nil
	}
	switch a.bare[0] {
	case "hide": // effects of this kind are not shown from here on
		w.quiet[a.bare[1]] = true
		return nil
	case "after":
		return w.pass(a.bare[1])
	case "view":
		return []string{w.view()}
	case "hello": // the shell opens a stream
		hello, ok := w.r.Hello()
		var shown []string
		for _, h := range hello.Held {
			shown = append(shown, fmt.Sprintf("hello %v: %s %s max %s", ok, h.Shard, h.Phase, h.Max))
		}
		return shown
	}
	return w.step(w.event(a))
}

func (w *world) pass(text string) []string {
	d, err := time.ParseDuration(text)
	if err != nil {
		w.t.Fatal(err)
	}
	var all []string
	for end := w.now.Add(d); !end.Passed(w.now); {
		w.now = w.now.Add(100 * time.Millisecond)
		w.out.Reset()
		w.r.Tick(w.now, &w.out)
		for _, e := range w.shown() {
			all = append(all, fmt.Sprintf("%v: %s", w.now.Remaining(shard.Instant{Boot: int64(time.Hour), Raw: int64(time.Minute)}), e))
		}
	}
	return all
}

func (w *world) step(ev roster.Event) []string {
	w.steps++
	w.out.Reset()
	w.r.Step(w.now, ev, &w.out)
	return w.shown()
}

func (w *world) event(a args) roster.Event {
	switch a.bare[0] {
	case "started":
		if a.is("ended") { // the file says so
			w.ended[a.incarnation("inc")] = true
		}
		return roster.Started{Alive: a.is("alive"), Saved: roster.Saved{
			Incarnation: a.incarnation("inc"), Session: a.named["session"], Create: 9, Ended: a.is("ended"), Process: a.process(), ServeOn: a.is("serve-on"),
		}}
	case "register":
		w.next++
		return roster.AppRegistered{
			Request: w.next, Incarnation: a.incarnation("inc"), Held: a.held(), Fresh: a.incarnation("fresh"),
			Highest:     shard.Epoch{Index: number(a.named["highest"])},
			Application: roster.Application{Process: a.process(), HostAddress: "unix:///app", Activate: a.is("activate"), Load: a.is("load")},
		}
	case "exit":
		return roster.AppGone{Process: a.process()}
	case "pull":
		w.next++
		return roster.Pull{Request: w.next, Incarnation: a.incarnation("inc")}
	case "saved":
		saved := w.saved
		return roster.FileSaved{Saved: saved, Err: a.named["err"]}
	case "key":
		if a.is("refused") {
			return roster.KeyRefused{Incarnation: a.incarnation("inc"), Holder: a.named["holder"], Why: a.named["why"]}
		}
		return roster.KeyRegistered{Incarnation: a.incarnation("inc"), Session: a.named["session"], Create: 9}
	case "read":
		states := map[string]roster.KeyState{"ours": roster.KeyOurs, "gone": roster.KeyGone, "unknown": roster.KeyUnknown}
		return roster.KeyRead{Incarnation: a.incarnation("inc"), State: states[a.bare[1]], Why: a.named["why"]}
	case "session":
		return roster.SessionRenewed{Session: a.named["session"], Lost: a.is("lost"), Err: a.named["err"]}
	case "destroyed":
		return roster.SessionDestroyed{Session: a.named["session"], Err: a.named["err"]}
	}
	return w.eventOfLeader(a)
}

func (w *world) eventOfLeader(a args) roster.Event {
	switch a.bare[0] {
	case "attached":
		return roster.Attached{
			Stream: a.stream(), Incarnation: a.incarnation("inc"), Epoch: a.epoch(), Interval: time.Second, Validity: 6 * time.Second,
		}
	case "detached":
		return roster.Detached{Stream: a.stream(), Why: "reset"}
	case "grant":
		return roster.Granted{Stream: a.stream(), Sequence: number(a.named["seq"]), Remaining: a.duration("for"), ServeOn: a.is("serve-on")}
	case "rest-granted":
		return roster.RestGranted{Stream: a.stream(), Sequence: number(a.named["seq"]), Remaining: a.duration("for")}
	case "fenced":
		return roster.Fenced{Incarnation: a.incarnation("inc"), Reason: "silent"}
	case "progress":
		return roster.DrainProgress{Stream: a.stream(), Remaining: int(number(a.named["left"]))}
	case "drain":
		return roster.Drain{On: !a.is("off")}
	case "rest":
		w.next++
		return roster.Rest{Request: w.next, Length: a.duration("for")}
	case "stop":
		return roster.Stop{Reason: "the agent stops"}
	case "answer":
		outcomes := map[string]roster.Outcome{
			"ok": roster.CallOK, "stale": roster.CallStale, "busy": roster.CallBusy, "not-begun": roster.CallNotBegun,
			"begun": roster.CallBegun, "failed": roster.CallFailed,
		}
		done := roster.CallDone{ID: roster.CallID(number(a.bare[1])), Outcome: outcomes[a.bare[2]]}
		for _, l := range a.bare[3:] {
			id, load, _ := strings.Cut(l, ":")
			done.Loads = append(done.Loads, roster.ShardLoad{Shard: shard.ID(id), Load: map[string]int64{"keys": int64(number(load))}})
		}
		return done
	}
	return a.command()
}

func (a args) command() roster.Event {
	kinds := map[string]roster.Kind{
		"add": roster.AddShard, "drop": roster.DropShard, "prepare-add": roster.PrepareAddShard,
		"prepare-drop": roster.PrepareDropShard, "cancel": roster.CancelMove, "members": roster.UpdateMembership,
	}
	kind, ok := kinds[a.bare[0]]
	if !ok {
		panic("unknown event " + a.bare[0])
	}
	c := roster.Command{Stream: a.stream(), Deadline: a.duration("within"), ID: roster.CommandID{
		Epoch: a.epoch(), Incarnation: a.incarnation("inc"), Shard: shard.ID(a.bare[1]), Order: a.order("order"), Kind: kind,
	}}
	if a.is("secondary") {
		c.Role = shard.Secondary
	}
	for name := range strings.SplitSeq(a.named["with"], ",") {
		if name != "" {
			c.Members = append(c.Members, shard.Member{Peer: shard.Peer{Server: shard.ServerID(name), Incarnation: 0xc, DataAddress: name + ":1"}})
		}
	}
	if p := a.named["peer"]; p != "" {
		c.Peer = shard.Peer{Server: shard.ServerID(p), Incarnation: 0xb, DataAddress: p + ":1"}
	}
	return c
}

// held parses `held=0:primary:3:3/2`: shard, phase, term, highest order; several with commas.
func (a args) held() []shard.Held {
	var list []shard.Held
	for text := range strings.SplitSeq(a.named["held"], ",") {
		if text == "" {
			continue
		}
		parts := strings.Split(text, ":")
		phases := map[string]shard.Phase{"none": shard.None, "prepared": shard.Prepared, "primary": shard.Serving, "forwarding": shard.Forwarding,
			"secondary": shard.Following}
		maximum := args{named: map[string]string{"max": parts[3]}}.order("max")
		list = append(list, shard.Held{
			Shard: shard.ID(parts[0]), Phase: phases[parts[1]], Term: shard.Term(number(parts[2])), Max: maximum, Activated: parts[1] == "primary",
		})
	}
	return list
}
