package maintenance_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/allocator/maintenance"
	"github.com/shardmanager/shardmanager/allocator/maintenance/caps"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// monday is a Monday at noon.
var monday = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// site is a fleet whose time is virtual, and a store that takes every row.
type site struct {
	t     rapid.TB
	book  maintenance.Book
	now   shard.Instant
	view  caps.View
	rows  map[string]event.Event
	asked uint64
	done  map[uint64]bool
}

// newSite is n servers a0, a1, … of app kv, two on a host, hosts in zones z0 and z1 in turn, all in region r.
func newSite(t rapid.TB, n int) *site {
	s := &site{t: t, now: shard.Instant{Boot: 1e15, Raw: 1e15}, rows: map[string]event.Event{}, done: map[uint64]bool{}}
	s.view.Apps = map[shard.App]caps.Caps{"kv": {}}
	s.view.Exposed = func(shard.App, []shard.ServerID) caps.Exposure { return caps.Exposure{} }
	for i := range n {
		s.view.Servers = append(s.view.Servers, caps.Server{ID: shard.ServerID(fmt.Sprintf("a%02d.kv", i)), App: "kv", Incarnation: 1,
			Locality: shard.Locality{Region: "r", Zone: fmt.Sprintf("z%d", i/2%2), Host: fmt.Sprintf("h%d", i/2)}})
	}
	return s
}

func (s *site) wall() time.Time {
	return monday.Add(s.now.WaitAge(s.now) + time.Duration(s.now.Boot-1e15))
}

// look lets time pass and everything become durable.
func (s *site) look(d time.Duration) {
	s.now = s.now.Add(d)
	s.book.Tick(s.now)
	s.book.Advance(s.now, s.wall(), &s.view)
	s.store()
}

// settle looks until nothing more follows from anything.
func (s *site) settle() {
	for range 3 {
		s.look(time.Second)
	}
}

func (s *site) store() {
	for s.book.Waiting() {
		rows := s.book.Take(s.now, 3)
		for _, r := range rows {
			if s.rows[r.Event.ID] = r.Event; r.Gone {
				delete(s.rows, r.Event.ID)
			}
		}
		_, answered := s.book.Stored(rows)
		for _, id := range answered {
			s.done[id] = true
		}
	}
}

func (s *site) request(r event.Request) error {
	s.asked++
	if r.Duration == 0 {
		r.Duration = time.Hour
	}
	if bad := s.book.Request(s.now, s.wall(), r, &s.view, s.asked); bad != nil {
		return bad
	}
	s.store()
	if !s.done[s.asked] {
		s.t.Fatalf("request %s was not answered", r.ID)
	}
	return nil
}

// must asks for the restart of servers.
func (s *site) must(id string, scope event.Scope, change ...func(*event.Request)) {
	s.t.Helper()
	r := event.Request{ID: id, Kind: event.Restart, Impact: event.ProcessRestart, Scope: scope}
	for _, c := range change {
		c(&r)
	}
	if err := s.request(r); err != nil {
		s.t.Fatal(err)
	}
}

// states shows the states of an event's pieces.
func (s *site) states(id string) string {
	var list []string
	for _, e := range s.book.List(s.now) {
		for i := range e.Pieces {
			if e.ID == id {
				list = append(list, e.Pieces[i].State.String())
			}
		}
	}
	return strings.Join(list, " ")
}

func (s *site) why(id string, i int) (string, bool) {
	for _, e := range s.book.List(s.now) {
		if e.ID == id {
			return e.Pieces[i].Why, e.Pieces[i].Never
		}
	}
	return "", false
}

func (s *site) expect(id, states string) {
	s.t.Helper()
	if got := s.states(id); got != states {
		s.t.Errorf("%s: %q, expected %q", id, got, states)
	}
}

func servers(ids ...shard.ServerID) event.Scope { return event.Scope{Servers: ids} }

// A rolling restart: one piece after another, each prepared, ready, gone, back.
func TestRollingRestart(t *testing.T) {
	s := newSite(t, 3)
	s.view.Servers[0].Primaries, s.view.Servers[0].Replicas = 4, 4
	s.must("roll", event.Scope{Regions: []string{"r"}})
	s.look(time.Second)
	s.expect("roll", "approved waiting waiting")
	if why, _ := s.why("roll", 1); !strings.Contains(why, "1 of 3 servers; 1 others are down") {
		t.Errorf("the second waits for %q", why)
	}
	if work := s.book.Work(event.Covered{Server: "a00.kv", Incarnation: 1}, false); work != event.Primaries {
		t.Errorf("what is done on the first: %v", work)
	}
	s.look(time.Second)
	s.expect("roll", "approved waiting waiting")
	s.view.Servers[0].Primaries, s.view.Servers[0].Replicas = 0, 4
	s.look(time.Second)
	s.expect("roll", "ready waiting waiting")
	s.view.Servers[0].Down = "gone"
	s.look(time.Second)
	s.expect("roll", "ready waiting waiting")
	s.view.Servers[0].Down, s.view.Servers[0].Incarnation = "", 9
	s.settle()
	s.expect("roll", "done ready waiting")
	if s.book.Planned("a00.kv") || !s.book.Planned("a02.kv") {
		t.Error("the first is still to go down, or the last is not")
	}
	last := s.view.Servers
	s.view.Servers = last[:1] // two are away, one after the other
	s.settle()
	if !s.book.Underway("kv") || s.book.Underway("other") {
		t.Error("nothing is under way, or something of another app is")
	}
	s.view.Servers = last
	last[1].Incarnation++
	s.settle()
	s.expect("roll", "done done ready")
	last[2].Incarnation++
	s.settle()
	if s.book.Underway("kv") {
		t.Errorf("%s: it is over", s.states("roll"))
	}
}

// A server that crashes while it is prepared, and comes back by itself, was not restarted by whoever asked: it has its turn after a pause, as it is then. What is ready
// may be restarted by the deployer, and is over then.
func TestBackBeforeReady(t *testing.T) {
	s := newSite(t, 3)
	s.view.Servers[0].Primaries, s.view.Servers[0].Replicas = 4, 4
	s.must("roll", servers("a00.kv"))
	s.look(time.Second)
	s.expect("roll", "approved")
	s.view.Servers[0].Down = "gone"
	s.look(time.Second)
	s.view.Servers[0].Down, s.view.Servers[0].Incarnation = "", 9
	s.look(time.Second)
	s.expect("roll", "waiting")
	s.look(time.Minute)
	s.expect("roll", "approved")
	if work := s.book.Work(event.Covered{Server: "a00.kv", Incarnation: 9}, false); work != event.Primaries {
		t.Errorf("what is done on its new incarnation: %v", work)
	}
	s.view.Servers[0].Primaries, s.view.Servers[0].Replicas = 0, 0
	s.look(time.Second)
	s.expect("roll", "ready")
	s.view.Servers[0].Incarnation = 11
	s.settle()
	s.expect("roll", "done")
}

// What failed counts against caps, and once: also where it is approved.
func TestFailuresCount(t *testing.T) {
	s := newSite(t, 3)
	s.view.Servers[2].Down = "silent"
	s.must("one", servers("a00.kv"))
	s.look(time.Second)
	s.expect("one", "waiting")
	s.must("failed", servers("a02.kv"))
	s.settle()
	s.expect("failed", "ready")
	s.expect("one", "waiting")
}

// A server that restarts leaves the fleet for a while: it is down all the same, in its region, and it is waited for where it has not had its turn. Whoever is
// gone for good does not hold an event up.
func TestAbsent(t *testing.T) {
	s := newSite(t, 4)
	two, one := 2, 1
	s.view.Apps["kv"] = caps.Caps{Down: &two, DownRegion: &one}
	s.view.Servers[3].Locality.Region = "other"
	leaves := func(i int) caps.Server {
		gone := s.view.Servers[i]
		s.view.Servers = slices.Delete(s.view.Servers, i, i+1)
		return gone
	}
	comes := func(i int, v caps.Server) {
		v.Incarnation++
		s.view.Servers = slices.Insert(s.view.Servers, i, v)
	}
	s.must("roll", servers("a00.kv", "a01.kv", "a02.kv"))
	s.settle()
	s.expect("roll", "ready waiting waiting")
	first := leaves(0)
	s.settle()
	s.expect("roll", "ready waiting waiting")
	s.must("other", servers("a03.kv"))
	s.settle()
	s.expect("other", "ready")
	s.newLeader()
	if bad := s.book.Cancel(s.now, "other", 0); bad != nil {
		t.Fatal(bad)
	}
	s.must("again", servers("a03.kv"))
	s.settle()
	s.expect("again", "waiting") // the new leader does not know where the first stands
	second := leaves(0)
	comes(0, first)
	s.settle()
	s.expect("roll", "done waiting waiting")
	if why, _ := s.why("roll", 1); why != "a01.kv is not there: it is waited for" {
		t.Errorf("who is not there waits for %q", why)
	}
	comes(1, second)
	s.settle()
	s.expect("roll", "done ready waiting")
	comes(1, leaves(1))
	leaves(2)
	s.settle()
	s.expect("roll", "done done waiting")
	s.look(time.Hour - 4*time.Second)
	s.expect("roll", "done done waiting")
	s.look(4 * time.Second)
	s.expect("roll", "done done expired")
}

// Every cap is named by who refuses, and those that can never be met are told so.
func TestCaps(t *testing.T) {
	zero, one, two := 0, 1, 2
	hour := []caps.Window{{Days: 1 << time.Monday, Opens: 13 * time.Hour, Length: time.Hour}}
	for name, c := range map[string]struct {
		change func(*site)
		impact event.Impact
		why    string
		never  bool
	}{
		"no server ever":  {func(s *site) { s.view.Apps["kv"] = caps.Caps{Down: &zero} }, event.ProcessRestart, "max_servers_down is 0", true},
		"no replica ever": {func(s *site) { s.view.Apps["kv"] = caps.Caps{Unavailable: &zero} }, event.ProcessRestart, "max_unavailable_replicas is 0", true},
		"host too large":  {func(s *site) { s.view.Apps["kv"] = caps.Caps{Down: &one} }, event.MachineLoss, "max_servers_down is 1", true},
		"region":          {func(s *site) { s.view.Apps["kv"] = caps.Caps{DownRegion: &zero} }, event.ProcessRestart, "max_servers_down_per_region is 0", true},
		"cluster": {func(s *site) {
			s.view.Cluster.Down, s.view.Servers[3].Down = 1, "silent"
			s.view.Apps["kv"] = caps.Caps{Down: &two}
		}, event.ProcessRestart, "the allocators' max_servers_down is 1; 1 others", false},
		"cluster's region": {func(s *site) {
			s.view.Cluster.DownRegion, s.view.Servers[3].Down = 1, "silent"
			s.view.Apps["kv"] = caps.Caps{Down: &two}
		}, event.ProcessRestart, "per_region is 1; 1 others are down in r", false},
		"hold":               {func(s *site) { s.view.Hold = "losses are held" }, event.ProcessRestart, "held", false},
		"outside the window": {func(s *site) { s.view.Apps["kv"] = caps.Caps{Windows: hour} }, event.ProcessRestart, "the next opens at 2026-11-23T13:00:00Z", false},
		"short window":       {func(s *site) { s.view.Apps["kv"] = caps.Caps{Windows: []caps.Window{{Length: time.Minute}}} }, event.ProcessRestart, "as long as the duration", true},
		"exposed shard": {func(s *site) {
			s.view.Exposed = func(shard.App, []shard.ServerID) caps.Exposure {
				return caps.Exposure{Shard: "7", Unavailable: 2, Here: 1}
			}
		}, event.ProcessRestart, "shard 7 would have 2 unavailable, 1 of them elsewhere", false},
	} {
		s := newSite(t, 4)
		c.change(s)
		s.must("x", servers("a00.kv"), func(r *event.Request) { r.Impact = c.impact })
		s.look(time.Second)
		why, never := s.why("x", 0)
		if s.states("x") != "waiting" || !strings.Contains(why, c.why) || never != c.never {
			t.Errorf("%s: %s, %q, never: %v", name, s.states("x"), why, never)
		}
	}
}

// Windows open, and an operator may waive them, but not the caps.
func TestWindows(t *testing.T) {
	s := newSite(t, 4)
	s.view.Apps["kv"] = caps.Caps{Windows: []caps.Window{{Days: 1 << time.Monday, Opens: 13 * time.Hour, Length: 2 * time.Hour}}}
	s.must("x", servers("a00.kv"))
	s.look(59 * time.Minute)
	s.expect("x", "waiting")
	s.look(time.Minute)
	s.expect("x", "approved")

	s = newSite(t, 4)
	s.view.Apps["kv"] = caps.Caps{Windows: []caps.Window{{Opens: 23 * time.Hour, Length: 4 * time.Hour}}}
	s.must("x", servers("a00.kv"), func(r *event.Request) { r.Start = monday.Add(time.Hour) })
	s.look(time.Second)
	s.expect("x", "waiting")
	if bad := s.book.Waive(s.now, "x", 99); bad != nil {
		t.Fatal(bad)
	}
	s.view.Servers[1].Down = "silent"
	s.look(time.Second)
	s.expect("x", "waiting")
	s.view.Servers[1].Down = ""
	s.look(time.Second)
	s.expect("x", "approved")
}

// Time runs out: of a preparation, which is asked for again; of a piece that nobody ended; of a deadline.
func TestTimeRunsOut(t *testing.T) {
	s := newSite(t, 3)
	s.view.Servers[0].Primaries = 1
	s.must("x", servers("a00.kv"))
	s.look(time.Second)
	s.look(maintenance.Patience)
	s.expect("x", "waiting")
	if why, _ := s.why("x", 0); !strings.Contains(why, "could not be prepared in 15m0s: a00.kv has 1 primaries to give away") {
		t.Errorf("after its preparation: %q", why)
	}
	s.look(time.Second)
	s.expect("x", "waiting")
	s.look(time.Minute)
	s.expect("x", "approved")
	s.view.Servers[0].Primaries = 0
	s.look(time.Second)
	s.expect("x", "ready")
	s.look(time.Hour - time.Second)
	s.expect("x", "ready")
	s.look(2 * time.Second)
	s.expect("x", "expired")

	s.view.Servers[2].Down = "silent"
	s.must("late", servers("a01.kv"), func(r *event.Request) { r.Deadline = s.wall().Add(2 * time.Hour) })
	s.look(time.Hour)
	s.expect("late", "waiting")
	s.look(time.Second)
	s.expect("late", "expired")
}

// Two events take turns.
func TestFairness(t *testing.T) {
	s := newSite(t, 8)
	s.must("a", servers("a00.kv", "a01.kv", "a02.kv", "a03.kv"))
	s.must("b", servers("a04.kv", "a05.kv", "a06.kv", "a07.kv"))
	order := ""
	for range 8 {
		s.settle()
		for _, e := range s.book.List(s.now) {
			for i := range e.Pieces {
				if e.Pieces[i].State == event.Ready {
					order += e.ID
					s.view.Find(e.Pieces[i].Covers[0].Server).Incarnation++
				}
			}
		}
	}
	if order != "abababab" {
		t.Errorf("pieces were ready in the order %q", order)
	}
}

// What is announced happens: all of it is prepared, caps or not, and it counts while it lasts.
func TestAnnounced(t *testing.T) {
	s := newSite(t, 8)
	s.view.Servers[0].Replicas = 3
	s.must("power", event.Scope{Zones: []string{"z0"}}, func(r *event.Request) {
		r.Kind, r.Impact, r.Announced, r.Start = event.Drain, event.MachineLoss, true, monday.Add(time.Hour)
	})
	s.look(30 * time.Minute)
	s.expect("power", "waiting")
	s.look(20 * time.Minute)
	s.expect("power", "approved")
	s.must("one", servers("a02.kv"))
	s.look(time.Second)
	s.expect("one", "waiting")
	s.look(10 * time.Minute)
	s.expect("power", "ready")
	s.look(time.Hour + time.Second)
	s.expect("power", "expired")
	s.settle()
	s.expect("one", "ready")
}

// Deployers repeat themselves, contradict each other, and end what they did not begin.
func TestDeployers(t *testing.T) {
	s := newSite(t, 4)
	s.must("x", servers("a00.kv", "a01.kv"))
	s.must("x", servers("a00.kv", "a01.kv"))
	for name, c := range map[string]struct {
		err  error
		kind error
		text string
	}{
		"the same id for something else":  {s.request(event.Request{ID: "x", Kind: event.Drain, Impact: event.ProcessRestart, Scope: servers("a00.kv")}), maintenance.ErrExists, "another event"},
		"servers of another event":        {s.request(event.Request{ID: "y", Kind: event.Drain, Impact: event.ProcessRestart, Scope: servers("a01.kv")}), maintenance.ErrConflict, `a01.kv is in "x"`},
		"the end of what was not begun":   {s.finish("x", "a00.kv"), maintenance.ErrConflict, "a00.kv waits"},
		"the end of what is not in it":    {s.finish("x", "a03.kv"), maintenance.ErrUnknown, "a03.kv"},
		"the end of what there is not":    {s.finish("z"), maintenance.ErrUnknown, "maintenance list"},
		"more than all servers of nobody": {s.request(event.Request{ID: "w", Kind: event.Drain, Impact: event.ProcessRestart, Scope: event.Scope{Racks: []string{"?"}}}), maintenance.ErrUnknown, "no known server"},
	} {
		if !errors.Is(c.err, c.kind) || !strings.Contains(c.err.Error(), c.text) {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	s.look(time.Second)
	s.look(time.Second)
	s.expect("x", "ready waiting")
	for range 2 {
		if err := s.finish("x", "a00.kv"); err != nil {
			t.Errorf("finished: %v", err)
		}
	}
	s.expect("x", "done waiting")
	if bad := s.book.Cancel(s.now, "x", 0); bad != nil {
		t.Error(bad)
	}
	s.store()
	s.expect("x", "done cancelled")
	for i := range 120 {
		s.must(fmt.Sprint("e", i), servers("a03.kv"))
		if bad := s.book.Cancel(s.now, fmt.Sprint("e", i), 0); bad != nil {
			t.Fatal(bad)
		}
		s.look(time.Second)
	}
	s.look(time.Second)
	if len(s.rows) != 100 || s.states("e119") != "cancelled" || s.states("x") != "" {
		t.Errorf("%d events are remembered", len(s.rows))
	}
}

func (s *site) finish(id string, ids ...shard.ServerID) error {
	if bad := s.book.Finish(s.now, id, ids, 0); bad != nil {
		return bad
	}
	s.store()
	return nil
}

// TestRandom plays deployers, failures and changes of leaders. No approval goes beyond the caps, nothing active is forgotten, and in the end all that may
// be approved was.
func TestRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSite(t, rapid.IntRange(2, 12).Draw(t, "servers"))
		most := rapid.IntRange(1, 4).Draw(t, "cap")
		s.view.Apps["kv"] = caps.Caps{Down: &most}
		var gone []caps.Server
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, len(s.view.Servers)-1).Draw(t, "server")
			at := &s.view.Servers[i]
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				r := event.Request{ID: fmt.Sprint("e", rapid.IntRange(0, 5).Draw(t, "id")), Kind: event.Kind(rapid.IntRange(1, 4).Draw(t, "kind")),
					Impact: event.Impact(rapid.IntRange(1, 4).Draw(t, "impact")), Duration: time.Minute, Scope: servers(at.ID)}
				if rapid.Bool().Draw(t, "zone") {
					r.Scope.Zones = []string{at.Locality.Zone}
				}
				_ = s.request(r)
			case 1:
				at.Down = "silent"
			case 2:
				at.Down = ""
				at.Incarnation++
			case 3:
				at.Replicas = rapid.IntRange(0, 2).Draw(t, "replicas")
				at.Primaries, at.Promotable = at.Replicas, at.Replicas
			case 4:
				_ = s.finish(fmt.Sprint("e", rapid.IntRange(0, 5).Draw(t, "id")))
			case 5:
				_ = s.book.Cancel(s.now, fmt.Sprint("e", rapid.IntRange(0, 5).Draw(t, "id")), 0)
			case 6:
				s.newLeader()
			case 8:
				if len(s.view.Servers) > 1 {
					gone = append(gone, *at)
					s.view.Servers = slices.Delete(s.view.Servers, i, i+1)
				}
			case 9:
				s.comeBack(gone)
				gone = nil
			}
			before := s.active()
			s.look(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
			after := s.active()
			grown := false
			for id := range after {
				grown = grown || !before[id]
			}
			down := len(after)
			for i := range s.view.Servers {
				if v := &s.view.Servers[i]; v.Down != "" && !after[v.ID] {
					down++
				}
			}
			if grown && down > most {
				t.Fatalf("%d servers are down or may be, of %d: %v", down, most, after)
			}
		}
	})
}

// active lists the servers that may be taken down, by what is stored.
func (s *site) active() map[shard.ServerID]bool {
	list := map[shard.ServerID]bool{}
	for _, e := range s.rows {
		for i := range e.Pieces {
			for _, c := range e.Pieces[i].Covers {
				if e.Pieces[i].State.Active() {
					list[c.Server] = true
				}
			}
		}
	}
	return list
}

// newLeader goes on with what is stored.
func (s *site) newLeader() {
	s.t.Helper()
	before := s.book.List(s.now)
	s.book = maintenance.Book{}
	var list []event.Event
	for _, id := range shard.SortedKeys(s.rows) {
		list = append(list, s.rows[id])
	}
	s.book.Load(s.now, list)
	forget := func(list []event.Event) []event.Event { // what is not stored again at every moment
		for i := range list {
			for k := range list[i].Pieces {
				list[i].Pieces[k].Why, list[i].Pieces[k].Never, list[i].Pieces[k].Left = "", false, 0
			}
		}
		return list
	}
	if d := cmp.Diff(forget(before), forget(s.book.List(s.now))); d != "" {
		s.t.Errorf("the next leader knows something else (-before +after):\n%s", d)
	}
}

// comeBack puts servers into the fleet again, in new incarnations.
func (s *site) comeBack(list []caps.Server) {
	for _, v := range list {
		v.Down = ""
		v.Incarnation++
		i, _ := slices.BinarySearchFunc(s.view.Servers, v, func(x, y caps.Server) int { return strings.Compare(string(x.ID), string(y.ID)) })
		s.view.Servers = slices.Insert(s.view.Servers, i, v)
	}
}
