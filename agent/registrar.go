package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Times of the work on the store. Of a session's, docs/adr/0051-how-often-agents-ask-consul.md says why.
const (
	SessionRenewal = 9 * time.Second  // ± 20 %: 1 000 agents ask 111 times a second
	SessionTTL     = 25 * time.Second // a backstop; the store frees the key after twice this, which must outlast a rest lease after 10.8 s (R19)

	storeTimeout = 3 * time.Second // of one request
	decideRetry  = time.Second     // longest pause between two tries to decide an unknown outcome
)

// queuedOps is the most work on one server's file and session that waits; the roster never has more than a few pieces under way.
const queuedOps = 64

// registrar works on one server's file, session and key: what must happen in order on one goroutine, the rest beside it.
type registrar struct {
	cluster string
	app     shard.App
	store   coord.Store
	dir     *stateDir
	post    func(roster.Event) // to the server's roster
	ops     chan roster.StoreOp
}

// key is where a server is registered (docs/architecture.md §3).
func serverKey(cluster string, server shard.ServerID) string {
	return "shardmanager/" + cluster + "/servers/" + string(server)
}

// run carries out Save, RegisterKey and DestroySession in order until ops is closed.
func (g *registrar) run(ctx context.Context) {
	for op := range g.ops {
		switch op := op.(type) {
		case roster.Save:
			g.post(roster.FileSaved{Saved: op.Saved, Err: text(g.dir.save(g.app, op.Saved))})
		case roster.RegisterKey:
			g.post(g.register(ctx, op))
		case roster.DestroySession:
			g.post(roster.SessionDestroyed{Session: op.Session, Err: text(g.destroy(ctx, op.Session))})
		case roster.ReadKey, roster.RenewSession:
			go g.beside(ctx, op)
		}
	}
}

// beside carries out what waits for nothing; the roster has one of each under way.
func (g *registrar) beside(ctx context.Context, op roster.StoreOp) {
	switch op := op.(type) {
	case roster.ReadKey:
		g.post(g.read(ctx, op.Saved))
	case roster.RenewSession:
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		lives, err := g.store.RenewSession(ctx, coord.SessionID(op.Session))
		g.post(roster.SessionRenewed{Session: op.Session, Lost: err == nil && !lives, Err: text(err)})
	case roster.Save, roster.RegisterKey, roster.DestroySession:
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (g *registrar) destroy(ctx context.Context, session string) error {
	if session == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := g.store.DestroySession(ctx, coord.SessionID(session)); err != nil {
		return fmt.Errorf("destroy session: %w", err)
	}
	return nil
}

// read proves session, create index and incarnation by one consistent read (R2).
func (g *registrar) read(ctx context.Context, s roster.Saved) roster.KeyRead {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	entry, record, err := g.get(ctx)
	result := roster.KeyRead{Incarnation: s.Incarnation, State: roster.KeyGone}
	switch {
	case err != nil:
		result.State, result.Why = roster.KeyUnknown, err.Error()
	case entry == nil:
		result.Why = "absent"
	case string(entry.Session) != s.Session || shard.Incarnation(record.GetServer().GetIncarnation()) != s.Incarnation:
		result.Why = "held by " + holder(entry, record)
	case s.Create != 0 && uint64(entry.Create) != s.Create:
		result.Why = fmt.Sprintf("created anew at index %d", entry.Create)
	default:
		result.State = roster.KeyOurs
	}
	return result
}

// get reads the key; entry is nil if it is absent.
func (g *registrar) get(ctx context.Context) (*coord.Entry, *pb.ServerRecord, error) {
	key := serverKey(g.cluster, shard.MakeServerID(g.dir.claims.agent, g.app))
	entry, found, err := g.store.Get(ctx, key)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", key, err)
	}
	if !found {
		return nil, nil, nil
	}
	record := new(pb.ServerRecord)
	if err := wire.Decode(entry.Value, record); err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", key, err)
	}
	return &entry, record, nil
}

func holder(entry *coord.Entry, record *pb.ServerRecord) string {
	s := record.GetServer()
	if entry.Session == "" {
		return "nobody's session"
	}
	return fmt.Sprintf("agent %s at %s under incarnation %s", s.GetAgent(), s.GetAgentAddress(), shard.Incarnation(s.GetIncarnation()))
}

// register begins an incarnation: the file before the key, so that whoever restarts finds what it may clean up.
func (g *registrar) register(ctx context.Context, op roster.RegisterKey) roster.Event {
	refused := roster.KeyRefused{Incarnation: op.Server.Incarnation, Session: op.Old}
	if err := g.destroy(ctx, op.Old); err != nil {
		refused.Why = "the earlier session cannot be ended: " + err.Error()
		return refused
	}
	refused.Session = ""
	session, err := g.createSession(ctx, op.Server.ID)
	if err != nil {
		refused.Why = err.Error()
		return refused
	}
	refused.Session = string(session)
	saved := roster.Saved{Incarnation: op.Server.Incarnation, Session: string(session), Process: op.Process, Highest: op.Highest}
	if err := g.dir.save(g.app, saved); err != nil {
		refused.Why = err.Error()
		return refused
	}
	index, err := g.createKey(ctx, op, session)
	if err == nil {
		return roster.KeyRegistered{Incarnation: op.Server.Incarnation, Session: string(session), Create: uint64(index)}
	}
	refused.Why = err.Error()
	var taken *takenError
	if errors.As(err, &taken) {
		refused.Holder = taken.holder
	}
	if g.destroy(ctx, string(session)) == nil { // from here on, a transaction that was lost can never commit (R12)
		refused.Session = ""
	}
	return refused
}

func (g *registrar) createSession(ctx context.Context, server shard.ServerID) (coord.SessionID, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	session, err := g.store.CreateSession(ctx, coord.SessionSpec{Name: string(server), TTL: SessionTTL, Behavior: coord.DeleteKeys})
	if err != nil {
		return "", fmt.Errorf("create session: %w", err)
	}
	return session, nil
}

// takenError says who holds the key (R26).
type takenError struct{ server, holder string }

func (e *takenError) Error() string {
	return fmt.Sprintf("server %s is registered already: its key is held by %s; stop that one, or give this agent another name", e.server, e.holder)
}

// createKey creates the key exactly once. An error means that this session certainly does not hold it, or that the session must be
// destroyed to make it certain.
func (g *registrar) createKey(ctx context.Context, op roster.RegisterKey, session coord.SessionID) (coord.Index, error) {
	server, record := op.Server, &pb.ServerRecord{Server: wire.ServerToProto(op.Server), Cluster: g.cluster}
	for _, ended := range op.Ended {
		record.Ended = append(record.Ended, uint64(ended))
	}
	value, err := wire.Encode(record)
	if err != nil {
		return 0, err
	}
	key := serverKey(g.cluster, server.ID)
	asking, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	index, err := g.store.Txn(asking, []coord.Op{
		{Verb: coord.CheckNotExists, Key: key},
		{Verb: coord.Lock, Key: key, Value: value, Session: session},
	})
	var conflict *coord.ConflictError
	switch {
	case err == nil:
		return index, nil
	case errors.As(err, &conflict), errors.Is(err, coord.ErrUnknown):
		return g.decide(ctx, server, session, err)
	}
	return 0, fmt.Errorf("register %s: %w", server.ID, err)
}

// decide reads the key until it is known who holds it (R12).
func (g *registrar) decide(ctx context.Context, server shard.Server, session coord.SessionID, cause error) (coord.Index, error) {
	pauses := backoff.WithContext(backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(decideRetry), backoff.WithMaxElapsedTime(0)), ctx)
	return backoff.RetryWithData(func() (coord.Index, error) {
		asking, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		entry, record, err := g.get(asking)
		switch {
		case err != nil:
			return 0, err
		case entry == nil:
			return 0, backoff.Permanent(fmt.Errorf("register %s: %w", server.ID, cause))
		case entry.Session == session:
			return entry.Create, nil
		}
		return 0, backoff.Permanent(&takenError{server: string(server.ID), holder: holder(entry, record)})
	}, pauses)
}
