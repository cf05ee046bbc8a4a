package sdktest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
)

const (
	// staleFor bounds how long a secondary in sync may answer what was overwritten, in this kit.
	staleFor = 5 * time.Second
	// refusedFor is how long a write is tried that must not be acknowledged.
	refusedFor = 500 * time.Millisecond
)

// replicated grants the shard to a and makes b its secondary; false: the application has no secondaries.
func (k *kit) replicated(ctx context.Context) bool {
	_, changes := k.handlers[k.a].(sdk.RoleChanger)
	_, updates := k.handlers[k.a].(sdk.MembershipUpdater)
	if changes != updates {
		k.violate("it has one of ChangeRole and UpdateMembership, and needs both: every server is primary and secondary in turn")
	}
	if !changes || !updates {
		return false
	}
	k.works("grant", k.cluster.Grant(ctx, k.shard, k.a))
	k.write(ctx, k.a, "one")
	k.works("add secondary", k.cluster.AddSecondary(ctx, k.shard, k.b))
	return true
}

// readsSoon is reads at a secondary, which may be a little behind.
func (k *kit) readsSoon(ctx context.Context, s *Server, want string) {
	if k.app.Read == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, staleFor)
	defer cancel()
	for {
		got, err := k.readAt(ctx, s)
		if err == nil && got == want {
			return
		}
		select {
		case <-ctx.Done():
			k.violate("reading at the secondary %s for %s: got %q, error %v, want %q", s.Name, staleFor, got, err, want)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (k *kit) readAt(ctx context.Context, s *Server) (string, error) {
	ctx, token, err := s.Host.BeginRead(ctx, k.shard)
	if err != nil {
		return "", err
	}
	if token.Shard().Role != sdk.RoleSecondary {
		return "", errors.Join(fmt.Errorf("%s is %s", s.Name, token.Shard().Role), token.End())
	}
	got, err := k.app.Read(ctx, k.handlers[s], token.Shard())
	return got, errors.Join(err, token.End())
}

// writeRefused writes at a primary that is over and does not know: with a secondary that has seen a higher term it cannot be acknowledged.
func (k *kit) writeRefused(ctx context.Context, s *Server, term uint64) {
	if k.app.Write == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, refusedFor)
	defer cancel()
	at := sdk.Shard{App: "app", ID: k.shard, Term: term, Role: sdk.RolePrimary}
	if err := k.app.Write(ctx, k.handlers[s], at, "from the past"); err == nil {
		k.violate("%s acknowledged a write with term %d after its secondary had taken over", s.Name, term)
	}
}

func secondaryFollows(ctx context.Context, k *kit) {
	if !k.replicated(ctx) {
		return
	}
	k.readsSoon(ctx, k.b, "one")
	k.write(ctx, k.a, "two")
	k.reads(ctx, k.a, "two")
	k.readsSoon(ctx, k.b, "two")
}

func secondaryTakesOver(ctx context.Context, k *kit) {
	if !k.replicated(ctx) {
		return
	}
	k.write(ctx, k.a, "two")
	k.works("promotion", k.cluster.Promote(ctx, k.shard, k.b)) // a is paused: it hears of nothing
	k.reads(ctx, k.b, "two")                                   // whatever was acknowledged
	k.writeRefused(ctx, k.a, 1)
	k.write(ctx, k.b, "three")
	k.reads(ctx, k.b, "three")
}

func switchAndBack(ctx context.Context, k *kit) {
	if !k.replicated(ctx) {
		return
	}
	k.works("switch", k.cluster.Switch(ctx, k.shard, k.b))
	k.reads(ctx, k.b, "one")
	k.write(ctx, k.b, "two")
	k.readsSoon(ctx, k.a, "two")
	k.works("switch back", k.cluster.Switch(ctx, k.shard, k.a))
	k.reads(ctx, k.a, "two")
	k.write(ctx, k.a, "three")
	k.readsSoon(ctx, k.b, "three")
}

func oldPrimaryFollows(ctx context.Context, k *kit) {
	if !k.replicated(ctx) {
		return
	}
	k.works("promotion", k.cluster.Promote(ctx, k.shard, k.b))
	k.writeRefused(ctx, k.a, 1) // not acknowledged, so it has to be forgotten
	k.write(ctx, k.b, "two")
	k.works("the old primary is made a secondary", k.cluster.AddSecondary(ctx, k.shard, k.a))
	k.readsSoon(ctx, k.a, "two")
	k.works("switch back", k.cluster.Switch(ctx, k.shard, k.a))
	k.reads(ctx, k.a, "two")
}

func secondaryLost(ctx context.Context, k *kit) {
	if !k.replicated(ctx) || k.app.Write == nil {
		return
	}
	_ = k.b.Stop() // what it says about that is of no interest
	written := make(chan struct{})
	go func() {
		defer close(written)
		k.write(ctx, k.a, "two")
	}()
	select {
	case <-written:
		k.violate("a write was acknowledged that a secondary in sync cannot have")
	case <-time.After(refusedFor):
	}
	k.works("UpdateMembership without the secondary that is lost", k.cluster.Exclude(ctx, k.shard, k.b))
	select {
	case <-written:
	case <-time.After(staleFor):
		k.violate("a write waits for a secondary that is a member no more")
		return
	}
	k.reads(ctx, k.a, "two")
}

func membershipReplaced(ctx context.Context, k *kit) {
	if !k.replicated(ctx) {
		return
	}
	nowhere := &Server{Name: "c.app", Address: "127.0.0.1:1", app: "app", Agent: &Agent{incarnation: 1}}
	with := append(k.cluster.members(k.shard), Member{Server: nowhere})
	o := k.cluster.decide(k.shard).order
	impatient, cancel := context.WithTimeout(ctx, refusedFor)
	defer cancel()
	if err := k.a.UpdateMembership(impatient, k.shard, o, with...); err == nil {
		k.violate("UpdateMembership said that a member is in sync that nobody can reach")
	}
	k.works("UpdateMembership in place of one that waits", k.cluster.Exclude(ctx, k.shard, nowhere))
	k.write(ctx, k.a, "two")
	k.readsSoon(ctx, k.b, "two")
}

func secondaryReturns(ctx context.Context, k *kit) {
	if !k.replicated(ctx) {
		return
	}
	k.works("remove secondary", k.cluster.RemoveSecondary(ctx, k.shard, k.b))
	k.write(ctx, k.a, "two")
	k.works("add secondary", k.cluster.AddSecondary(ctx, k.shard, k.b))
	k.write(ctx, k.a, "three")
	k.works("promotion", k.cluster.Promote(ctx, k.shard, k.b))
	k.reads(ctx, k.b, "three")
}
