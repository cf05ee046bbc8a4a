package steering

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
)

func pace() Settings {
	return Settings{Duration: 10 * time.Minute, Patience: 2 * time.Hour, Step: 10 * time.Minute, Margin: 2 * time.Minute}
}

// Two controllers, whose views are old and whose orders come late, twice or never; nodes that are drained and jobs that are deployed at any time. The world
// itself watches that nobody is stopped who is not ready. Left alone, everything comes to its end.
func TestTwoControllersInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, rapid.IntRange(1, 5).Draw(t, "allocations"), rapid.IntRange(2, 4).Draw(t, "nodes"), rapid.IntRange(1, 3).Draw(t, "cap"))
		w.canaries = rapid.IntRange(0, 1).Draw(t, "canaries")
		orders := make([][]Order, 2)
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			who := rapid.IntRange(0, 1).Draw(t, "who")
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				w.startDeployment()
			case 1:
				switch rapid.IntRange(0, 9).Draw(t, "rarely") {
				case 0, 1:
					w.startDrain(0)
				case 2: // an order under way then would come too late; the agent of whoever it stops drains by itself
					w.giveUp()
					clear(orders)
				}
			case 2, 3:
				orders[who] = Decide(w.view(), pace()).Orders // what was left of the last look is lost: it restarted, or was slow
			case 4, 5:
				if n := len(orders[who]); n > 0 {
					w.obey(orders[who][0])
					if rapid.Bool().Draw(t, "once") {
						orders[who] = orders[who][1:]
					}
				}
			default:
				w.turn(rapid.IntRange(0, 1000).Draw(t, "which"))
			}
			if n := w.down(); n > w.cap {
				t.Fatalf("%d down", n)
			}
		}
		for round := range 1000 {
			now := Decide(w.view(), pace())
			if w.deploy == nil && w.nodes[0].Drain == nil && !now.Busy {
				break
			}
			for _, o := range now.Orders {
				w.obey(o)
			}
			w.turn(round)
		}
		if plan := Decide(w.view(), pace()); w.deploy != nil || w.nodes[0].Drain != nil || len(plan.Orders) > 0 || plan.Busy {
			t.Fatalf("it does not end: deployment %+v, drain %+v, then %+v", w.deploy, w.nodes[0].Drain, plan)
		}
	})
}

// One controller that keeps up: whoever Nomad stops was approved, every one of them.
func TestNothingIsLeftToNomad(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, rapid.IntRange(2, 6).Draw(t, "allocations"), 2, rapid.IntRange(1, 3).Draw(t, "cap"))
		w.canaries = rapid.IntRange(0, 1).Draw(t, "canaries")
		w.startDeployment()
		for range 2000 {
			for _, o := range Decide(w.view(), pace()).Orders {
				w.obey(o)
			}
			w.turn(rapid.IntRange(0, 1000).Draw(t, "which"))
			if w.deploy == nil {
				break
			}
		}
		if w.deploy != nil || w.unplanned > 0 {
			t.Fatalf("deployment %+v; Nomad stopped %d by itself", w.deploy, w.unplanned)
		}
	})
}

// shown is a world without chance: three allocations, of which the first is on the first of two nodes.
func shown(t *testing.T) *world {
	t.Helper()
	var w *world
	rapid.Check(t, func(r *rapid.T) { w = newWorld(r, 3, 2, 1) })
	return w
}

func orders[O Order](p Plan) (list []O) {
	for _, o := range p.Orders {
		if o, ok := o.(O); ok {
			list = append(list, o)
		}
	}
	return list
}

// An event that somebody took back is respected: the deployment is theirs.
func TestTakenBackMeansHandsOff(t *testing.T) {
	w := shown(t)
	w.startDeployment()
	g := w.deploy.Groups["kv"]
	canary := w.place("kv.kv[0]", 2, "")
	w.attach(canary)
	g.Canaries = []string{canary.ID}
	w.deploy.Groups["kv"] = g
	asked := orders[Request](Decide(w.view(), pace()))
	if len(asked) != 1 || asked[0].ID != "nomad-deployment-"+w.deploy.ID+".1" || !slices.Equal(asked[0].Scope.Servers, w.first()) || asked[0].Kind != event.Upgrade {
		t.Fatalf("asked %+v", asked)
	}
	w.obey(asked[0])
	if again := Decide(w.view(), pace()); len(again.Orders) != 0 || again.HeldDeployments != 1 {
		t.Errorf("while it waits: %+v", again)
	}
	w.obey(Cancel{asked[0].ID})
	plan := Decide(w.view(), pace())
	if len(plan.Orders) != 0 || len(plan.Notes) != 1 || plan.HeldDeployments != 0 {
		t.Errorf("it goes on, or is held: %+v", plan)
	}
}

// What an event of an earlier deployment permitted is about to be taken back: nobody goes by it.
func TestWhatIsTakenBackPermitsNothing(t *testing.T) {
	w := shown(t)
	w.startDeployment()
	w.deploy.Groups["kv"] = Group{}
	w.deploy.Paused = true
	w.obey(orders[Request](Decide(w.view(), pace()))[0])
	w.turnEvent(&w.events[0])
	w.turnEvent(&w.events[0])
	if ready := Decide(w.view(), pace()); len(orders[Stop](ready)) != 1 {
		t.Fatalf("nobody is ready: %+v", ready)
	}
	w.deploy = nil
	w.startDeployment()
	w.deploy.Groups["kv"] = Group{}
	w.deploy.Paused = true
	plan := Decide(w.view(), pace())
	if len(orders[Stop](plan)) != 0 || len(orders[Cancel](plan)) != 1 || len(orders[Request](plan)) != 0 {
		t.Errorf("then %+v", plan.Orders)
	}
}

// Nomad may call a canary healthy whose server the leader does not know yet: nothing begins before it can take shards.
func TestCanariesServeFirst(t *testing.T) {
	w := shown(t)
	w.startDeployment()
	canary := w.place("kv.kv[0]", 2, "")
	w.deploy.Groups["kv"] = Group{Wanted: 1, Canaries: []string{canary.ID}}
	for _, healthy := range []bool{false, true} {
		canary.Healthy = healthy
		if plan := Decide(w.view(), pace()); len(plan.Orders) != 0 || len(plan.Notes) != 1 {
			t.Errorf("healthy %v, and no server: %+v", healthy, plan)
		}
	}
	w.attach(canary)
	canary.Healthy = false
	if plan := Decide(w.view(), pace()); len(plan.Orders) != 0 {
		t.Errorf("a server, and not healthy: %+v", plan)
	}
	canary.Healthy = true
	if plan := Decide(w.view(), pace()); len(orders[Request](plan)) != 1 {
		t.Errorf("it does not begin: %+v", plan)
	}
}

// A promotion stops whoever has a canary's name and an earlier version: one that just starts would be stopped with nobody asked, were it to attach meanwhile.
func TestPromotionWaitsForWhoIsOnTheWay(t *testing.T) {
	w := shown(t)
	w.startDeployment()
	canary := w.place("kv.kv[0]", 2, "")
	w.attach(canary)
	w.deploy.Groups["kv"] = Group{Wanted: 1, Canaries: []string{canary.ID}}
	w.deploy.Paused = true
	w.obey(orders[Request](Decide(w.view(), pace()))[0])
	w.turnEvent(&w.events[0])
	w.turnEvent(&w.events[0])
	v := w.view()
	promoted := func() int { return len(orders[Promote](Decide(v, pace()))) }
	if promoted() != 1 {
		t.Fatalf("it is not promoted: %+v", Decide(v, pace()))
	}
	late := Allocation{ID: "000000ff-0000-4000-8000-000000000001", Namespace: "default", Job: "kv", Group: "kv", Name: "kv.kv[0]", Version: 1, State: Live, Placed: v.Now}
	v.Allocations = append(v.Allocations, late)
	if plan := Decide(v, pace()); promoted() != 0 || len(plan.Notes) != 1 || !strings.Contains(plan.Notes[0], late.ID) {
		t.Errorf("while another starts: %+v", plan)
	}
	v.Now = v.Now.Add(pace().Duration)
	if promoted() != 1 {
		t.Error("one that never attaches holds it for ever")
	}
	v.Allocations = v.Allocations[:len(v.Allocations)-1]
	v.Nodes = []Node{{ID: w.allocs[0].Node, Drain: &Drain{Started: v.Now}}}
	if promoted() != 0 {
		t.Error("whom it stops is moved to another node at the same time")
	}
}

// Whoever was stopped and is not replaced in time holds the deployment, until somebody serves in its place.
func TestDeploymentIsHeldWhileSomebodyIsMissing(t *testing.T) {
	w := shown(t)
	w.startDeployment()
	w.deploy.Groups["kv"] = Group{Wanted: 0, Promoted: true}
	w.deploy.Paused = true
	w.obey(orders[Request](Decide(w.view(), pace()))[0])
	w.turnEvent(&w.events[0])
	w.turnEvent(&w.events[0])
	stop := orders[Stop](Decide(w.view(), pace()))
	if len(stop) != 1 {
		t.Fatalf("stops %+v", stop)
	}
	w.obey(stop[0])
	gone := w.find(stop[0].Allocation)
	gone.State = Ended
	w.servers = slices.DeleteFunc(w.servers, func(s Server) bool { return s.ID == serverOf(gone) })
	if finished := orders[Finish](Decide(w.view(), pace())); len(finished) != 0 {
		t.Errorf("finished before another one serves: %+v", finished)
	}
	w.each(w.events[0].ID, func(p *event.Piece) {
		if p.State == event.Ready {
			p.State = event.Expired
		}
	})
	w.turnEvent(&w.events[0])
	w.turnEvent(&w.events[0]) // another one is ready
	if plan := Decide(w.view(), pace()); len(orders[Stop](plan)) != 0 || len(plan.Notes) == 0 {
		t.Errorf("goes on without: %+v", plan)
	}
	w.attach(w.find(gone.Next))
	if plan := Decide(w.view(), pace()); len(orders[Stop](plan)) != 1 {
		t.Errorf("does not go on: %+v", plan)
	}
}

func TestDeadlineOfADrain(t *testing.T) {
	began := time.Unix(1000, 0)
	for _, test := range []struct {
		name     string
		deadline time.Duration // after the start
		now      time.Duration
		patience time.Duration
		forced   bool
		asks     bool
		putOff   time.Duration
	}{
		{name: "far", deadline: time.Hour, patience: 2 * time.Hour, asks: true},
		{name: "near", deadline: time.Hour, now: 59 * time.Minute, patience: 2 * time.Hour, asks: true, putOff: 10 * time.Minute},
		{name: "near the last", deadline: 2*time.Hour - 6*time.Minute, now: 2*time.Hour - 7*time.Minute, patience: 2 * time.Hour, asks: true, putOff: 7 * time.Minute},
		{name: "no patience", deadline: time.Hour, now: 59 * time.Minute, asks: true},
		{name: "over", deadline: time.Hour, now: 2 * time.Hour, patience: 90 * time.Minute},
		{name: "never", asks: true, now: 5 * time.Hour},
		{name: "short", deadline: time.Second, patience: 0, asks: true},
		{name: "forced", forced: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := shown(t)
			w.nodes[0].Drain = &Drain{Started: began, Forced: test.forced, KeepSystemJobs: true}
			if test.deadline > 0 {
				w.nodes[0].Drain.Deadline = began.Add(test.deadline)
			}
			v := w.view()
			v.Now = began.Add(test.now)
			set := pace()
			set.Patience = test.patience
			plan := Decide(v, set)
			asked := orders[Request](plan)
			if (len(asked) == 1) != test.asks {
				t.Fatalf("asks %+v", asked)
			}
			for _, r := range asked {
				if field, expected := r.Check(v.Now); field != "" || r.Kind != event.Drain || r.Impact != event.MachineLoss {
					t.Errorf("asks %+v: %s: %s", r, field, expected)
				}
			}
			var want []PutOff
			if test.putOff > 0 {
				want = []PutOff{{w.nodes[0].ID, test.putOff, true}}
			}
			if got := orders[PutOff](plan); !slices.Equal(got, want) {
				t.Errorf("puts off %+v, want %+v", got, want)
			}
			if held := map[bool]int{true: 1}[test.asks]; plan.HeldDrains != held || plan.HeldDeployments != 0 {
				t.Errorf("%d drains are held, want %d: %q", plan.HeldDrains, held, plan.Notes)
			}
		})
	}
}

// A server that came back as another incarnation is asked for again.
func TestReborn(t *testing.T) {
	w := shown(t)
	w.startDrain(0)
	w.obey(orders[Request](Decide(w.view(), pace()))[0])
	w.turnEvent(&w.events[0])
	w.turnEvent(&w.events[0])
	w.server(w.events[0].Pieces[0].Covers[0].Server).Incarnation = 77
	plan := Decide(w.view(), pace())
	if len(orders[Stop](plan)) != 0 || len(orders[Finish](plan)) != 1 {
		t.Fatalf("it is stopped all the same, or not finished: %+v", plan.Orders)
	}
	w.obey(orders[Finish](plan)[0])
	if again := orders[Request](Decide(w.view(), pace())); len(again) != 1 || again[0].ID != w.events[0].ID[:len(w.events[0].ID)-1]+"2" {
		t.Errorf("asks %+v", again)
	}
}

func TestAllocationOf(t *testing.T) {
	const id = "1a2b3c4d-0000-4000-8000-00000000000f"
	for server, want := range map[string]string{
		"kv-1a2b3c4d.kv": "1a2b3c4d", "1a2b3c4d.kv": "1a2b3c4d", "a-b-" + id + ".kv": id, id + ".kv": id, "kv1a2b3c4d.kv": "", "kv-1a2b3c4.kv": "", "kv-1A2b3c4d.kv": "",
		"node-1.kv": "", "": "",
	} {
		if got := AllocationOf(shardID(server)); got != want {
			t.Errorf("%s: got %q, want %q", server, got, want)
		}
	}
	twin := Allocation{ID: "1a2b3c4d-0000-4000-8000-0000000000ff", State: Live}
	d := lay(&View{Allocations: []Allocation{{ID: id, State: Live}, twin}, Servers: []Server{{ID: "kv-1a2b3c4d.kv"}}}, pace())
	if len(d.servers) != 0 {
		t.Errorf("a server of one of two: %v", d.servers)
	}
	if DeploymentOf("nomad-deployment-"+id+".12") != id || DeploymentOf("nomad-drain-x.1") != "" || !Ours("nomad-drain-x.1") || Ours("kernel-7.1") {
		t.Error("ids of events are not read back")
	}
}
