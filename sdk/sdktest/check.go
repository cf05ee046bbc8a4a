package sdktest

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/statestream"
)

// App says how Check makes and uses an application.
type App struct {
	// New makes the handler of one server. The servers of a test share the application's storage, if it has one.
	// Terms begin at 1, so the storage has to be fresh for each Check.
	New func(t testing.TB, server string) sdk.Handler
	// Mount, if given, adds what else the application serves at its data address, for instance to take what a primary replicates.
	Mount func(h sdk.Handler, host *sdk.Host, mux *http.ServeMux)
	// Write and Read, if given, run one operation on the state of a shard with a handler that New made, as a request would: Write
	// replaces the shard's value, Read returns it, empty if it was never written. With them Check sees whether state survives.
	Write func(ctx context.Context, h sdk.Handler, s sdk.Shard, value string) error
	Read  func(ctx context.Context, h sdk.Handler, s sdk.Shard) (value string, err error)
	// Durable says that the state is kept in storage which checks terms: acknowledged writes survive a crash, and writes with an older
	// term than the storage has seen are refused. Otherwise state is expected to survive planned moves only, and only if the handler
	// is an sdk.StateSource.
	Durable bool
}

// callbackTimeout is how long a callback may take after its context has ended.
const callbackTimeout = 5 * time.Second

// Check takes fresh handlers through everything that can happen to a shard, each callback called twice, since one whose answer was
// lost is repeated, and fails the test where they break the contract of sdk.Handler.
func Check(t *testing.T, app App) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			for _, violation := range s.violations(t, app) {
				t.Error(violation)
			}
		})
	}
}

type scenario struct {
	name string
	play func(context.Context, *kit)
}

var scenarios = []scenario{
	{"first placement", firstPlacement},
	{"planned move and back", plannedMove},
	{"prepare does not disturb", prepareDoesNotDisturb},
	{"abort after hand-over", abortAfterHandOver},
	{"failover", failover},
	{"drop and return", dropAndReturn},
	{"delta after a snapshot", deltaAfterSnapshot},
	{"snapshot of an aborted move", snapshotOfAnAbortedMove},
	{"snapshot without a hand-over", snapshotWithoutHandOver},
	{"secondary follows", secondaryFollows},
	{"secondary takes over", secondaryTakesOver},
	{"switch and back", switchAndBack},
	{"old primary follows", oldPrimaryFollows},
	{"secondary lost", secondaryLost},
	{"membership replaced", membershipReplaced},
	{"secondary leaves and returns", secondaryReturns},
	{"drop at any point", dropAtAnyPoint},
	{"contexts end", contextsEnd},
}

// kit is one scenario's servers and what it found.
type kit struct {
	app      App
	shard    string // one of its own: storage lasts from scenario to scenario
	cluster  *Cluster
	a, b     *Server
	handlers map[*Server]sdk.Handler

	mu         sync.Mutex
	violations []string
}

func (s scenario) violations(t testing.TB, app App) []string {
	t.Helper()
	k := &kit{app: app, shard: s.name, cluster: NewCluster(t, "app"), handlers: map[*Server]sdk.Handler{}}
	start := func(name string) *Server {
		handler := app.New(t, name)
		server := k.cluster.Start(name, k.wrap(handler), func(host *sdk.Host, mux *http.ServeMux) {
			if app.Mount != nil {
				app.Mount(handler, host, mux)
			}
		})
		k.handlers[server] = handler
		return server
	}
	k.a, k.b = start("a"), start("b")
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	s.play(ctx, k)
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.violations
}

func (k *kit) violate(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.violations = append(k.violations, fmt.Sprintf(format, args...))
}

// works notes an error of something that has to work.
func (k *kit) works(what string, err error) {
	if err != nil {
		k.violate("%s: %v", what, err)
	}
}

// operate runs one operation on a server, as a request would.
func (k *kit) operate(ctx context.Context, s *Server, do func(context.Context, sdk.Handler, sdk.Shard) error) error {
	ctx, token, err := s.Host.Begin(ctx, k.shard)
	if err != nil {
		return err
	}
	if err := do(ctx, k.handlers[s], token.Shard()); err != nil {
		_ = token.End()
		return err
	}
	return token.End()
}

func (k *kit) write(ctx context.Context, s *Server, value string) {
	if k.app.Write == nil {
		return
	}
	err := k.operate(ctx, s, func(ctx context.Context, h sdk.Handler, at sdk.Shard) error { return k.app.Write(ctx, h, at, value) })
	k.works("writing at "+s.Name, err)
}

// writeStale writes as a server that was paused and does not know that its term is over: storage has to refuse it.
func (k *kit) writeStale(ctx context.Context, s *Server, term uint64) {
	if k.app.Write == nil || !k.app.Durable {
		return
	}
	at := sdk.Shard{App: "app", ID: k.shard, Term: term, Role: sdk.RolePrimary}
	if err := k.app.Write(ctx, k.handlers[s], at, "from the past"); err == nil {
		k.violate("storage took a write with term %d after a higher one was activated", term)
	}
}

func (k *kit) reads(ctx context.Context, s *Server, want string) {
	if k.app.Read == nil {
		return
	}
	err := k.operate(ctx, s, func(ctx context.Context, h sdk.Handler, at sdk.Shard) error {
		got, err := k.app.Read(ctx, h, at)
		if err == nil && got != want {
			err = fmt.Errorf("got %q, want %q", got, want)
		}
		return err
	})
	k.works("reading at "+s.Name, err)
}

// keepsInMoves: state has to survive planned moves.
func (k *kit) keepsInMoves() bool {
	_, source := k.handlers[k.a].(sdk.StateSource)
	return k.app.Durable || source
}

func firstPlacement(ctx context.Context, k *kit) {
	k.works("grant", k.cluster.Grant(ctx, k.shard, k.a))
	k.write(ctx, k.a, "one")
	k.reads(ctx, k.a, "one")
}

func plannedMove(ctx context.Context, k *kit) {
	k.works("grant", k.cluster.Grant(ctx, k.shard, k.a))
	k.write(ctx, k.a, "one")
	k.works("move", k.cluster.Move(ctx, k.shard, k.b))
	if k.keepsInMoves() {
		k.reads(ctx, k.b, "one")
	}
	k.writeStale(ctx, k.a, 1)
	k.write(ctx, k.b, "two")
	k.works("move back", k.cluster.Move(ctx, k.shard, k.a))
	if k.keepsInMoves() {
		k.reads(ctx, k.a, "two")
	}
}

func prepareDoesNotDisturb(ctx context.Context, k *kit) {
	k.works("grant", k.cluster.Grant(ctx, k.shard, k.a))
	k.works("PrepareAddShard", k.b.PrepareAddShard(ctx, k.shard, Order{Term: 2, Move: 2}, k.a))
	k.write(ctx, k.a, "while prepared") // fails if PrepareAddShard raised the storage's term
	k.works("DropShard of the prepared", k.b.DropShard(ctx, k.shard, Order{Term: 2, Move: 3}))
	k.write(ctx, k.a, "after the drop")
	k.reads(ctx, k.a, "after the drop")
}

func abortAfterHandOver(ctx context.Context, k *kit) {
	k.works("grant", k.cluster.Grant(ctx, k.shard, k.a))
	k.write(ctx, k.a, "one")
	o, stop := Order{Term: 2, Move: 2}, Order{Term: 2, Move: 3}
	k.works("PrepareAddShard", k.b.PrepareAddShard(ctx, k.shard, o, k.a))
	_, err := k.a.PrepareDropShard(ctx, k.shard, o, k.b, callTimeout)
	k.works("PrepareDropShard", err)
	k.works("DropShard of the target", k.b.DropShard(ctx, k.shard, stop))
	again := Order{Term: 3, Move: 4}
	k.works("Activate of the source", k.a.Activate(ctx, k.shard, again, nil))
	k.works("AddShard of the source", k.a.AddShard(ctx, k.shard, again))
	if k.keepsInMoves() {
		k.reads(ctx, k.a, "one") // without a last state: from its own memory, or from storage
	}
	k.writeStale(ctx, k.b, 2)
	k.write(ctx, k.a, "two")
	k.reads(ctx, k.a, "two")
}

func failover(ctx context.Context, k *kit) {
	k.works("grant", k.cluster.Grant(ctx, k.shard, k.a))
	k.write(ctx, k.a, "one")
	k.works("failover", k.cluster.Grant(ctx, k.shard, k.b)) // a is paused: it hears of nothing
	k.writeStale(ctx, k.a, 1)
	if k.app.Durable {
		k.reads(ctx, k.b, "one")
	}
	k.write(ctx, k.b, "two")
	k.reads(ctx, k.b, "two")
}

func dropAndReturn(ctx context.Context, k *kit) {
	k.works("grant", k.cluster.Grant(ctx, k.shard, k.a))
	k.write(ctx, k.a, "one")
	k.works("drop", k.cluster.Drop(ctx, k.shard))
	k.works("grant again", k.cluster.Grant(ctx, k.shard, k.a))
	if k.app.Durable {
		k.reads(ctx, k.a, "one")
	} else {
		k.reads(ctx, k.a, "") // what is left in memory is older than the truth
	}
}

func dropAtAnyPoint(ctx context.Context, k *kit) {
	k.works("grant", k.cluster.Grant(ctx, k.shard, k.b)) // the source of the move that is called off
	k.works("PrepareAddShard", k.a.PrepareAddShard(ctx, k.shard, Order{Term: 2, Move: 2}, k.b))
	k.works("DropShard when prepared", k.a.DropShard(ctx, k.shard, Order{Term: 2, Move: 3}))
	k.works("DropShard of the source", k.b.DropShard(ctx, k.shard, Order{Term: 2, Move: 3}))
	k.works("Activate", k.a.Activate(ctx, k.shard, Order{Term: 3, Move: 4}, nil))
	k.works("DropShard when activated", k.a.DropShard(ctx, k.shard, Order{Term: 3, Move: 5}))
	k.works("AddShard", k.a.AddShard(ctx, k.shard, Order{Term: 4, Move: 6}))
	k.works("end of the incarnation", k.a.EndIncarnation(ctx))
}

// contextsEnd calls the handler itself: what it answers does not matter, but it has to answer.
func contextsEnd(ctx context.Context, k *kit) {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	h := k.wrap(k.handlers[k.a]).(interface {
		sdk.Handler
		sdk.Activator
		sdk.Preparer
		sdk.StateSource
	})
	at := sdk.Shard{App: "app", ID: k.shard, Term: 1, Role: sdk.RolePrimary}
	peer := sdk.Peer{Server: "b.app", DataAddress: k.b.Address, Incarnation: 1}
	for _, callback := range []struct {
		name string
		call func()
	}{
		{"PrepareAddShard", func() { _ = h.PrepareAddShard(ended, at, peer) }},
		{"ReceiveState", func() {
			if target, ok := k.handlers[k.a].(statestream.Target); ok {
				_ = target.ReceiveState(ended, at, peer, cutReader{})
			}
		}},
		{"Activate", func() { _ = h.Activate(ended, at, nil) }},
		{"AddShard", func() { _ = h.AddShard(ended, at) }},
		{"LastState", func() { _, _ = h.LastState(ended, at) }},
		{"StreamState", func() {
			if source, ok := k.handlers[k.a].(statestream.Source); ok {
				_ = source.StreamState(ended, at, peer, &cutWriter{})
				_, _ = source.StateDelta(ended, at, peer)
				source.EndState(at, peer)
			}
		}},
		{"UpdateMembership", func() {
			_ = h.(sdk.MembershipUpdater).UpdateMembership(ended, at, []sdk.Member{{Peer: sdk.Peer{Server: "c.app", DataAddress: "127.0.0.1:1", Incarnation: 1}}})
		}},
		{"ChangeRole", func() {
			_ = h.(sdk.RoleChanger).ChangeRole(ended, sdk.Shard{App: "app", ID: k.shard, Term: 2, Role: sdk.RoleSecondary}, sdk.RolePrimary, sdk.RoleSecondary)
		}},
		{"DropShard", func() { _ = h.DropShard(ended, at) }},
	} {
		returned := make(chan struct{})
		go func() {
			defer close(returned)
			callback.call()
		}()
		select {
		case <-returned:
		case <-time.After(callbackTimeout):
			k.violate("%s did not return within %s after its context had ended", callback.name, callbackTimeout)
			return
		}
	}
}
