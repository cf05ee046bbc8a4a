package ledger_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/report"
	wanted "github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/allocator/wish"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// TestScenarios plays testdata/*: a header in prose, then directives, each with what it showed. Every directive ends with the checks of
// the world (one executor, growing terms, durable before sent); `owned` demands that every shard is served by its owner and nothing is
// left over.
//
//	world agents=(a0,z0,a1,z1) shards=N      servers <agent>.kv in zones (or region/zone), an app, and a first leader that runs for 4 s
//	      exclusive=0 | hold=1             an app that two servers may serve at once
//	      replicas=N [without-primaries]     the app is primary-secondary, or secondary-only; runs for 8 s
//	run D                                    time passes; shows what was decided and sent
//	until D TEXT                             the same until TEXT was shown, at most D; else the scenario fails
//	agent NAME FAULT                         crash restart die end pause resume away back break cut join blind see hide show lose-key drain
//	                                         undrain rest hold flow lose-time hang unhang mute unmute foreign
//	fail NAME KIND STATUS, works NAME        what callbacks answer from now on
//	mute NAME KIND                           answers of that kind get lost
//	leader FAULT                             crash crash-after-write elect stop isolate unlock pause resume slow flow blind see
//	all FAULT                                a fault of every agent that is named: all FAULT a0 a1
//	release                                  an operator releases the hold; shows the answer
//	release SHARD                            an operator ends its quarantine; shows the answer
//	poison SHARD..., heal                    shards that kill whoever loads them, or none any more
//	store full, store works
//	move SHARD NAME                          placement wants it
//	replica SHARD KIND [FROM] [TO]           placement proposes it next: add TO, drop FROM, migrate FROM TO, promote TO
//	ask WISH                                 create update delete drain undrain NAME [key=value]; abort skip SHARD [move=N] [step=N] [force=1]
//	                                         create-shards delete-shards ID+ID, where the world is `named`
//	quarantine                               which shards are not placed any more
//	rows, agents, servers, moves, map        what is durable, held, believed, under way, published
//	owned                                    a second later: everything is
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/scenarios", func(t *testing.T, path string) {
		s := &scenario{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out := s.play(t, d)
			if s.w != nil {
				s.w.mustBeWhole(t)
			}
			return out
		})
		if s.owned == 0 {
			t.Errorf("%s: no directive `owned`: a scenario must assert something", path)
		}
	})
}

type scenario struct {
	w     *world
	shown int
	owned int
}

// fresh is what the trace shows since the last time.
func (s *scenario) fresh() string {
	out := strings.Join(s.w.trace[s.shown:], "\n")
	s.shown = len(s.w.trace)
	if out == "" {
		return "(nothing)\n"
	}
	return out + "\n"
}

func (s *scenario) play(t *testing.T, d *datadriven.TestData) string {
	words := make([]string, 0, len(d.CmdArgs))
	for _, a := range d.CmdArgs {
		words = append(words, a.Key)
	}
	if d.Cmd != "world" && s.w == nil {
		t.Fatalf("%s: begin with `world`", d.Pos)
	}
	switch d.Cmd {
	case "world":
		return s.begin(t, d)
	case "run":
		s.w.run(nanoseconds(t, words[0]))
		return s.fresh()
	case "until":
		return s.until(t, d, nanoseconds(t, words[0]), strings.TrimSpace(d.Input))
	case "agent":
		return s.agent(t, s.find(t, words[0]), words[1])
	case "all":
		for _, name := range words[1:] {
			s.agent(t, s.find(t, name), words[0])
		}
	case "release":
		if len(words) > 0 {
			return s.request(wish.ReleaseQuarantine{App: theApp, Shard: shard.ID(words[0])})
		}
		return s.request(wish.ReleaseHold{})
	case "poison", "heal":
		s.w.poison = map[shard.ID]bool{}
		for _, id := range words {
			s.w.poison[shard.ID(id)] = true
		}
	case "fail":
		s.find(t, words[0]).failing[kindOf(t, words[1])] = map[string]ledger.Status{"failed": ledger.Failed, "busy": ledger.Busy}[words[2]]
	case "works":
		clear(s.find(t, words[0]).failing)
		clear(s.find(t, words[0]).mute)
	case "mute":
		s.find(t, words[0]).mute[kindOf(t, words[1])] = true
	case "leader":
		return s.leader(t, words[0])
	case "store":
		s.w.store.failing = words[0] == "full"
	case "move":
		at, _ := strconv.Atoi(words[0])
		s.w.wish(shard.Index(at), s.find(t, words[1]).id)
	case "replica":
		s.replica(t, words)
	case "ask":
		return s.ask(t, d)
	case "rows", "agents", "servers", "moves", "quarantine", "map":
		return s.show(d.Cmd)
	case "owned":
		s.owned++
		s.w.run(second)
		if s.w.store.spec.Replicas > 0 {
			s.w.mustBeReplicated(t)
		} else {
			s.w.mustBeOwned(t)
		}
		return s.fresh()
	default:
		t.Fatalf("%s: unknown directive %s", d.Pos, d.Cmd)
	}
	return ""
}

// replica notes what placement is to propose, and makes it look again.
func (s *scenario) replica(t *testing.T, words []string) {
	at, _ := strconv.Atoi(words[0])
	m := placement.Move{Shard: shard.Index(at), Reason: placement.Balance}
	names := words[2:]
	switch words[1] {
	case "add":
		m.Kind, m.To = placement.Add, s.find(t, names[0]).id
	case "drop":
		m.Kind, m.From = placement.Drop, s.find(t, names[0]).id
	case "promote":
		m.Kind, m.To = placement.Promote, s.find(t, names[0]).id
	case "migrate":
		m.Kind, m.From, m.To = placement.Migrate, s.find(t, names[0]).id, s.find(t, names[1]).id
	default:
		t.Fatalf("unknown kind %s", words[1])
	}
	s.w.next = append(s.w.next, m)
	s.w.nudge()
}

func (s *scenario) begin(t *testing.T, d *datadriven.TestData) string {
	s.w, s.shown = newWorld(quick()), 0
	shards, spec, warm := uint64(1), ledger.Spec{Name: theApp, ResourceVersion: 1}, 4*second
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "agents":
			for i := 0; i+1 < len(a.Vals); i += 2 {
				s.w.addAgent(a.Vals[i], a.Vals[i+1], 1000)
			}
		case "shards":
			shards, _ = strconv.ParseUint(a.Vals[0], 10, 32)
		case "replicas":
			spec.Replicas, _ = strconv.Atoi(a.Vals[0])
			spec.Replication, s.w.plan, warm = wanted.PrimarySecondary, s.w.proposed(replicas), 8*second
		case "named":
			spec.Space.Named = true
		case "exclusive":
			spec.NonExclusive = true
		case "hold":
			spec.OnLoss, spec.AcceptOverlap = wanted.Hold, true
		case "without-primaries":
			spec.Replication = wanted.SecondaryOnly
		default:
			t.Fatalf("%s: world: agents, shards, replicas or without-primaries, not %s", d.Pos, a.Key)
		}
	}
	if s.w.store.spec = &spec; !spec.Space.Named {
		spec.Space.Hash.Shards = uint32(shards)
		s.w.store.chunks[0] = make([]ledger.Row, shards)
	}
	s.w.elect(1000)
	s.w.run(warm)
	return s.fresh()
}

func (s *scenario) until(t *testing.T, d *datadriven.TestData, limit int64, text string) string {
	for end := s.w.real + limit; s.w.real < end; {
		s.w.step()
		for _, line := range s.w.trace[s.shown:] {
			if strings.Contains(line, text) {
				return s.fresh()
			}
		}
	}
	t.Fatalf("%s: %q was not shown within %s:\n%s", d.Pos, text, time.Duration(limit), s.fresh())
	return ""
}

func (s *scenario) agent(t *testing.T, a *agent, fault string) string {
	switch fault {
	case "crash":
		a.crash()
	case "restart":
		a.restart()
	case "die":
		a.appDies()
	case "end":
		a.endsUnproven()
	case "pause", "resume":
		a.paused = fault == "pause"
	case "away", "back":
		if a.agentDown = fault == "away"; a.agentDown {
			a.hangUp()
		}
	case "break":
		a.hangUp()
	case "cut", "join":
		if a.cut = fault == "cut"; a.cut {
			a.hangUp()
		}
	case "blind", "see":
		a.blind = fault == "blind"
	case "hang", "unhang":
		a.hang(fault == "hang")
	case "mute", "unmute":
		a.silence()
		a.unpulled = fault == "mute"
	case "foreign": // its key is lost, and another host's agent of the same name registers, which knows nothing of it
		s.w.incs++
		s.w.store.index++
		server := a.server()
		server.Incarnation = s.w.incs
		s.w.store.keys[a.id] = ledger.Registration{Server: server, Session: "foreign", Create: s.w.store.index}
	case "hide", "show":
		a.hidden = fault == "hide"
	case "lose-key":
		delete(s.w.store.keys, a.id)
	case "drain", "undrain":
		a.drain = fault == "drain"
		a.say(ledger.DrainRequested{Stream: a.stream(), On: a.drain})
	case "rest":
		a.away = 8 * second
		a.askRest()
	case "hold", "flow":
		a.conn.held = fault == "hold"
	case "lose-time":
		a.lost += 2 * second
	default:
		t.Fatalf("unknown fault %s", fault)
	}
	return ""
}

func (s *scenario) leader(t *testing.T, fault string) string {
	w := s.w
	ld := w.store.lock
	if ld == nil && fault != "elect" {
		t.Fatalf("leader %s: there is none", fault)
	}
	switch fault {
	case "crash", "crash-after-write":
		w.crashLeader(fault == "crash-after-write")
	case "elect":
		w.elect(1000)
	case "stop":
		ld.step(ledger.StopRequested{})
	case "isolate":
		ld.blind, w.store.lock = true, nil
	case "unlock": // the session ended while a write was on its way
		w.store.lock, ld.slow = nil, false
	case "pause", "resume":
		ld.paused = fault == "pause"
	case "slow", "flow":
		ld.slow = fault == "slow"
	case "blind", "see":
		ld.blind = fault == "blind"
	default:
		t.Fatalf("unknown fault %s", fault)
	}
	return ""
}

// ask sends a wish, lets a second pass, and shows the answer.
func (s *scenario) ask(t *testing.T, d *datadriven.TestData) string {
	name := d.CmdArgs[1].Key
	spec := ledger.Spec{Name: shard.App(name), Space: shard.KeySpace{Hash: shard.HashSpace{Shards: 2}}}
	var version uint64
	var move shard.MoveID
	var step report.MoveStep
	var force bool
	for _, a := range d.CmdArgs[2:] {
		n, err := strconv.ParseInt(a.Vals[0], 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", d.Pos, err)
		}
		switch a.Key {
		case "shards":
			spec.Space.Hash.Shards = uint32(n)
		case "version":
			version = uint64(n)
		case "moves":
			spec.MaxMoves = int(n)
		case "tolerance":
			spec.TolerancePercent = int(n)
		case "load":
			spec.DefaultLoad = map[string]int64{"cpu": n}
		case "exclusive":
			spec.NonExclusive = n == 0
		case "accept-overlap":
			spec.AcceptOverlap = n > 0
		case "hold":
			spec.OnLoss = wanted.Hold
		case "move":
			move = shard.MoveID(n)
		case "step":
			step = report.MoveStep(n)
		case "force":
			force = n > 0
		}
	}
	spec.ResourceVersion = version
	wishes := map[string]wish.Wish{
		"create": wish.CreateApp{Spec: spec}, "update": wish.UpdateApp{Spec: spec},
		"delete": wish.DeleteApp{Name: spec.Name, ResourceVersion: version},
		"drain":  wish.DrainServer{Server: shard.ServerID(name)}, "undrain": wish.DrainServer{Server: shard.ServerID(name), Undo: true},
		"abort":         wish.AbortMove{App: theApp, Shard: shard.ID(name), Move: move, Why: "test"},
		"create-shards": wish.CreateShards{App: theApp, IDs: idsOf(name)}, "delete-shards": wish.DeleteShards{App: theApp, IDs: idsOf(name)},
		"skip": wish.SkipStep{App: theApp, Shard: shard.ID(name), Move: move, Step: step, Force: force},
	}
	asked, ok := wishes[d.CmdArgs[0].Key]
	if !ok {
		t.Fatalf("%s: unknown wish %s", d.Pos, d.CmdArgs[0].Key)
	}
	return s.request(asked)
}

// idsOf reads a list of ids, `a+b`.
func idsOf(list string) []shard.ID {
	var ids []shard.ID
	for _, id := range strings.Split(list, "+") {
		ids = append(ids, shard.ID(id))
	}
	return ids
}

// request puts a wish to the leader, lets a second or three pass, and shows the answer.
func (s *scenario) request(w wish.Wish) string {
	ld := s.w.store.lock
	ld.requests++
	ld.replies = nil
	ld.step(ledger.Request{ID: ld.requests, Wish: w})
	early := len(ld.replies)
	s.w.run(second)
	if _, ok := w.(wish.UpdateApp); ok && len(ld.replies) == 0 { // it waits for the servers
		s.w.run(2 * second)
	}
	out := ""
	for i, r := range ld.replies {
		when := "after the write"
		if i < early {
			when = "at once"
		}
		if r.Err != nil {
			out += fmt.Sprintf("%s: refused (%d): %s\n", when, r.Err.Kind, r.Err)
			continue
		}
		if r.Note != "" {
			out += fmt.Sprintf("%s: %s\n", when, r.Note)
			continue
		}
		out += fmt.Sprintf("%s: done, version %d, remaining %d\n", when, r.Spec.ResourceVersion, r.Remaining)
	}
	return out + s.fresh()
}

func (s *scenario) show(what string) string {
	out, ld := "", s.w.store.lock
	switch what {
	case "rows":
		for i, r := range s.w.rows() {
			if r.ID != "" {
				out += string(r.ID) + " "
			}
			out += fmt.Sprintf("%d: %d/%d %s at %d%s%s\n", i, r.Term, r.Move, owner(r.Primary), r.PrimaryTerm, openMove(r.Open), seconds(r))
		}
	case "agents":
		for _, a := range s.w.agents {
			out += s.held(a)
		}
	case "servers":
		for _, v := range ld.core.Servers() {
			out += fmt.Sprintf("%s/%d state=%d draining=%t shards=%d moves=%d %s\n", v.Server.ID, v.Server.Incarnation, v.State, v.Draining, v.Shards, v.Moves, v.Reason)
			if v.Probation > 0 {
				out += fmt.Sprintf("  on probation for %s: %s\n", v.Probation.Round(time.Second), v.ProbationReason)
			}
		}
	case "moves":
		m := ld.core.Moves()
		for _, v := range m.Open {
			out += fmt.Sprintf("open %s %s %s→%s reason=%d step=%d attempts=%d %s\n", v.Shard, v.Order, v.From, v.To, v.Reason, v.Step, v.Attempts, v.Detail)
		}
		for _, v := range m.Finished {
			out += fmt.Sprintf("finished %s %s %s→%s reason=%d step=%d attempts=%d %s\n", v.Shard, v.Order, v.From, v.To, v.Reason, v.Step, v.Attempts, v.Detail)
		}
	case "quarantine":
		for _, q := range ld.core.Summary().Quarantined {
			out += fmt.Sprintf("%s: %s\n", q.Shard, q.Why)
		}
		out += fmt.Sprintf("%d unplaced\n", ld.core.Summary().Unplaced)
	case "map":
		m := ld.maps[theApp]
		out = fmt.Sprintf("version %s\n", m.Version)
		for _, e := range m.Entries() {
			out += fmt.Sprintf("%d: %s at %d", e.Index, e.Primary, e.Term)
			for _, id := range e.Secondaries {
				out += ", " + string(id)
			}
			out += "\n"
		}
		for _, v := range m.Servers() {
			out += fmt.Sprintf("%s/%d\n", v.ID, v.Incarnation)
		}
	}
	return out
}

func (s *scenario) held(a *agent) string {
	lease := "no lease"
	if a.now() < a.end {
		lease = "lease"
	}
	out := fmt.Sprintf("%s/%d %s, %d left\n", a.id, a.inc, lease, a.left)
	for _, id := range shard.SortedKeys(a.shards) {
		v := a.shards[id]
		out += fmt.Sprintf("  %s: %s at %d, highest %s\n", id, v.phase, v.term, v.max)
	}
	return out
}

func owner(o ledger.Owner) string {
	if o.Incarnation == 0 {
		return "nobody"
	}
	return fmt.Sprintf("%s/%d", o.Server, o.Incarnation)
}

func seconds(r ledger.Row) string {
	out := ""
	for _, s := range r.Secondaries {
		out += fmt.Sprintf(", %s %s", owner(s.Owner), [...]string{"", "joining", "syncing", "in sync", "leaving"}[s.State])
	}
	return out
}

func openMove(m *ledger.OpenMove) string {
	if m == nil {
		return ""
	}
	return fmt.Sprintf(", move %d/%d %s→%s phase %d", m.Term, m.Move, owner(m.From), owner(m.To), m.Phase)
}

func (s *scenario) find(t *testing.T, name string) *agent {
	for _, a := range s.w.agents {
		if a.id == shard.MakeServerID(name, theApp) {
			return a
		}
	}
	t.Fatalf("no agent %s", name)
	return nil
}

func kindOf(t *testing.T, name string) message.Kind {
	for k := message.AddShard; k <= message.UpdateMembership; k++ {
		if k.String() == name {
			return k
		}
	}
	t.Fatalf("no command %s", name)
	return 0
}

func nanoseconds(t *testing.T, word string) int64 {
	d, err := time.ParseDuration(word)
	if err != nil {
		t.Fatal(err)
	}
	return int64(d)
}
