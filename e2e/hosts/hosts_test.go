package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/layout"
)

// fault is something that happens to hosts, processes or what lies between them. play returns when it has shown and is over.
type fault struct {
	name  string
	short bool // it is played under `make test`, too
	// play tells whom it hit. All others must go on under their incarnations: nobody else may be fenced.
	play func(ctx context.Context, f *fleet) (hit []*server, err error)
}

// faults, in the order in which they are played.
var faults = []fault{
	{name: "a region is cut off", short: true, play: regionCut(false)},
	{name: "a host hears and is not heard", short: true, play: unheard},
	{name: "the leader is cut off from Consul", short: true, play: leaderCut},
	{name: "a region is cut off, with Consul's leader", play: regionCut(true)},
	{name: "a region is cut off, and clients reach both sides", play: regionsCut},
	{name: "a host is cut off", play: hostCut(steady)},
	{name: "a host whose clock runs fast is cut off", play: hostCut(func(i int, _ *server) bool { return i == fastest })},
	{name: "a host whose clock runs slow is cut off", play: hostCut(func(i int, _ *server) bool { return i == slowest })},
	{name: "an agent and the allocators are cut off from each other", play: agentCut},
	{name: "an agent does not hear the leader", play: agentDeaf},
	{name: "most hosts are cut off at once", play: mostCut},
	{name: "kill -9 an agent", play: killAgent},
	{name: "kill -9 an application", play: killApp},
	{name: "kill -9 a host", play: killHost},
	{name: "kill -9 a region, of the leader", play: killRegion},
	{name: "SIGSTOP an application", play: stopApp},
	{name: "SIGSTOP an agent", play: stopAgent},
	{name: "SIGSTOP the leader", play: stopLeader},
}

// rate is enough for every shard to be asked for within seconds, and leaves the machine to the fleet.
const rate = 200

// The default profile: its lease outlasts both the discovery of a loss, so that a fence that does not wait overlaps, and an election of Consul's
// leader. The fast profile does neither.
func TestFaults(t *testing.T) {
	need(t)
	f := start(t, hosts, layout.PrimarySecondary, "default", rate)
	f.playAll(func(x fault) bool { return x.short || os.Getenv(everything) != "" })
}

// long skips a test that takes long.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv(everything) == "" {
		t.Skipf("it takes long: set %s=1, or run make e2e", everything)
	}
}

// need skips a test where there are no hosts.
func need(t *testing.T) {
	t.Helper()
	if missing != "" {
		t.Skip(missing)
	}
}

// playAll plays faults one after the other and checks the promises after each. The first that breaks one ends it: what follows would say
// little.
func (f *fleet) playAll(wanted func(fault) bool) {
	for _, x := range faults {
		if !wanted(x) {
			continue
		}
		ok := f.t.Run(x.name, func(t *testing.T) {
			if err := f.played(t.Context(), x); err != nil {
				t.Fatalf("%v\n%s", err, f.tails())
			}
		})
		if !ok {
			return
		}
	}
	if err := f.finish(); err != nil {
		f.t.Error(err)
	}
}

// played plays one fault and says what it broke.
func (f *fleet) played(ctx context.Context, x fault) error {
	before, err := f.lives(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	hit, err := x.play(ctx, f)
	if err := errors.Join(err, f.net.heal()); err != nil {
		return err
	}
	over := time.Now()
	if err := f.promises(ctx); err != nil {
		return err
	}
	f.t.Logf("%s: %v, well again after %v", x.name, over.Sub(began).Round(100*time.Millisecond), elapsed(over))
	after, err := f.lives(ctx)
	if err != nil {
		return err
	}
	for _, v := range f.servers {
		if was, is := before[v.ID()], after[v.ID()]; was != is && !slices.Contains(hit, v) {
			err = errors.Join(err, fmt.Errorf("%s lost incarnation %x and is %x, although nobody had to fence it", v.ID(), was, is))
		}
	}
	return err
}

// regionCut cuts off a region: that of Consul's leader, or of those where no leader is the one with most shards.
func regionCut(elects bool) func(context.Context, *fleet) ([]*server, error) {
	return func(ctx context.Context, f *fleet) ([]*server, error) {
		leader, err := f.leader(ctx)
		if err != nil {
			return nil, err
		}
		elected, err := f.consul.Leader(ctx)
		if err != nil {
			return nil, err
		}
		fullest := f.fullest(func(_ int, s *server) bool {
			_, list := f.region(s.Region)
			return slices.Contains(list, elected.Name) == elects && (elects || s.Region != f.places.Allocators[leader].Region)
		})
		victims, list := f.region(fullest.Region)
		if err := f.net.isolate(list...); err != nil {
			return nil, err
		}
		return victims, f.taken(ctx, victims...)
	}
}

// regionsCut cuts off each region in turn from all but the clients. They follow the map of the allocator in one of them, which is not told of
// changes any more: they must look elsewhere, or they would go on asking servers that are fenced.
func regionsCut(ctx context.Context, f *fleet) ([]*server, error) {
	for _, region := range layout.Regions {
		victims, list := f.region(region)
		if err := f.net.part(list, f.net.others(append(list, client)...)); err != nil {
			return nil, err
		}
		if err := errors.Join(f.taken(ctx, victims...), f.served(ctx), f.net.heal()); err != nil {
			return nil, fmt.Errorf("region %s: %w", region, err)
		}
		if err := await(ctx, "the fleet to be well again", f.settled); err != nil {
			return nil, fmt.Errorf("region %s: %w", region, err)
		}
	}
	return f.servers, nil
}

// hostCut cuts off one host.
func hostCut(wanted func(int, *server) bool) func(context.Context, *fleet) ([]*server, error) {
	return func(ctx context.Context, f *fleet) ([]*server, error) {
		v := f.fullest(wanted)
		if err := f.net.isolate(v.Node); err != nil {
			return nil, err
		}
		return []*server{v}, f.taken(ctx, v)
	}
}

// unheard loses all that a host sends to others; what they send arrives.
func unheard(ctx context.Context, f *fleet) ([]*server, error) {
	v := f.fullest(steady)
	if err := f.net.lose([]string{v.Node}, f.net.others(v.Node)); err != nil {
		return nil, err
	}
	return []*server{v}, f.taken(ctx, v)
}

// leaderCut parts the leading allocator from Consul: it must stop leading, another one takes over, and no server notices.
func leaderCut(ctx context.Context, f *fleet) ([]*server, error) {
	leader, err := f.leader(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.net.part([]string{f.allocators[leader].Name}, f.kind("consul-")); err != nil {
		return nil, err
	}
	return nil, f.led(ctx, leader)
}

// agentCut parts an agent from the allocators: it renews through Consul, and keeps what it has.
func agentCut(ctx context.Context, f *fleet) ([]*server, error) {
	v := f.fullest(steady)
	return nil, f.apart(ctx, v, func() error { return f.net.part([]string{v.Node}, f.kind("allocator-")) })
}

// agentDeaf loses what the leader sends to an agent.
func agentDeaf(ctx context.Context, f *fleet) ([]*server, error) {
	leader, err := f.leader(ctx)
	if err != nil {
		return nil, err
	}
	v := f.fullest(steady)
	return nil, f.apart(ctx, v, func() error { return f.net.lose([]string{f.allocators[leader].Name}, []string{v.Node}) })
}

// apart watches that the leader misses a server that is cut off, and that it keeps its shards for longer than a lease.
func (f *fleet) apart(ctx context.Context, v *server, cut func() error) error {
	if err := cut(); err != nil {
		return err
	}
	if err := await(ctx, "the leader to miss "+v.ID(), f.attached(v.ID(), false)); err != nil {
		return err
	}
	if !clock.Pause(ctx, outlast) {
		return ctx.Err()
	}
	if of, _ := f.watch.ShardsOf(); of[v.ID()] == 0 {
		return fmt.Errorf("%s lost its shards although it renews through Consul", v.ID())
	}
	return nil
}

// outlast is longer than a lease.
const outlast = 8 * time.Second

// mostCut cuts off two hosts of three in every region: that is no failure of a zone or a region, and the leader must doubt itself.
func mostCut(ctx context.Context, f *fleet) ([]*server, error) {
	var victims []string
	for i, s := range f.servers {
		if i%perKind != 0 {
			victims = append(victims, s.Node)
		}
	}
	if err := f.net.isolate(victims...); err != nil {
		return nil, err
	}
	held := func(ctx context.Context) error {
		hold, err := f.admins.Hold(ctx)
		if err == nil && hold == "" {
			err = errors.New("nothing is held")
		}
		return err
	}
	if err := await(ctx, "the leader to hold", held); err != nil {
		return nil, err
	}
	if !clock.Pause(ctx, outlast) {
		return nil, ctx.Err()
	}
	return nil, held(ctx)
}

func killAgent(ctx context.Context, f *fleet) ([]*server, error) {
	v := f.fullest(steady)
	if err := f.kill(ctx, v, v.agent); err != nil {
		return nil, err
	}
	return []*server{v}, v.agent.Start()
}

func killApp(ctx context.Context, f *fleet) ([]*server, error) {
	v := f.fullest(steady)
	if err := f.kill(ctx, v, v.app); err != nil {
		return nil, err
	}
	if err := f.taken(ctx, v); err != nil {
		return nil, err
	}
	return []*server{v}, v.app.Start()
}

func killHost(ctx context.Context, f *fleet) ([]*server, error) {
	v := f.fullest(steady)
	if err := f.kill(ctx, v, v.agent, v.app); err != nil {
		return nil, err
	}
	if err := f.taken(ctx, v); err != nil {
		return nil, err
	}
	return []*server{v}, errors.Join(v.agent.Start(), v.app.Start())
}

// killRegion kills the region of the leading allocator, but for its Consul server.
func killRegion(ctx context.Context, f *fleet) ([]*server, error) {
	leader, err := f.leader(ctx)
	if err != nil {
		return nil, err
	}
	victims, _ := f.region(f.places.Allocators[leader].Region)
	if _, err := f.allocators[leader].Kill(ctx); err != nil {
		return nil, err
	}
	for _, v := range victims {
		if err := f.kill(ctx, v, v.agent, v.app); err != nil {
			return nil, err
		}
	}
	if err := f.taken(ctx, victims...); err != nil {
		return nil, err
	}
	err = f.allocators[leader].Start()
	for _, v := range victims {
		err = errors.Join(err, v.agent.Start(), v.app.Start())
	}
	return victims, err
}

func stopApp(ctx context.Context, f *fleet) ([]*server, error) {
	v := f.fullest(steady)
	return []*server{v}, paused(v.app, func() error { return f.taken(ctx, v) })
}

func stopAgent(ctx context.Context, f *fleet) ([]*server, error) {
	v := f.fullest(steady)
	return []*server{v}, paused(v.agent, func() error { return f.taken(ctx, v) })
}

// stopLeader stops the leader until another one leads; when it goes on it must not believe that it leads.
func stopLeader(ctx context.Context, f *fleet) ([]*server, error) {
	leader, err := f.leader(ctx)
	if err != nil {
		return nil, err
	}
	if err := paused(f.allocators[leader], func() error { return f.led(ctx, leader) }); err != nil {
		return nil, err
	}
	return nil, await(ctx, "the former leader to follow", func(ctx context.Context) error {
		leads, err := f.admins.Leads(ctx, leader)
		if err == nil && leads {
			err = errors.New("it says that it leads")
		}
		return err
	})
}
