package dev

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/shardmanager/shardmanager/internal/dev/page"
)

// outcome is what the player says of a scenario.
func outcome(p *player, name string) page.Scenario {
	for _, s := range p.Now().List {
		if s.Name == name {
			return s
		}
	}
	return page.Scenario{}
}

func TestEveryScenarioHasAButton(t *testing.T) {
	t.Parallel()
	p := newPlayer(func() int64 { return 0 })
	var names []string
	for _, s := range p.Now().List {
		names = append(names, s.Name)
	}
	if got, want := strings.Join(names, " "), strings.Join(Scenarios(), " "); got != want {
		t.Errorf("buttons %q, scenarios %q", got, want)
	}
}

// One scenario is played at a time; what failed meanwhile is its own, and one that cannot be played to its end does not end the demo.
func TestPlayerPlaysOneAtATime(t *testing.T) {
	t.Parallel()
	var failed atomic.Int64
	failed.Store(5)
	p := newPlayer(failed.Load)
	if err := p.Play("drain"); !errors.Is(err, page.ErrBusy) {
		t.Errorf("before the cluster runs: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s := &stage{cluster: &cluster{}}
	during := func(context.Context, *stage) error {
		p.said("in the middle of it")
		failed.Add(2)
		if now := p.Now(); now.Running != "crash" || now.Failed != 2 || now.Said != "in the middle of it" {
			t.Errorf("while it is played: %+v", now)
		}
		if err := p.Play("drain"); !errors.Is(err, page.ErrBusy) {
			t.Errorf("another meanwhile: %v", err)
		}
		return nil
	}
	if err := p.perform(ctx, s, "crash", during); err != nil {
		t.Fatal(err)
	}
	if o := outcome(p, "crash"); !o.Played || o.Failed != 2 || o.Err != "" || p.Now().Running != "" {
		t.Errorf("after it: %+v", o)
	}
	broken := errors.New("no luck")
	if err := p.perform(ctx, s, "crash", func(context.Context, *stage) error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	if o := outcome(p, "crash"); o.Failed != 0 || o.Err != "no luck" {
		t.Errorf("after one that broke: %+v", o)
	}
	p.close("")
	for _, name := range []string{"nothing", "", All} {
		if err := p.Play(name); !errors.Is(err, page.ErrUnknown) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := p.Play("drain"); err != nil || p.Now().Running != "drain" {
		t.Errorf("asked for: %v, %+v", err, p.Now())
	}
	if err := p.Play("crash"); !errors.Is(err, page.ErrBusy) {
		t.Errorf("asked for before that began: %v", err)
	}
	if sc := <-p.wanted; sc.name != "drain" {
		t.Errorf("wanted %q", sc.name)
	}
}

// A port that is taken is told, and the demo goes on without the page.
func TestPageThatCannotBe(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, test := range []struct{ address, says string }{
		{taken.Addr().String(), "choose another address by --page"}, {"", ""}, {"127.0.0.1:0", "watch it in a browser: http://127.0.0.1:"},
	} {
		cfg := valid()
		cfg.Page = test.address
		c, err := newCluster(cfg, t.TempDir(), func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		c.openPage(newPlayer(c.failed), newConsole(&out, false))()
		if got := out.String(); !strings.Contains(got, test.says) || test.says == "" && got != "" {
			t.Errorf("page %q: said %q, want %q", test.address, got, test.says)
		}
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	}
}
