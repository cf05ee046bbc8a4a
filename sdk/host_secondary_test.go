package sdk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/record"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// replicating is an application with secondaries that remembers what it was called for.
type replicating struct {
	mu      sync.Mutex
	seen    []string
	failing map[string]error                                        // per callback
	update  func(ctx context.Context, s Shard, list []Member) error // nil: at once
	running int                                                     // of UpdateMembership
}

func (a *replicating) call(name string, s Shard, detail string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, fmt.Sprintf("%s@%d as %s%s", name, s.Term, s.Role, detail))
	if a.running > 0 && name != "UpdateMembership" && s.Role == RoleSecondary {
		a.seen = append(a.seen, "while UpdateMembership runs")
	}
	return a.failing[name]
}

func (a *replicating) calls() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := a.seen
	a.seen = nil
	return seen
}

func (a *replicating) fail(name string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failing = map[string]error{name: err}
}

func (a *replicating) AddShard(_ context.Context, s Shard) error  { return a.call("AddShard", s, "") }
func (a *replicating) DropShard(_ context.Context, s Shard) error { return a.call("DropShard", s, "") }

func (a *replicating) PrepareAddShard(_ context.Context, s Shard, _ Peer) error {
	return a.call("PrepareAddShard", s, "")
}

func (a *replicating) Activate(_ context.Context, s Shard, _ []byte) error {
	return a.call("Activate", s, "")
}

func (a *replicating) ChangeRole(_ context.Context, s Shard, from, to Role) error {
	return a.call("ChangeRole", s, fmt.Sprintf(", %s to %s", from, to))
}

func (a *replicating) UpdateMembership(ctx context.Context, s Shard, members []Member) error {
	detail := ","
	for _, m := range members {
		detail += " " + m.Server
		if m.InSync {
			detail += " in sync"
		}
	}
	err := a.call("UpdateMembership", s, detail)
	a.mu.Lock()
	update := a.update
	a.running++
	if a.running > 1 {
		a.seen = append(a.seen, "twice at once")
	}
	a.mu.Unlock()
	if update != nil {
		err = update(ctx, s, members)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running--
	return err
}

// expect compares what was called since the last look.
func (a *replicating) expect(t *testing.T, when string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, a.calls()); diff != "" {
		t.Errorf("%s: callbacks (-want +got):\n%s", when, diff)
	}
}

func following(t *testing.T, opts ...HostOption) (*service, *replicating) {
	t.Helper()
	app := &replicating{}
	s := &service{host: leased(t, opts...)}
	s.host.handler = app
	return s, app
}

func memberList(names ...string) []*pb.Member {
	var list []*pb.Member
	for _, name := range names {
		list = append(list, &pb.Member{InSync: name[0] >= 'x', Peer: &pb.Peer{Server: name, Incarnation: 5, DataAddress: name + ":1"}})
	}
	return list
}

// Commands, as the agent gives them.

func (s *service) secondary(ctx context.Context, o testOrder) error {
	_, err := s.AddShard(ctx, &pb.AddShardRequest{
		Command: o.command(), Role: pb.Role_ROLE_SECONDARY, Primary: &pb.Peer{Server: "p.kv", Incarnation: 9, DataAddress: "p:1"},
	})
	return err
}

func (s *service) primary(ctx context.Context, o testOrder, members ...string) error {
	list := memberList(members...)
	if _, err := s.Activate(ctx, &pb.ActivateRequest{Command: o.command(), Members: list}); err != nil {
		return err
	}
	_, err := s.AddShard(ctx, &pb.AddShardRequest{Command: o.command(), Role: pb.Role_ROLE_PRIMARY, Members: list})
	return err
}

func (s *service) prepare(ctx context.Context, o testOrder) error {
	_, err := s.PrepareAddShard(ctx, &pb.PrepareAddShardRequest{Command: o.command(), From: &pb.Peer{Server: "p.kv", Incarnation: 9}})
	return err
}

func (s *service) members(ctx context.Context, o testOrder, names ...string) error {
	_, err := s.UpdateMembership(ctx, &pb.UpdateMembershipRequest{Command: o.command(), Members: memberList(names...)})
	return err
}

func (s *service) drop(ctx context.Context, o testOrder) error {
	_, err := s.DropShard(ctx, &pb.DropShardRequest{Command: o.command()})
	return err
}

func (s *service) phase() string {
	held := s.host.life.Load().find(oneShard).heldNow()
	return fmt.Sprintf("%s at %d, max %s, activated %t", held.Phase, held.Term, held.Max, held.Activated)
}

func ok(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func TestSecondaryExecutesReadsUnderItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := &events{}
		s, app := following(t, WithObserver(seen))
		for range 2 {
			ok(t, "AddShard", s.secondary(t.Context(), testOrder{3, 4}))
		}
		app.expect(t, "added", "AddShard@3 as secondary")
		if got := s.phase(); got != "secondary at 3, max 3/4, activated false" {
			t.Error(got)
		}
		if _, _, err := s.host.Begin(t.Context(), oneShard); outcome(err) != OutcomeNotExecuted {
			t.Errorf("a write: %v", err)
		} else if hint, _ := HintOf(err); hint != "p:1" {
			t.Errorf("a write: hint %q, want the primary's address", hint)
		}
		_, read, err := s.host.BeginRead(t.Context(), oneShard)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := read.Shard(), (Shard{App: "kv", ID: oneShard, Term: 3, Role: RoleSecondary}); got != want {
			t.Errorf("the read runs for %+v, want %+v", got, want)
		}
		ok(t, "the read", read.End())
		_, late, err := s.host.BeginRead(t.Context(), oneShard)
		ok(t, "another read", err)
		time.Sleep(2 * time.Minute)
		if got := outcome(late.End()); got != OutcomeUnknown {
			t.Errorf("the lease ended during a read: %s", got)
		}
		if _, _, err := s.host.BeginRead(t.Context(), oneShard); outcome(err) != OutcomeNotExecuted {
			t.Errorf("a read without a lease: %v", err)
		}
		ok(t, "DropShard", s.drop(t.Context(), testOrder{3, 5}))
		app.expect(t, "dropped", "DropShard@3 as secondary")
		if len(seen.list) != 0 {
			t.Errorf("observed %q: a secondary has no right to execute", seen.list)
		}
	})
}

// A secondary's answers say what they are; a primary's do not.
func TestAnswersOfASecondary(t *testing.T) {
	s, _ := following(t)
	handler := s.host.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		SetStaleness(r.Context(), 1500*time.Microsecond)
		w.WriteHeader(http.StatusNotFound)
	}))
	get := func(read string) http.Header {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set(HeaderShard, oneShard)
		if read != "" {
			r.Header.Set(HeaderRead, read)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		w.Header().Set("Status", fmt.Sprint(w.Code))
		return w.Header()
	}
	said := func(header http.Header) string {
		return fmt.Sprintf("%s role %q term %q staleness %q outcome %q hint %q", header.Get("Status"), header.Get(HeaderRole),
			header.Get(HeaderTerm), header.Get(HeaderStaleness), header.Get(HeaderOutcome), header.Get(HeaderHint))
	}
	ok(t, "AddShard", s.secondary(t.Context(), testOrder{3, 4}))
	for read, want := range map[string]string{
		ReadAny:   `404 role "secondary" term "3" staleness "2" outcome "" hint ""`,
		"":        `503 role "" term "" staleness "" outcome "not-executed" hint "p:1"`,
		"nearest": `400 role "" term "" staleness "" outcome "" hint ""`,
	} {
		if got := said(get(read)); got != want {
			t.Errorf("read %q at a secondary: %s, want %s", read, got, want)
		}
	}
	ok(t, "promotion", s.primary(t.Context(), testOrder{4, 5}))
	if got := said(get(ReadAny)); got != `404 role "" term "" staleness "" outcome "" hint ""` {
		t.Errorf("at a primary: %s", got)
	}
}

// A secondary takes over: Activate, its first membership, ChangeRole. A read that runs does not keep it from that.
func TestPromotion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, app := following(t)
		ok(t, "AddShard", s.secondary(t.Context(), testOrder{3, 4}))
		_, read, err := s.host.BeginRead(t.Context(), oneShard)
		ok(t, "a read", err)
		app.calls()
		ok(t, "promotion", s.primary(t.Context(), testOrder{4, 5}, "x.kv", "c.kv"))
		app.expect(t, "promoted", "Activate@4 as primary", "UpdateMembership@4 as primary, x.kv in sync c.kv",
			"ChangeRole@4 as primary, secondary to primary")
		if got := s.phase(); got != "primary at 4, max 4/5, activated true" {
			t.Error(got)
		}
		_, token := begin(t, s.host)
		if got, want := token.Shard(), (Shard{App: "kv", ID: oneShard, Term: 4, Role: RolePrimary}); got != want {
			t.Errorf("an operation runs for %+v, want %+v", got, want)
		}
		ok(t, "an operation", errors.Join(token.End(), read.End()))
		ok(t, "again", s.primary(t.Context(), testOrder{4, 5}, "x.kv", "c.kv"))
		app.expect(t, "again")
	})
}

// An application without Activate takes over in ChangeRole.
func TestPromotionWithoutActivate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, app := following(t)
		s.host.handler = struct {
			Handler
			RoleChanger
			MembershipUpdater
		}{app, app, app}
		ok(t, "AddShard", s.secondary(t.Context(), testOrder{3, 4}))
		_, err := s.AddShard(t.Context(), &pb.AddShardRequest{Command: testOrder{4, 5}.command(), Role: pb.Role_ROLE_PRIMARY, Members: memberList("x.kv")})
		ok(t, "promotion", err)
		app.expect(t, "promoted", "AddShard@3 as secondary", "ChangeRole@4 as primary, secondary to primary",
			"UpdateMembership@4 as primary, x.kv in sync")
	})
}

// Nothing is let in before the first membership is acknowledged; the list that came meanwhile counts, and the command waits for that.
func TestFirstMembership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, app := following(t)
		app.update = func(ctx context.Context, _ Shard, list []Member) error {
			if len(list) == 0 {
				return nil
			}
			<-ctx.Done() // a member that died is waited for
			return ctx.Err()
		}
		promoted := make(chan error, 1)
		go func() { promoted <- s.primary(t.Context(), testOrder{4, 5}, "x.kv") }()
		time.Sleep(time.Second)
		if _, _, err := s.host.Begin(t.Context(), oneShard); outcome(err) != OutcomeNotExecuted {
			t.Errorf("a request before the first membership: %v", err)
		}
		ok(t, "UpdateMembership", s.members(t.Context(), testOrder{4, 6}))
		ok(t, "promotion", <-promoted)
		app.expect(t, "promoted", "Activate@4 as primary", "UpdateMembership@4 as primary, x.kv in sync", "UpdateMembership@4 as primary,",
			"AddShard@4 as primary")
		_, token := begin(t, s.host)
		ok(t, "a request", token.End())
	})
}

// A command that gave up while members were waited for goes on where it was.
func TestFirstMembershipOutlastsItsCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, app := following(t)
		app.update = func(context.Context, Shard, []Member) error {
			time.Sleep(time.Minute)
			return nil
		}
		for tries := 1; ; tries++ {
			ctx, cancel := context.WithTimeout(t.Context(), 13*time.Second)
			err := s.primary(ctx, testOrder{4, 5}, "x.kv")
			cancel()
			if err == nil {
				if tries != 5 {
					t.Errorf("done at try %d, want 5", tries)
				}
				break
			}
			if tries > 5 {
				t.Fatal(err)
			}
			s.host.lend(time.Minute)
		}
		app.expect(t, "promoted", "Activate@4 as primary", "UpdateMembership@4 as primary, x.kv in sync", "AddShard@4 as primary")
	})
}

// The lane of memberships: the newest counts, whatever else goes on; an older one, or one of another term, is refused.
func TestMemberships(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, app := following(t)
		if got := reason(s.members(t.Context(), testOrder{4, 5})); got != "STALE" {
			t.Errorf("a shard that was never here: %s", got)
		}
		ok(t, "grant", s.primary(t.Context(), testOrder{4, 5}))
		app.calls()
		for _, test := range []struct {
			o    testOrder
			want string
		}{{testOrder{4, 7}, "ok"}, {testOrder{4, 7}, "ok"}, {testOrder{4, 6}, "STALE"}, {testOrder{3, 9}, "STALE"}, {testOrder{5, 9}, "STALE"}} {
			if got := reason(s.members(t.Context(), test.o, "c.kv")); got != test.want {
				t.Errorf("UpdateMembership %v: %s, want %s", test.o, got, test.want)
			}
		}
		app.expect(t, "once only", "UpdateMembership@4 as primary, c.kv")

		app.fail("UpdateMembership", errors.New("no"))
		if err := s.members(t.Context(), testOrder{4, 8}); reason(err) != "unknown" {
			t.Errorf("a failing one: %v", err)
		}
		app.fail("", nil)
		ok(t, "the same again", s.members(t.Context(), testOrder{4, 8}))
		app.expect(t, "failed and tried again", "UpdateMembership@4 as primary,", "UpdateMembership@4 as primary,")
		if got := s.phase(); got != "primary at 4, max 4/5, activated true" {
			t.Errorf("%s: a membership raises nothing", got)
		}
	})
}

// A membership that hangs blocks neither a newer one nor anything else, and ends before the shard leaves.
func TestMembershipHangs(t *testing.T) {
	leave := map[string]func(*service, context.Context) error{
		"DropShard": func(s *service, ctx context.Context) error { return s.drop(ctx, testOrder{5, 9}) },
		"demotion":  func(s *service, ctx context.Context) error { return s.secondary(ctx, testOrder{5, 9}) },
		"next term": func(s *service, ctx context.Context) error { return s.primary(ctx, testOrder{5, 9}) },
		"end": func(s *service, ctx context.Context) error {
			_, err := s.EndIncarnation(ctx, &pb.EndIncarnationRequest{Incarnation: 1})
			return err
		},
	}
	for name, leave := range leave {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, app := following(t)
				ok(t, "grant", s.primary(t.Context(), testOrder{4, 5}))
				app.update = func(ctx context.Context, s Shard, _ []Member) error {
					if s.Term != 4 {
						return nil
					}
					<-ctx.Done()
					time.Sleep(time.Millisecond) // to notice takes a moment
					return ctx.Err()
				}
				answers := make(chan error, 2)
				go func() { answers <- s.members(t.Context(), testOrder{4, 7}, "c.kv") }()
				synctest.Wait()
				go func() { answers <- s.members(t.Context(), testOrder{4, 8}, "x.kv") }()
				if got := reason(<-answers); got != "STALE" {
					t.Errorf("the older membership: %s, want stale", got)
				}
				synctest.Wait()
				ok(t, name, leave(s, t.Context()))
				if got := reason(<-answers); got != "STALE" && name != "end" || got == "ok" {
					t.Errorf("the newer membership: %s, want stale", got)
				}
				if app.running != 0 {
					t.Error("UpdateMembership runs still")
				}
				for _, call := range app.calls() {
					if call == "twice at once" || call == "while UpdateMembership runs" {
						t.Error(call)
					}
				}
				if got := reason(s.members(t.Context(), testOrder{4, 9})); got != "STALE" {
					t.Errorf("a membership of the old term: %s, want stale", got)
				}
			})
		})
	}
}

// While a hand-over waits for a write, which waits for a secondary that died, the membership without that secondary gets through.
func TestMembershipDuringHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, app := following(t)
		shrunk := make(chan struct{})
		app.update = func(_ context.Context, _ Shard, list []Member) error {
			if len(list) == 0 {
				close(shrunk)
			}
			return nil
		}
		ok(t, "grant", s.primary(t.Context(), testOrder{4, 5}, "x.kv"))
		_, write := begin(t, s.host)
		go func() {
			<-shrunk
			_ = write.End()
		}()
		dropped := make(chan error, 1)
		go func() {
			answer, err := s.PrepareDropShard(t.Context(), &pb.PrepareDropShardRequest{
				Command: testOrder{5, 6}.command(), To: &pb.Peer{Server: "b.kv", Incarnation: 2, DataAddress: "no port"}, DeadlineMs: 5000,
			})
			if err == nil && answer.GetBusy() {
				err = errors.New("busy")
			}
			dropped <- err
		}()
		time.Sleep(time.Second)
		ok(t, "UpdateMembership", s.members(t.Context(), testOrder{4, 7}))
		err := <-dropped // the target cannot be reached, which is after the write has ended
		if got := s.phase(); err == nil || got != "forwarding at 4, max 5/6, activated true" {
			t.Errorf("PrepareDropShard: %v, phase %s", err, got)
		}
		if got := reason(s.members(t.Context(), testOrder{4, 8})); got != "STALE" {
			t.Errorf("a membership while forwarding: %s, want stale", got)
		}
	})
}

// Whatever a replica was, it ends that before it is a secondary again.
func TestDemotion(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(t *testing.T, s *service, app *replicating)
		want   []string
	}{
		{"primary", func(t *testing.T, s *service, _ *replicating) {
			ok(t, "grant", s.primary(t.Context(), testOrder{4, 5}))
		}, []string{"ChangeRole@6 as secondary, primary to secondary"}},
		{"source of a switch", func(t *testing.T, s *service, _ *replicating) {
			ok(t, "grant", s.primary(t.Context(), testOrder{4, 5}))
			r := s.host.life.Load().find(oneShard)
			r.update(func() {
				r.record.Accept(record.PrepareDrop, shard.Order{Term: 5, Move: 6})
				r.record.Enter(shard.Forwarding, shard.Order{Term: 5, Move: 6})
				r.gate, r.record.Handed = gateForward, true
			})
		}, []string{"ChangeRole@6 as secondary, primary to secondary"}},
		{"target of a switch that came to nothing", func(t *testing.T, s *service, _ *replicating) {
			ok(t, "secondary", s.secondary(t.Context(), testOrder{3, 4}))
			ok(t, "prepared", s.prepare(t.Context(), testOrder{5, 5}))
		}, nil},
		{"target that was activated", func(t *testing.T, s *service, _ *replicating) {
			ok(t, "secondary", s.secondary(t.Context(), testOrder{3, 4}))
			ok(t, "prepared", s.prepare(t.Context(), testOrder{5, 5}))
			_, err := s.Activate(t.Context(), &pb.ActivateRequest{Command: testOrder{5, 5}.command()})
			ok(t, "activated", err)
		}, []string{"ChangeRole@6 as secondary, primary to secondary"}},
		{"promotion that failed in Activate", func(t *testing.T, s *service, app *replicating) {
			ok(t, "secondary", s.secondary(t.Context(), testOrder{3, 4}))
			app.fail("Activate", errors.New("no"))
			if s.primary(t.Context(), testOrder{5, 5}) == nil {
				t.Error("promoted although Activate failed")
			}
		}, []string{"ChangeRole@6 as secondary, primary to secondary"}},
		{"promotion that failed in ChangeRole", func(t *testing.T, s *service, app *replicating) {
			ok(t, "secondary", s.secondary(t.Context(), testOrder{3, 4}))
			app.fail("ChangeRole", errors.New("no"))
			if s.primary(t.Context(), testOrder{5, 5}) == nil {
				t.Error("promoted although ChangeRole failed")
			}
			app.fail("", nil)
		}, []string{"ChangeRole@6 as secondary, primary to secondary"}},
		{"secondary", func(t *testing.T, s *service, _ *replicating) {
			ok(t, "secondary", s.secondary(t.Context(), testOrder{3, 4}))
		}, nil},
		{"nothing", func(t *testing.T, s *service, _ *replicating) {
			ok(t, "grant", s.primary(t.Context(), testOrder{3, 4}))
			ok(t, "dropped", s.drop(t.Context(), testOrder{3, 5}))
		}, []string{"AddShard@6 as secondary"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seen := &events{}
				s, app := following(t, WithObserver(seen))
				test.before(t, s, app)
				app.calls()
				ok(t, "demotion", s.secondary(t.Context(), testOrder{6, 7}))
				app.expect(t, "demoted", test.want...)
				if got := s.phase(); got != "secondary at 6, max 6/7, activated false" {
					t.Error(got)
				}
				activated, released := 0, 0
				for _, event := range seen.list {
					activated, released = activated+map[bool]int{true: 1}[event == "activated"], released+map[bool]int{true: 1}[event == "released"]
				}
				if activated != released {
					t.Errorf("observed %q: a right to execute has not ended", seen.list)
				}
				if _, _, err := s.host.Begin(t.Context(), oneShard); outcome(err) != OutcomeNotExecuted {
					t.Errorf("a write: %v", err)
				}
				_, read, err := s.host.BeginRead(t.Context(), oneShard)
				ok(t, "a read", err)
				ok(t, "a read", read.End())
				app.fail("", nil)
				ok(t, "promotion", s.primary(t.Context(), testOrder{7, 8}))
				app.expect(t, "promoted again", "Activate@7 as primary", "UpdateMembership@7 as primary,", "ChangeRole@7 as primary, secondary to primary")
			})
		})
	}
}

// Operations of a primary end before it steps back; one that does not end keeps it primary.
func TestDemotionWaitsForOperations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, app := following(t)
		ok(t, "grant", s.primary(t.Context(), testOrder{4, 5}))
		ctx, token := begin(t, s.host)
		app.calls()
		if err := s.secondary(t.Context(), testOrder{4, 6}); err == nil || !errors.Is(context.Cause(ctx), errShardLeaving) {
			t.Errorf("demoted (%v) although an operation runs, whose context says %v", err, context.Cause(ctx))
		}
		app.expect(t, "while an operation runs")
		ok(t, "the operation", token.End())
		_, another := begin(t, s.host)
		ok(t, "another operation", another.End())
		ok(t, "demotion", s.secondary(t.Context(), testOrder{4, 6}))
		app.expect(t, "afterwards", "ChangeRole@4 as secondary, primary to secondary")
	})
}

// The target of a switch keeps what it has: it is neither asked to prepare nor dropped, and activated at the new term.
func TestSwitchTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, app := following(t)
		ok(t, "secondary", s.secondary(t.Context(), testOrder{3, 4}))
		app.calls()
		for range 2 {
			ok(t, "prepared", s.prepare(t.Context(), testOrder{4, 5}))
		}
		app.expect(t, "prepared")
		if _, _, err := s.host.BeginRead(t.Context(), oneShard); outcome(err) != OutcomeNotExecuted {
			t.Errorf("a read at a prepared target: %v", err)
		}
		ok(t, "promotion", s.primary(t.Context(), testOrder{4, 5}, "x.kv"))
		app.expect(t, "promoted", "Activate@4 as primary", "UpdateMembership@4 as primary, x.kv in sync",
			"ChangeRole@4 as primary, secondary to primary")
	})
}

// A request whose look began before the right to execute did, and that had to wait for the lock, started with that right.
func TestOperationsStartWithTheRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := leased(t)
		early := h.now()
		time.Sleep(time.Second)
		h.add(t, testOrder{1, 1})
		began := h.now()
		r := h.life.Load().find(oneShard)
		_, token := h.newToken(t.Context(), oneShard)
		r.mu.Lock()
		seen := r.start(request{shard: oneShard}, token, early, true)
		r.mu.Unlock()
		if seen.view != viewRun || token.start != began {
			t.Errorf("view %d, started at %v, want it to run from %v on", seen.view, token.start, began)
		}
		ok(t, "the operation", token.End())
	})
}
