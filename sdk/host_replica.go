package sdk

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/lane"
	"github.com/shardmanager/shardmanager/internal/record"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transfer"
)

// gate says what happens to a request that arrives for a shard.
type gate uint8

const (
	// gateClosed refuses, except what the source of a move forwards to a prepared and activated target.
	gateClosed gate = iota + 1
	// gateHold keeps requests waiting until the gate changes.
	gateHold
	// gateOpen runs requests here.
	gateOpen
	// gateForward sends them to the peer.
	gateForward
	// gateFollow runs reads that any replica may answer, and refuses the others.
	gateFollow
)

// Reasons why contexts of operations are cancelled.
var (
	errShardLeaving = errors.New("the shard leaves this server and the time for running operations is over")
	errStillRunning = errors.New("operations are still running")
)

// cancelGrace is how long operations have after their contexts were cancelled (PROTOCOL R22).
const cancelGrace = 500 * time.Millisecond

// replica is one shard on this server.
//
// Two parties use it: commands, one at a time (turn), which call the application and decide the phase; and requests, which look at
// the gate and count themselves as tokens. mu is held for a few instructions only, never during a call.
type replica struct {
	life *life
	id   string
	turn chan struct{} // capacity 1: full while a command is at work

	mu      sync.Mutex
	record  record.Record
	gate    gate
	changed chan struct{} // closed at the next change of the gate; nil while nobody waits
	resumed chan struct{} // closed when the shard is served here again instead of being forwarded: the move was aborted; nil while nobody waits
	peer    shard.Peer    // target in Forwarding, source in Prepared, primary in Following, last target as a hint in None

	since shard.Instant // the right to execute began

	running int         // tokens out
	tokens  *Token      // the same, as a ring
	idle    chan<- bool // told once running is 0; nil while nobody waits

	pulling *pulling // the stream of state on its way here; nil: none

	// Used by commands only, under turn; activated is also read by requests, under mu.
	activated shard.Term // the application was activated at this term, and heard of its secondaries
	raised    shard.Term // Activate returned at this term
	armed     bool       // the application has the right to write, or may think so: Activate was called and no ChangeRole to secondary since
	added     shard.Term // AddShard returned at this term, or ChangeRole to primary
	role      Role       // that AddShard or ChangeRole gave last; 0: none since the last DropShard
	members   []Member   // secondaries of the target of a move, until it serves
	lane      lane.Lane  // UpdateMembership, at the term at which the application may write
	owned     shard.Term // the observer was told Activated and not yet Released
	touched   bool       // some callback ran since the last DropShard: there is something to drop
	lastState []byte     // answered by LastState, not yet handed over
	asked     bool       // LastState was answered
	base      uint64     // attempt of the snapshot that lastState is the delta to; 0: none
	received  uint64     // attempt of the snapshot that was received for the phase Prepared; 0: none
	outbox    transfer.Outbox
}

func newReplica(l *life, id string) *replica {
	return &replica{life: l, id: id, turn: make(chan struct{}, 1), record: record.New(), gate: gateClosed}
}

// acquire waits for the replica's turn; release gives it back.
func (r *replica) acquire(ctx context.Context) error {
	select {
	case r.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *replica) release() { <-r.turn }

// update changes the replica and wakes whoever waits for that.
func (r *replica) update(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.gate
	change()
	if before == gateForward && (r.gate == gateHold || r.gate == gateOpen) && r.resumed != nil {
		close(r.resumed)
		r.resumed = nil
	}
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// resuming is closed when what is forwarded may have to be executed here again. That the move goes on to its end takes nothing back: its
// target answers. The caller holds mu.
func (r *replica) resuming() <-chan struct{} {
	if r.resumed == nil {
		r.resumed = make(chan struct{})
	}
	return r.resumed
}

// waiting is closed at the next change. The caller holds mu.
func (r *replica) waiting() <-chan struct{} {
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.changed
}

// setGate changes the gate and returns the one before.
func (r *replica) setGate(g gate) (before gate) {
	r.update(func() { before, r.gate = r.gate, g })
	return before
}

// snapshot is the record as it is now.
func (r *replica) snapshot() record.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.record
}

func (r *replica) heldNow() shard.Held {
	r.mu.Lock()
	defer r.mu.Unlock()
	held := r.record.Held(shard.ID(r.id))
	if held.Phase != shard.None {
		held.Activated = r.activated != 0 && r.activated == held.Term
	}
	if held.Phase == shard.Prepared || held.Phase == shard.Forwarding {
		held.Peer = r.peer
	}
	return held
}

// quiesce waits until no token is out. The caller has closed the gate and holds the turn. After patience the contexts of running
// operations are cancelled; after cancelGrace more it gives up with errStillRunning.
func (r *replica) quiesce(ctx context.Context, patience time.Duration) error {
	idle := make(chan bool, 1)
	r.mu.Lock()
	if r.running == 0 {
		r.mu.Unlock()
		return nil
	}
	r.idle = idle
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.idle = nil
		r.mu.Unlock()
	}()
	timer := time.NewTimer(max(patience, 0))
	defer timer.Stop()
	for cancelled := false; ; {
		select {
		case <-idle:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			if cancelled {
				return errStillRunning
			}
			cancelled = true
			r.cancelTokens(errShardLeaving)
			timer.Reset(cancelGrace)
		}
	}
}
