package roster

import (
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/agent/retry"
	"github.com/shardmanager/shardmanager/internal/invariant"
	"github.com/shardmanager/shardmanager/internal/progress"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Limits of a roster; what happens at each stands beside it.
const (
	// MaxRunning is the most callbacks at once; further shards wait in the order in which they came.
	MaxRunning = 256
	// MaxMemberships is the most memberships under way at once, one a shard; a further one is answered Failed and comes again.
	MaxMemberships = 1024
	// MaxQueue is the most commands that wait for one shard; a further one is answered Failed and comes again.
	MaxQueue = 8
	// MaxWaiters is the most requests to register that wait; the oldest is answered RefusedStore.
	MaxWaiters = 16
	// MaxRest is the longest rest lease (R19).
	MaxRest = 30 * time.Second
)

// Settings of a roster; all are needed.
type Settings struct {
	Interval       time.Duration // lease.interval until a leader says otherwise
	Validity       time.Duration // lease.validity, V
	SessionRenewal time.Duration // how often to renew the session; ± 20 %, and twice as often after a failure
	LoadInterval   time.Duration // how often to collect loads
	StepDeadline   time.Duration // of a command that states none
	EndDeadline    time.Duration // of one try of EndIncarnation
	ReportWait     time.Duration // how long to look for a leader who should hear that an incarnation ended
	RestWait       time.Duration // how long to wait for a rest lease, and again for the application to pull it
}

// Life is where a server's life stands.
type Life uint8

// Lives, in the order in which a server goes through them.
const (
	// Waiting for an application.
	Waiting Life = iota + 1
	// Resuming: the file names an incarnation whose process lives; it has not come to register yet.
	Resuming
	// Registering: the key is being created.
	Registering
	// Live: registered; the lease is whatever was vouched for.
	Live
	// Ending: over; the application is told, the leader too, and the session goes.
	Ending
)

// String names the life.
func (l Life) String() string {
	return [...]string{"none", "waiting for the application", "resuming", "registering", "live", "ending"}[l]
}

// Roster is one server. The zero value is not usable; call New.
type Roster struct {
	settings Settings
	base     shard.Server // what does not depend on the application

	life     Life
	saved    Saved
	app      *Application
	fresh    shard.Incarnation
	waiters  []RequestID
	highest  shard.Epoch
	stopping string // why; empty: not
	problem  string // what keeps it from serving, for people
	// introduced: the leader may hear of the incarnation, because the application knows that it is it.
	introduced bool

	past   []shard.Incarnation // that this agent ended, the newest last; at most 8
	pulled shard.Instant       // when the application pulled last, or was to begin

	lease   lease
	link    link
	reads   reads
	session sessionTimer
	retry   retry.Pace
	file    struct{ serveOn, saving bool } // what the server's file says of serving on; a change is being written
	end     ending
	drain   drain
	rest    rest

	shards map[shard.ID]*entry
	ready  []shard.ID // shards with something to do that wait for a place among MaxRunning
	calls  map[CallID]*entry
	lanes  map[CallID]*entry // calls of UpdateMembership, which may be many and long
	last   CallID
	loads  loads

	transfers []progress.Transfer // as of the last pull
}

// New makes the roster of a server. Server holds what does not depend on the application: id, app, agent, locality, the agent's
// address, and the capacity of applications that state none.
func New(settings Settings, server shard.Server) *Roster {
	return &Roster{
		settings: settings, base: server, life: Waiting,
		shards: map[shard.ID]*entry{}, calls: map[CallID]*entry{}, lanes: map[CallID]*entry{}, loads: newLoads(),
	}
}

// Step takes an event in. Now was read after the event was received (R7).
func (r *Roster) Step(now shard.Instant, ev Event, out *Effects) {
	if invariant.Enabled {
		defer r.check(r.before(now, len(out.Calls)), out)
	}
	switch ev := ev.(type) {
	case Started:
		r.started(now, ev, out)
	case AppRegistered:
		r.appRegistered(now, ev, out)
	case AppGone:
		r.appGone(now, ev, out)
	case Pull:
		r.pull(now, ev, out)
	case FileSaved:
		r.fileSaved(now, ev, out)
	case KeyRegistered:
		r.keyRegistered(now, ev, out)
	case KeyRefused:
		r.keyRefused(now, ev, out)
	case KeyRead:
		r.keyRead(now, ev, out)
	case SessionRenewed:
		r.sessionRenewed(now, ev, out)
	case SessionDestroyed:
		r.sessionDestroyed(now, ev, out)
	case Attached:
		r.attached(now, ev, out)
	case Detached:
		r.detached(ev, out)
	case Granted:
		r.granted(now, ev, out)
	case RestGranted:
		r.restGranted(now, ev, out)
	case Fenced:
		r.fenced(now, ev, out)
	case DrainProgress:
		r.drainProgress(ev, out)
	case Command:
		r.command(now, ev, out)
	case CallDone:
		r.callDone(now, ev, out)
	case Drain:
		r.drainAsked(ev, out)
	case Rest:
		r.restAsked(now, ev, out)
	case Stop:
		r.stop(now, ev, out)
	default:
		panic(fmt.Sprintf("roster: unknown event %T", ev))
	}
}

// Tick does what has become due; its cost does not grow with the number of shards.
func (r *Roster) Tick(now shard.Instant, out *Effects) {
	if invariant.Enabled {
		defer r.check(r.before(now, len(out.Calls)), out)
	}
	r.tickLease(now, out)
	r.tickRest(now, out)
	switch r.life {
	case Waiting, Registering:
		r.tickRegistering(now, out)
	case Resuming:
		r.tickSession(now, out)
	case Live:
		r.tickSession(now, out)
		r.tickLink(now, out)
		r.tickRenew(now, out)
		r.tickReads(now, out)
		r.tickHold(now, out)
		r.tickLoads(now, out)
	case Ending:
		r.tickEnding(now, out)
	}
}

func due(at, now shard.Instant) bool { return !at.IsZero() && at.Passed(now) }

func (r *Roster) trace(out *Effects, weight Weight, what, why string) {
	out.Trace = append(out.Trace, Decision{What: what, Weight: weight, Incarnation: r.saved.Incarnation, Why: why})
}

// server is what others see of this server.
func (r *Roster) server(incarnation shard.Incarnation) shard.Server {
	s := r.base
	s.Incarnation = incarnation
	if r.app != nil {
		s.DataAddress, s.Version, s.Labels = r.app.DataAddress, r.app.Version, r.app.Labels
		if len(r.app.Capacity) > 0 {
			s.Capacity = r.app.Capacity
		}
	}
	return s
}

// Remaining is what is left of the lease.
func (r *Roster) Remaining(now shard.Instant) time.Duration { return r.lease.remaining(now) }

// Hello is what to open a stream with; false if no incarnation wants one.
func (r *Roster) Hello() (Hello, bool) {
	if r.life != Live && (r.life != Ending || !r.end.report) {
		return Hello{}, false
	}
	hello := Hello{Server: r.server(r.saved.Incarnation), Held: r.held(), Highest: r.highest, Draining: r.drain.on}
	if r.app != nil {
		hello.Application = *r.app
	}
	return hello, true
}

// Hello is the first message of a stream.
type Hello struct {
	Server      shard.Server
	Application Application // zero: none
	Held        []shard.Held
	Highest     shard.Epoch
	Draining    bool
}

// Idle reports that no incarnation exists, nor is one coming to be: the agent may stop.
func (r *Roster) Idle() bool { return r.life == Waiting }

// View is a server as its operator sees it.
type View struct {
	Server      shard.Server
	Life        Life
	Remaining   time.Duration
	VouchedBy   Voucher
	Attached    bool
	Epoch       shard.Epoch
	Held        []shard.Held
	Draining    bool
	DrainKnown  bool // the leader has said how much is left since the drain was asked for
	DrainLeft   int
	Application Process
	Problem     string
	Transfers   []progress.Transfer
}

// View tells how the server stands.
func (r *Roster) View(now shard.Instant) View {
	s := View{
		Server: r.server(r.saved.Incarnation), Life: r.life, Remaining: r.lease.remaining(now), VouchedBy: r.lease.by, Attached: r.link.up,
		Epoch: r.highest, Held: r.held(), Draining: r.drain.on, DrainKnown: r.drain.known, DrainLeft: r.drain.left, Problem: r.problem,
		Transfers: r.transfers,
	}
	if r.life == Waiting || r.life == Registering {
		s.Server.Incarnation = 0
	}
	if s.Remaining == 0 {
		s.VouchedBy = 0
	}
	if r.app != nil {
		s.Application = r.app.Process
	}
	return s
}
