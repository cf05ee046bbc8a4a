package sdk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// full has Activate, which plain lacks.
type full struct {
	plain
	fail string // name of the callback that fails or panics
}

func (f *full) Activate(context.Context, Shard, []byte) error {
	switch f.fail {
	case "panic":
		panic("by accident")
	case "stale":
		return wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_STALE, "the storage's own", "", "")
	}
	return nil
}

// reason is the typed reason of a refusal, or the code of another error.
func reason(err error) string {
	if err == nil {
		return "ok"
	}
	if detail, ok := wire.DetailOf(err); ok {
		return strings.TrimPrefix(detail.GetReason().String(), "ERROR_REASON_")
	}
	return connect.CodeOf(err).String()
}

func TestCommandsAreChecked(t *testing.T) {
	good := func() *pb.ShardCommand { return testOrder{1, 1}.command() }
	change := func(change func(*pb.ShardCommand)) *pb.ShardCommand {
		c := good()
		change(c)
		return c
	}
	for _, test := range []struct {
		name string
		c    *pb.ShardCommand
		role pb.Role
		want string
	}{
		{"good", good(), pb.Role_ROLE_PRIMARY, "ok"},
		{"nothing", nil, pb.Role_ROLE_PRIMARY, "INVALID"},
		{"another app", change(func(c *pb.ShardCommand) { c.App = "web" }), pb.Role_ROLE_PRIMARY, "INVALID"},
		{"no shard", change(func(c *pb.ShardCommand) { c.Shard = "" }), pb.Role_ROLE_PRIMARY, "INVALID"},
		{"no term", change(func(c *pb.ShardCommand) { c.Term = 0 }), pb.Role_ROLE_PRIMARY, "INVALID"},
		{"no move", change(func(c *pb.ShardCommand) { c.Move = 0 }), pb.Role_ROLE_PRIMARY, "INVALID"},
		{"another incarnation", change(func(c *pb.ShardCommand) { c.Incarnation = 2 }), pb.Role_ROLE_PRIMARY, "STALE"},
		{"a secondary", good(), pb.Role_ROLE_SECONDARY, "UNSUPPORTED"},
		{"no role", good(), pb.Role_ROLE_UNSPECIFIED, "UNSUPPORTED"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{host: leased(t)}
				_, err := s.AddShard(t.Context(), &pb.AddShardRequest{Command: test.c, Role: test.role})
				if got := reason(err); got != test.want {
					t.Errorf("AddShard: %s (%v), want %s", got, err, test.want)
				}
			})
		})
	}
}

func TestOptionalCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		without := &service{host: leased(t)}
		without.host.add(t, testOrder{1, 1})
		if err := without.members(t.Context(), testOrder{1, 2}, "b.kv"); reason(err) != "UNSUPPORTED" {
			t.Errorf("UpdateMembership without the callback: %v, want unsupported", err)
		}
		if err := without.secondary(t.Context(), testOrder{1, 3}); reason(err) != "UNSUPPORTED" {
			t.Errorf("AddShard as a secondary without the callbacks: %v, want unsupported", err)
		}
		_, err := without.ChangeRole(t.Context(), &pb.ChangeRoleRequest{
			Command: testOrder{1, 2}.command(), From: pb.Role_ROLE_PRIMARY, To: pb.Role_ROLE_SECONDARY,
		})
		if reason(err) != "UNSUPPORTED" {
			t.Errorf("ChangeRole: %v, want unsupported", err)
		}
		if answer, err := without.CollectLoad(t.Context(), &pb.CollectLoadRequest{}); err != nil || len(answer.GetLoads()) != 0 {
			t.Errorf("CollectLoad without the callback: %v, %v, want nothing", answer, err)
		}
	})
}

func TestMembersAreChecked(t *testing.T) {
	many := make([]string, maxMembers+1)
	for i := range many {
		many[i] = fmt.Sprint("b", i)
	}
	incomplete := memberList("b.kv")
	incomplete[0].Peer.Incarnation = 0
	for name, list := range map[string][]*pb.Member{
		"too many": memberList(many...), "twice": memberList("b.kv", "b.kv"), "incomplete": incomplete, "nobody": {{}},
	} {
		s, app := following(t)
		_, updated := s.UpdateMembership(t.Context(), &pb.UpdateMembershipRequest{Command: testOrder{1, 1}.command(), Members: list})
		_, activated := s.Activate(t.Context(), &pb.ActivateRequest{Command: testOrder{1, 1}.command(), Members: list})
		_, prepared := s.PrepareAddShard(t.Context(), &pb.PrepareAddShardRequest{Command: testOrder{1, 1}.command(), Members: list})
		_, added := s.AddShard(t.Context(), &pb.AddShardRequest{Command: testOrder{1, 1}.command(), Members: list, Role: pb.Role_ROLE_PRIMARY})
		for _, err := range []error{updated, activated, prepared, added} {
			if reason(err) != "INVALID" {
				t.Errorf("%s: %v, want invalid", name, err)
			}
		}
		app.expect(t, name)
	}
}

// A callback that fails or panics fails the command, never the process, and its error is not taken for the Host's own verdict.
func TestCallbackFails(t *testing.T) {
	for _, fail := range []string{"panic", "stale"} {
		t.Run(fail, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, app := &service{host: leased(t)}, &full{fail: fail}
				s.host.handler = app
				var told []string
				s.host.options.called = func(callback string, _ time.Duration, err error) {
					told = append(told, fmt.Sprint(callback, " ", err == nil))
				}
				request := &pb.AddShardRequest{Command: testOrder{1, 1}.command(), Role: pb.Role_ROLE_PRIMARY}
				_, err := s.AddShard(t.Context(), request)
				if connect.CodeOf(err) != connect.CodeUnknown || reason(err) != "unknown" || !strings.Contains(err.Error(), "Activate: shard 07") {
					t.Errorf("AddShard: %v (%s), want unknown, naming callback and shard", err, reason(err))
				}
				app.fail = ""
				if _, err := s.AddShard(t.Context(), request); err != nil {
					t.Errorf("AddShard again: %v", err)
				}
				if diff := cmp.Diff([]string{"Activate false", "Activate true", "AddShard true"}, told); diff != "" {
					t.Errorf("callbacks that were told of (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// The agent may give its first command before its answer to Register has arrived.
func TestCommandBeforeRegistrationIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{host: leased(t)}
		h := s.host
		h.life.Store(nil)
		answered := make(chan struct{})
		h.adopting = answered
		added := make(chan error)
		go func() {
			_, err := s.AddShard(context.Background(), &pb.AddShardRequest{Command: testOrder{1, 1}.command(), Role: pb.Role_ROLE_PRIMARY})
			added <- err
		}()
		time.Sleep(adoptWait / 2)
		h.adopt(newLife("a.kv", 1))
		close(answered)
		if err := <-added; err != nil {
			t.Errorf("AddShard: %v", err)
		}
		h.life.Store(nil)
		h.adopting = make(chan struct{})
		start := time.Now()
		_, err := s.AddShard(t.Context(), &pb.AddShardRequest{Command: testOrder{1, 1}.command(), Role: pb.Role_ROLE_PRIMARY})
		if reason(err) != "STALE" || time.Since(start) != adoptWait {
			t.Errorf("AddShard without an answer: %v after %s, want stale after %s", err, time.Since(start), adoptWait)
		}
	})
}

// Commands for one shard wait for each other, and give up with their caller.
func TestCommandsWaitTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{host: leased(t)}
		s.host.add(t, testOrder{1, 1})
		r := s.host.life.Load().find(oneShard)
		if err := r.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.DropShard(ctx, &pb.DropShardRequest{Command: testOrder{1, 2}.command()})
		if connect.CodeOf(err) != connect.CodeDeadlineExceeded {
			t.Errorf("DropShard while another command runs: %v, want deadline exceeded", err)
		}
		r.release()
		if _, err := s.DropShard(t.Context(), &pb.DropShardRequest{Command: testOrder{1, 2}.command()}); err != nil {
			t.Errorf("DropShard afterwards: %v", err)
		}
	})
}

// EndIncarnation answers only when nothing runs any more; of another incarnation nothing does.
func TestEndIncarnation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := &events{}
		s := &service{host: leased(t, WithObserver(seen))}
		s.host.add(t, testOrder{1, 1})
		ctx, token := begin(t, s.host)
		if _, err := s.EndIncarnation(t.Context(), &pb.EndIncarnationRequest{Incarnation: 7}); err != nil {
			t.Errorf("another incarnation: %v", err)
		}
		if _, err := s.EndIncarnation(t.Context(), &pb.EndIncarnationRequest{Incarnation: 1}); err == nil {
			t.Error("answered although an operation runs")
		}
		if !errors.Is(context.Cause(ctx), errLifeOver) {
			t.Errorf("the operation's context: %v, want cancelled", context.Cause(ctx))
		}
		if got := outcome(token.End()); got != "unknown" {
			t.Errorf("the operation: %s, want unknown", got)
		}
		for range 2 {
			if _, err := s.EndIncarnation(t.Context(), &pb.EndIncarnationRequest{Incarnation: 1}); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		}
		if diff := cmp.Diff([]string{"activated", "lease revoked", "released"}, seen.list); diff != "" {
			t.Errorf("observed (-want +got):\n%s", diff)
		}
	})
}
