package ownership

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
)

func now() int64 { return time.Now().UnixNano() }

// primary makes a server primary under a lease of 10 s.
func primary(c *Checker, name string, term uint64) *Server {
	s := c.Start(name)
	s.LeaseExtended(now() + int64(10*time.Second))
	s.Activated("07", term, now())
	return s
}

func at(term uint64) sdk.Shard {
	return sdk.Shard{App: "app", ID: "07", Term: term, Role: sdk.RolePrimary}
}

func TestFinds(t *testing.T) {
	for _, test := range []struct {
		name, want string // no want: nothing is wrong
		play       func(c *Checker)
	}{
		{"released, then granted", "", func(c *Checker) {
			primary(c, "a", 1).Released("07", 1, now())
			primary(c, "b", 2)
		}},
		{"lease over, then granted", "", func(c *Checker) {
			primary(c, "a", 1)
			time.Sleep(10 * time.Second)
			primary(c, "b", 2)
		}},
		{"two primaries", "two primaries for 9s: a at term 1 and b at term 2", func(c *Checker) {
			primary(c, "a", 1)
			time.Sleep(time.Second)
			primary(c, "b", 2)
		}},
		{"revoked, then granted", "", func(c *Checker) {
			primary(c, "a", 1).LeaseRevoked(now())
			primary(c, "b", 2)
		}},
		{"killed, then granted", "", func(c *Checker) {
			primary(c, "a", 1).Killed()
			primary(c, "a", 2)
		}},
		{"a lease that comes back late", "two primaries for 1s: b at term 2 and a at term 1", func(c *Checker) {
			a := primary(c, "a", 1)
			time.Sleep(10 * time.Second)
			primary(c, "b", 2)
			time.Sleep(9 * time.Second)
			a.LeaseExtended(now() + int64(10*time.Second))
		}},
		{"terms go back", "terms went back: b was activated at term 1 after a had been at term 2", func(c *Checker) {
			primary(c, "a", 2).Released("07", 2, now())
			primary(c, "b", 1)
		}},
		{"operation outside a lease", "answered outside a lease", func(c *Checker) {
			a := primary(c, "a", 1)
			time.Sleep(10 * time.Second)
			a.Operation("07", 1, now()-5, now())
		}},
		{"operation under a lease", "", func(c *Checker) { primary(c, "a", 1).Operation("07", 1, now(), now()) }},
		{"an old term stored", "storage took a write of a with term 1 after b had been activated at term 2", func(c *Checker) {
			a := primary(c, "a", 1)
			a.Stored(at(1))
			a.LeaseRevoked(now())
			primary(c, "b", 2)
			a.Stored(at(1))
		}},
		{"served after the shard has left", "b answered at term 1, outside its lease or after the shard had left it", func(c *Checker) {
			b := primary(c, "b", 1)
			b.Served(at(1))
			time.Sleep(time.Second)
			b.Released("07", 1, now())
			time.Sleep(time.Second)
			b.Served(at(1))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New()
				test.play(c)
				expect(t, c, test.want)
			})
		})
	}
}

// expect wants one violation that says something; empty: none.
func expect(t *testing.T, c *Checker, want string) {
	t.Helper()
	found := c.Violations()
	switch {
	case want == "" && len(found) > 0:
		t.Errorf("violations %v, want none", found)
	case want != "" && (len(found) != 1 || !strings.Contains(found[0].What, want)):
		t.Errorf("violations %v, want one that says %q", found, want)
	}
}

func TestRegister(t *testing.T) {
	for _, test := range []struct {
		name, want string
		play       func(c *Checker)
	}{
		{"what was acknowledged", "", func(c *Checker) {
			c.Writes("07", "1").Acknowledged("a")
			c.Reads("07").Found("1", "a")
		}},
		{"nothing was written", "", func(c *Checker) { c.Reads("07").Found("", "a") }},
		{"lost", `a read at b returned "", want "1"; a acknowledged "1" at 0s`, func(c *Checker) {
			c.Writes("07", "1").Acknowledged("a")
			c.Reads("07").Found("", "b")
		}},
		{"refused and found", `returned "1"`, func(c *Checker) {
			c.Writes("07", "1").Refused()
			c.Reads("07").Found("1", "a")
		}},
		{"unknown: found", "", func(c *Checker) {
			c.Writes("07", "1").Unknown()
			c.Reads("07").Found("1", "a")
			c.Reads("07").Found("1", "a")
		}},
		{"unknown: found, and then not", `returned "", want "1"`, func(c *Checker) {
			c.Writes("07", "1").Unknown()
			c.Reads("07").Found("1", "a")
			c.Reads("07").Found("", "a")
		}},
		{"unknown: not found, and then found", `returned "1", want ""`, func(c *Checker) {
			c.Writes("07", "1").Unknown()
			c.Reads("07").Found("", "a")
			c.Reads("07").Found("1", "a")
		}},
		{"one under way may come late", "", func(c *Checker) {
			late := c.Writes("07", "1")
			c.Writes("07", "2").Acknowledged("a")
			c.Reads("07").Found("2", "a")
			c.Reads("07").Found("1", "a")
			late.Unknown()
			c.Reads("07").Found("1", "a")
		}},
		{"one that ended cannot", `returned "1", want "3"`, func(c *Checker) {
			late := c.Writes("07", "1")
			c.Writes("07", "2").Acknowledged("a")
			late.Unknown()
			c.Writes("07", "3").Acknowledged("a")
			c.Reads("07").Found("1", "a")
		}},
		{"a read beside writes", "", func(c *Checker) {
			c.Writes("07", "1").Acknowledged("a")
			read := c.Reads("07")
			c.Writes("07", "2").Acknowledged("a")
			c.Writes("07", "3").Acknowledged("a")
			read.Found("2", "a")
			c.Reads("07").Found("3", "a")
		}},
		{"forgotten by the rules", "", func(c *Checker) {
			c.Writes("07", "1").Acknowledged("a")
			c.Forget("07")
			c.Reads("07").Found("", "b")
		}},
		{"forgotten once", `returned "1", want ""`, func(c *Checker) {
			c.Writes("07", "1").Acknowledged("a")
			c.Forget("07")
			c.Reads("07").Found("", "b")
			c.Reads("07").Found("1", "b")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New()
				test.play(c)
				expect(t, c, test.want)
			})
		})
	}
}

// full has the callbacks that have an order.
type full struct{ fail error }

func (f *full) AddShard(context.Context, sdk.Shard) error                       { return f.fail }
func (f *full) DropShard(context.Context, sdk.Shard) error                      { return nil }
func (f *full) Activate(context.Context, sdk.Shard, []byte) error               { return nil }
func (f *full) PrepareAddShard(context.Context, sdk.Shard, sdk.Peer) error      { return nil }
func (f *full) LastState(context.Context, sdk.Shard) ([]byte, error)            { return nil, nil }
func (f *full) ChangeRole(context.Context, sdk.Shard, sdk.Role, sdk.Role) error { return nil }
func (f *full) UpdateMembership(context.Context, sdk.Shard, []sdk.Member) error { return nil }

type callbacks interface {
	sdk.Handler
	sdk.Activator
	sdk.Preparer
	sdk.StateSource
	sdk.RoleChanger
	sdk.MembershipUpdater
}

func TestContract(t *testing.T) {
	ctx := context.Background()
	follower := at(1)
	follower.Role = sdk.RoleSecondary
	for _, test := range []struct {
		name, want string
		play       func(h callbacks)
	}{
		{"a life", "", func(h callbacks) {
			_ = h.PrepareAddShard(ctx, at(1), sdk.Peer{})
			_ = h.Activate(ctx, at(1), nil)
			_ = h.UpdateMembership(ctx, at(1), nil)
			_ = h.AddShard(ctx, at(1))
			_, _ = h.LastState(ctx, at(1))
			_ = h.Activate(ctx, at(2), nil)
			_ = h.AddShard(ctx, at(2))
			_ = h.DropShard(ctx, at(2))
			_ = h.PrepareAddShard(ctx, at(3), sdk.Peer{})
		}},
		{"a secondary's life", "", func(h callbacks) {
			_ = h.AddShard(ctx, follower)
			_ = h.Activate(ctx, at(2), nil)
			_ = h.ChangeRole(ctx, at(2), sdk.RoleSecondary, sdk.RolePrimary)
			back := follower
			back.Term = 3
			_ = h.ChangeRole(ctx, back, sdk.RolePrimary, sdk.RoleSecondary)
			_ = h.DropShard(ctx, back)
		}},
		{"added before it is activated", "AddShard at a, term 1, role primary: Activate has not returned at that term", func(h callbacks) { _ = h.AddShard(ctx, at(1)) }},
		{"prepared while it is here", "PrepareAddShard at a, term 2, role primary: the shard is here", func(h callbacks) {
			_ = h.Activate(ctx, at(1), nil)
			_ = h.PrepareAddShard(ctx, at(2), sdk.Peer{})
		}},
		{"an older term", "an older term than a callback before it carried", func(h callbacks) {
			_ = h.Activate(ctx, at(2), nil)
			_ = h.Activate(ctx, at(1), nil)
		}},
		{"a role of nobody", "the shard was never added", func(h callbacks) { _ = h.ChangeRole(ctx, follower, sdk.RolePrimary, sdk.RoleSecondary) }},
		{"a state of nobody", "it has not been activated", func(h callbacks) { _, _ = h.LastState(ctx, at(1)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := New()
			test.play(c.Start("a").Handler(&full{}, Plain).(callbacks))
			expect(t, c, test.want)
		})
	}
}

func TestOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		slow := func(ctx context.Context, _ Call, next func(context.Context) error) error {
			time.Sleep(time.Second)
			return next(ctx)
		}
		h := c.Start("a").Handler(&full{}, slow).(callbacks)
		go func() { _ = h.Activate(t.Context(), at(1), nil) }()
		synctest.Wait()
		_ = h.DropShard(t.Context(), at(1))
		expect(t, c, "DropShard at a while Activate still runs")
		time.Sleep(2 * time.Second)
	})
}

// plain has only what every application has: the wrapper does what a Host does without the others.
type plain struct{ added int }

func (p *plain) AddShard(context.Context, sdk.Shard) error  { p.added++; return nil }
func (p *plain) DropShard(context.Context, sdk.Shard) error { return nil }

func TestWithoutCallbacks(t *testing.T) {
	c, app := New(), &plain{}
	h := c.Start("a").Handler(app, Plain).(callbacks)
	for _, err := range []error{
		h.PrepareAddShard(t.Context(), at(1), sdk.Peer{}), h.Activate(t.Context(), at(1), nil), h.AddShard(t.Context(), at(1)), h.DropShard(t.Context(), at(1)),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if app.added != 1 {
		t.Errorf("AddShard was called %d times, want once", app.added)
	}
	expect(t, c, "")
}

// Limits: the history forgets what is old, and violations beyond many are counted.
func TestLimits(t *testing.T) {
	c := New()
	for range maxHistory + 1 {
		c.Note("07", "x")
	}
	if n := len(c.History("07")); n != maxHistory {
		t.Errorf("%d lines of history, want %d", n, maxHistory)
	}
	for range maxViolations + 3 {
		c.Violate("07", "y")
	}
	found := c.Violations()
	if len(found) != maxViolations+1 || found[maxViolations].What != "3 more violations" {
		t.Errorf("%d violations, the last %v", len(found), found[len(found)-1])
	}
}

func TestFailuresAreTold(t *testing.T) {
	c := New()
	h := c.Start("a").Handler(&full{fail: errors.New("no disk")}, Plain).(callbacks)
	_ = h.Activate(t.Context(), at(1), nil)
	_ = h.AddShard(t.Context(), at(1))
	if history := strings.Join(c.History("07"), "\n"); !strings.Contains(history, "a: AddShard at term 1 failed after") || !strings.Contains(history, "no disk") {
		t.Errorf("history:\n%s", history)
	}
}
