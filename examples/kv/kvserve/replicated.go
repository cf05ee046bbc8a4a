package kvserve

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/examples/kv/kvreplica"
	"github.com/shardmanager/shardmanager/sdk"
)

// Replicated implements the callbacks of sdk.Host in the mode primary-secondary: there is no store, each replica keeps its shards in memory,
// and a write is acknowledged once every secondary in sync has it (package kvreplica).
type Replicated struct {
	node *kvreplica.Node
	log  *slog.Logger
	// identify is called before a shard is activated.
	identify func()

	mu   sync.Mutex
	held map[string]*meter
}

var (
	_ sdk.Handler           = (*Replicated)(nil)
	_ sdk.Activator         = (*Replicated)(nil)
	_ sdk.StateSource       = (*Replicated)(nil)
	_ sdk.RoleChanger       = (*Replicated)(nil)
	_ sdk.MembershipUpdater = (*Replicated)(nil)
	_ sdk.LoadCollector     = (*Replicated)(nil)
)

// NewReplicated makes an application that holds nothing yet. The node is the caller's to run and to serve.
func NewReplicated(node *kvreplica.Node, log *slog.Logger) *Replicated {
	return &Replicated{node: node, log: log, identify: func() {}, held: map[string]*meter{}}
}

// Activate goes on with what this replica has: in a fail-over and in a planned move it is a secondary in sync.
func (a *Replicated) Activate(_ context.Context, s sdk.Shard, state []byte) error {
	a.identify()
	if err := a.node.Activate(s.ID, s.Term, state); err != nil {
		return err
	}
	a.hold(s.ID)
	return nil
}

// AddShard of a primary has nothing left to do: Activate did it. A secondary waits for its primary's snapshot.
func (a *Replicated) AddShard(_ context.Context, s sdk.Shard) error {
	if s.Role == sdk.RoleSecondary {
		a.node.Follow(s.ID)
		a.hold(s.ID)
	}
	return nil
}

// ChangeRole of a primary that steps back keeps the data until the new primary's snapshot replaces it. To a secondary that takes over,
// everything has happened already.
func (a *Replicated) ChangeRole(_ context.Context, s sdk.Shard, _, to sdk.Role) error {
	if to == sdk.RoleSecondary {
		a.node.Follow(s.ID)
	}
	return nil
}

// UpdateMembership returns once every member has what was acknowledged, and is waited for from then on.
func (a *Replicated) UpdateMembership(ctx context.Context, s sdk.Shard, members []sdk.Member) error {
	list := make([]kvreplica.Member, len(members))
	for i, m := range members {
		list[i] = kvreplica.Member{Server: m.Server, Address: m.DataAddress, Incarnation: m.Incarnation, InSync: m.InSync}
	}
	return a.node.UpdateMembership(ctx, s.ID, s.Term, list)
}

// DropShard forgets the shard.
func (a *Replicated) DropShard(_ context.Context, s sdk.Shard) error {
	a.node.Drop(s.ID)
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.held, s.ID)
	return nil
}

// LastState is little: the next owner has everything, and this lets it check that.
func (a *Replicated) LastState(_ context.Context, s sdk.Shard) ([]byte, error) {
	return a.node.LastState(s.ID, s.Term)
}

// CollectLoad answers each shard's rate, in requests in 1 000 s.
func (a *Replicated) CollectLoad(context.Context) (map[string]map[string]int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	loads := make(map[string]map[string]int64, len(a.held))
	for id, m := range a.held {
		m.collect(loads, id)
	}
	return loads, nil
}

func (a *Replicated) hold(shard string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held[shard] == nil {
		m := newMeter()
		a.held[shard] = &m
	}
}

// counted counts a request.
func (a *Replicated) counted(shard string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := a.held[shard]; m != nil {
		m.requests.Add(1)
	}
}

// confirmPatience bounds the look at one shard: one that is just handed over is not confirmed this time.
const confirmPatience = 20 * time.Millisecond

// primaryNow asks the guard whether this server is primary of a shard at a term, and its lease holds.
func primaryNow(ctx context.Context, host *sdk.Host, shard string, term uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, confirmPatience)
	defer cancel()
	_, token, err := host.Begin(ctx, shard)
	if err != nil {
		return false
	}
	at := token.Shard()
	return token.End() == nil && at.Role == sdk.RolePrimary && at.Term == term
}
