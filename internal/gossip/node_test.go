package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/coordinate"
	"github.com/hashicorp/serf/serf"
	"github.com/rs/zerolog"
)

func TestMembership(t *testing.T) {
	a := start(t, "a", nil)
	b := start(t, "b", joining(a))
	c := start(t, "c", func(cfg *Config, i *Identity, d *Deps) {
		joining(a)(cfg, i, d)
		i.Role, i.Region, i.Zone = RoleAllocator, "us", ""
	})
	for _, one := range []*subject{a, b, c} {
		for _, other := range []*subject{a, b, c} {
			one.sees(other, Alive)
		}
	}
	got, _ := b.memberOf(c)
	want := Member{Life: c.life(), Identity: Identity{Role: RoleAllocator, Cluster: "test", Name: "c", Region: "us", Version: "1.2.3"}, Address: c.Address(), Status: Alive}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	b.Serve([]string{"kv", "cache"})
	a.await("the apps of b", func() bool { m, _ := a.memberOf(b); return slices.Equal(m.Apps, []string{"cache", "kv"}) })

	if err := b.Leave(); err != nil {
		t.Fatal(err)
	}
	a.sees(b, Left)
	if err := c.Shutdown(); err != nil {
		t.Fatal(err)
	}
	a.sees(c, Failed)
	a.await("the news of b", func() bool { return slices.Equal(a.happened(b), []Kind{Joined, Updated, Departed}) })
	a.await("the news of c", func() bool { return slices.Equal(a.happened(c), []Kind{Joined, Crashed}) })
}

// A member that is started anew under its old name and address is another life, and nobody takes it for the old one.
func TestRestart(t *testing.T) {
	a := start(t, "a", nil)
	file := filepath.Join(t.TempDir(), "peers")
	keeping := func(_ *Config, _ *Identity, d *Deps) { d.Peers = file }
	before := start(t, "b", func(c *Config, i *Identity, d *Deps) { joining(a)(c, i, d); keeping(c, i, d) })
	before.sees(a, Alive)
	before.await("the file of peers", func() bool { return slices.Equal(before.peers.list(), []string{a.Address()}) })
	if err := before.Shutdown(); err != nil {
		t.Fatal(err)
	}
	after := start(t, "b", func(c *Config, i *Identity, d *Deps) { keeping(c, i, d); c.Listen = before.Address() }) // no seed but the file
	a.sees(after, Alive)
	after.sees(a, Alive)
	a.sees(before, Failed)
	if after.life() == before.life() || after.Address() != before.Address() {
		t.Errorf("%s at %s after %s at %s", after.life(), after.Address(), before.life(), before.Address())
	}
}

// Seeds that are named while it runs are joined, as are those that come up late; an unreachable one is named with its setting.
func TestSeedsThatComeLate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	late := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	a := start(t, "a", func(c *Config, _ *Identity, d *Deps) {
		c.Join = []string{late}
		d.Seeds = func(context.Context, string) ([]string, error) { return nil, errors.New("the catalogue is away") }
	})
	a.logs("cannot join", "gossip_join: seed "+late+": cannot be reached", "connection refused", "gossip_advertise")
	a.logs("cannot join", "gossip seeds: the catalogue is away")
	b := start(t, "b", func(c *Config, _ *Identity, _ *Deps) { c.Listen = late })
	a.sees(b, Alive)

	c := start(t, "c", func(_ *Config, _ *Identity, d *Deps) {
		d.Seeds = func(context.Context, string) ([]string, error) { return []string{late, "nonsense"}, nil }
	})
	c.sees(a, Alive)
	c.logs("cannot join", `gossip seeds: \"nonsense\": expected host:port`)
}

// Who is alone asks for seeds again soon, until somebody is named; who is not asks every few minutes, or when a seed could not be joined.
func TestSeedsAreAskedFor(t *testing.T) {
	a := start(t, "a", nil)
	asked := 0
	seeds := func(context.Context, string) ([]string, error) {
		if asked++; asked < 3 {
			return nil, nil
		}
		return []string{a.Address()}, nil
	}
	start(t, "b", func(_ *Config, _ *Identity, d *Deps) { d.Seeds = seeds }).sees(a, Alive)

	c, err := Open(Config{Listen: "127.0.0.1:0"}, a.identity, Deps{Log: zerolog.Nop(), Seeds: seeds, tune: quick})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Shutdown(); err != nil {
			t.Error(err)
		}
	}()
	asked = 0
	for round, want := range []int{1, 2, 3, 3, 3} {
		if err := c.round(t.Context()); err != nil || asked != want {
			t.Errorf("round %d: asked %d times, %v, want %d", round, asked, err, want)
		}
	}
	// Ever less often.
	for pause := askSoon; pause < 2*askAgain; pause *= 2 {
		want := min(pause, askAgain)
		if due := time.Until(c.askDue); due < want*3/4 || due > want*5/4 {
			t.Errorf("asks again after %v, expected %v", due, want)
		}
		c.askDue = time.Now()
		if err := c.round(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestOtherClusters(t *testing.T) {
	a := start(t, "a", nil)
	b := start(t, "b", func(c *Config, i *Identity, d *Deps) { joining(a)(c, i, d); i.Cluster = "other" })
	b.logs("cannot join", "gossip_join: seed "+a.Address()+": another cluster", `\"other\" met a member of \"test\"`)
	a.logs(`"setting":"gossip_join"`, "gossip of cluster")
	if m := a.Members(); len(m) != 1 {
		t.Errorf("a took in %+v", m)
	}
}

// With the times that everybody has, too, a member that leaves waits no longer than others need to hear of it.
func TestLeaveIsHeard(t *testing.T) {
	usual := func(_ *Config, _ *Identity, d *Deps) { d.tune = nil }
	a := start(t, "a", usual)
	list := []*subject{a}
	for i := range 5 {
		list = append(list, start(t, fmt.Sprint(i), func(c *Config, i *Identity, d *Deps) { joining(a)(c, i, d); usual(c, i, d) }))
	}
	leaver, others := list[5], list[:5]
	for _, o := range others {
		o.sees(leaver, Alive)
		leaver.sees(o, Alive)
	}
	if err := leaver.Leave(); err != nil {
		t.Fatal(err)
	}
	for _, o := range others {
		o.sees(leaver, Left)
		if happened := o.happened(leaver); slices.Contains(happened, Crashed) {
			t.Errorf("%s saw it fail: %v", o.identity.Name, happened)
		}
	}
}

func TestCoordinate(t *testing.T) {
	a := start(t, "a", nil)
	if c, ok := a.Coordinate(); ok {
		t.Errorf("alone, it is at %+v", c)
	}
	b := start(t, "b", joining(a))
	for _, s := range []*subject{a, b} {
		s.await("a coordinate", func() bool { _, ok := s.Coordinate(); return ok })
		if c, _ := s.Coordinate(); c.Check() != nil {
			t.Errorf("%+v", c)
		}
	}
}

func TestCoordinateOf(t *testing.T) {
	nan := func(change func(*coordinate.Coordinate)) *coordinate.Coordinate {
		c := coordinate.NewCoordinate(coordinate.DefaultConfig())
		c.Error, c.Vec[1] = 0.25, 0.001
		change(c)
		return c
	}
	zero := 0.0
	for name, c := range map[string]struct {
		from *coordinate.Coordinate
		want bool
	}{
		"good":          {nan(func(*coordinate.Coordinate) {}), true},
		"NaN":           {nan(func(c *coordinate.Coordinate) { c.Vec[3] = zero / zero }), false},
		"infinite":      {nan(func(c *coordinate.Coordinate) { c.Height = 1 / zero }), false},
		"never updated": {coordinate.NewCoordinate(coordinate.DefaultConfig()), false},
		"far out":       {nan(func(c *coordinate.Coordinate) { c.Vec[0], c.Adjustment, c.Height = 1e30, -1e30, -5 }), true},
	} {
		got, ok := coordinateOf(c.from)
		if ok != c.want || (ok && got.Check() != nil) {
			t.Errorf("%s: %+v, %t", name, got, ok)
		}
		if name == "good" && (got.Error != 250 || got.Height != 10*time.Microsecond) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A reader that never returns holds nobody up, loses the oldest events and is told so.
func TestSlowReader(t *testing.T) {
	release, last := make(chan struct{}), make(chan struct{})
	var got []Event
	f := newFeed(func(e Event) {
		<-release
		if got = append(got, e); e.Member.Life == fmt.Sprint(3*maxEvents-1) {
			close(last)
		}
	})
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		f.run(ended)
	}()
	for i := range 3 * maxEvents {
		f.put([]Event{{Kind: Joined, Member: Member{Life: fmt.Sprint(i)}}})
	}
	close(release)
	<-last
	close(ended)
	<-done
	missed := -1 // the last time
	for i, e := range got {
		if e.Kind == Missed {
			missed = i
		}
	}
	if missed < 0 || missed+1+maxEvents != len(got) || got[missed+1].Member.Life != fmt.Sprint(2*maxEvents) {
		t.Errorf("%d events, missed at %d", len(got), missed)
	}
}

// Serf's channel is emptied whatever the reader does: serf itself would stand still when it is full.
func TestEventsAreDrained(t *testing.T) {
	release := make(chan struct{})
	var once sync.Once
	let := func() { once.Do(func() { close(release) }) }
	t.Cleanup(let)
	a := start(t, "a", func(_ *Config, _ *Identity, d *Deps) { d.Deliver = func(Event) { <-release } })
	t.Cleanup(let) // before the node is shut down, which waits for its reader
	b := start(t, "b", joining(a))
	a.sees(b, Alive)
	events := make(chan serf.Event) // without room
	go a.drain(events)
	limit := time.After(patience)
	for i := range 3 * maxEvents {
		select {
		case events <- serf.MemberEvent{Type: serf.EventMemberUpdate, Members: []serf.Member{{Name: fmt.Sprint(i)}}}:
		case <-limit:
			t.Fatalf("event %d waits for the reader", i)
		}
	}
	c := start(t, "c", joining(a)) // members come and go as ever
	a.sees(c, Alive)
	if err := b.Leave(); err != nil {
		t.Fatal(err)
	}
	a.sees(b, Left)
	a.feed.mu.Lock()
	kept, missed := len(a.feed.queue), a.feed.missed
	a.feed.mu.Unlock()
	if kept > maxEvents || !missed {
		t.Errorf("%d events wait, missed %t", kept, missed)
	}
}

// Serf and the size that we reckon with agree on what fits.
func TestTagsSize(t *testing.T) {
	s := start(t, "a", nil)
	for _, n := range []int{31, 32, 100, 300} {
		tags := map[string]string{"role": "agent", "id": strings.Repeat("x", n)}
		fill := memberlist.MetaMaxSize - encodedTags(tags) - len("fill") - 1 - 3
		tags["fill"] = strings.Repeat("y", fill)
		if got := encodedTags(tags); got != memberlist.MetaMaxSize {
			t.Fatalf("%d bytes reckoned", got)
		}
		if err := s.serf.SetTags(tags); err != nil {
			t.Errorf("%d: serf has no room for what fits: %v", n, err)
		}
		tags["fill"] += "y"
		if err := s.serf.SetTags(tags); err == nil {
			t.Errorf("%d: serf has room for one byte more", n)
		}
	}
}

func TestTags(t *testing.T) {
	identity := Identity{Role: RoleAgent, Cluster: "prod", Name: "node-1", Region: "eu", Zone: "eu-1", Version: "1"}
	var apps []string
	for i := range 100 {
		apps = append(apps, fmt.Sprintf("application-%03d", i))
	}
	tags, err := identity.tags(apps)
	if err != nil {
		t.Fatal(err)
	}
	back, some, more := identityOf(tags)
	if back != identity || len(some) < 20 || len(some)+more != len(apps) || !slices.Equal(some, apps[:len(some)]) || encodedTags(tags) > memberlist.MetaMaxSize {
		t.Errorf("%+v, %d apps and %d more in %d bytes", back, len(some), more, encodedTags(tags))
	}
	identity.Region = strings.Repeat("r", memberlist.MetaMaxSize)
	if _, err := identity.tags(nil); err == nil || !strings.Contains(err.Error(), "region: gossip has room for 512 bytes of tags") {
		t.Errorf("a long region: %v", err)
	}
	if _, err := Open(Config{Listen: "127.0.0.1:0"}, identity, Deps{Log: zerolog.Nop()}); err == nil || !strings.Contains(err.Error(), "gossip: region:") {
		t.Errorf("a long region: %v", err)
	}
}

func TestPortInUse(t *testing.T) {
	a := start(t, "a", nil)
	if _, err := Open(Config{Listen: a.Address()}, a.identity, Deps{Log: zerolog.Nop()}); err == nil || !strings.Contains(err.Error(), "gossip: gossip_listen: ") || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%v", err)
	}
}

func TestValidate(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	if err := os.WriteFile(open, []byte(key(1)), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg  Config
		want string // empty: good
	}{
		"off":                  {Config{}, ""},
		"off, yet set":         {Config{Join: []string{"a:1"}}, "gossip_listen: expected host:port"},
		"good":                 {Config{Listen: "127.0.0.1:0", Join: []string{"a:7430"}, Profile: "wan", KeyFile: keyFile(t, key(1))}, ""},
		"no port":              {Config{Listen: "127.0.0.1"}, "gossip_listen: expected host:port"},
		"anywhere":             {Config{Listen: ":7430"}, "gossip_advertise: expected host:port that other machines reach"},
		"anywhere, advertised": {Config{Listen: "0.0.0.0:7430", Advertise: "10.0.0.1:7430"}, ""},
		"advertised nowhere":   {Config{Listen: "127.0.0.1:0", Advertise: "0.0.0.0:1"}, "gossip_advertise:"},
		"seed without port":    {Config{Listen: "127.0.0.1:0", Join: []string{"a:1", "b"}}, `gossip_join[1]: expected host:port, not "b"`},
		"too many seeds":       {Config{Listen: "127.0.0.1:0", Join: slices.Repeat([]string{"a:1"}, maxSeeds+1)}, "gossip_join: expected at most 16"},
		"profile":              {Config{Listen: "127.0.0.1:0", Profile: "man"}, `gossip_profile: expected lan or wan, not "man"`},
		"no key file":          {Config{Listen: "127.0.0.1:0", KeyFile: "/nowhere/keys"}, "gossip_key_file: "},
		"no key":               {Config{Listen: "127.0.0.1:0", KeyFile: keyFile(t)}, "0 keys: expected keys of 16, 24 or 32 bytes"},
		"short key":            {Config{Listen: "127.0.0.1:0", KeyFile: keyFile(t, key(1), "c2hvcnQ=")}, "key 2: expected keys"},
		"readable key":         {Config{Listen: "127.0.0.1:0", KeyFile: open}, "anybody may read it: chmod 600"},
		"broken list":          {Config{Listen: "127.0.0.1:0", KeyFile: keyFile(t, `["`+key(1))}, "gossip_key_file: "},
		"list":                 {Config{Listen: "127.0.0.1:0", KeyFile: keyFile(t, `["`+key(1)+`","`+key(2)+`"]`)}, ""},
	} {
		err := c.cfg.Validate()
		if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), key(1)) {
			t.Errorf("%s: the error shows a key", name)
		}
	}
}

func TestProfiles(t *testing.T) {
	lan, wan := Config{}.times(), Config{Profile: ProfileWAN}.times()
	if lan.ProbeInterval != time.Second || wan.ProbeInterval != 5*time.Second {
		t.Errorf("lan probes every %s, wan every %s", lan.ProbeInterval, wan.ProbeInterval)
	}
	var seen time.Duration
	start(t, "a", func(c *Config, _ *Identity, d *Deps) {
		c.Profile = ProfileWAN
		d.tune = func(s *serf.Config) { seen = s.MemberlistConfig.ProbeInterval }
	})
	if seen != 5*time.Second {
		t.Errorf("a node of profile wan probes every %s", seen)
	}
}

// A damaged file of peers is moved aside; one of another cluster is left alone and not used.
func TestPeersFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers")
	p, err := openPeers(path, "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.save([]Member{{Address: "a:1", Status: Alive}, {Address: "b:1", Status: Failed}, {Address: "me:1", Status: Alive}}, "me:1"); err != nil {
		t.Fatal(err)
	}
	if err := p.save([]Member{{Address: "me:1", Status: Alive}}, "me:1"); err != nil {
		t.Fatal(err)
	}
	for cluster, want := range map[string][]string{"test": {"a:1"}, "other": nil} {
		again, err := openPeers(path, cluster)
		if diff := cmp.Diff(want, again.list()); diff != "" || err != nil {
			t.Errorf("%s: %v %s", cluster, err, diff)
		}
	}
	if err := os.WriteFile(path, []byte("no such thing"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, "a", func(_ *Config, _ *Identity, d *Deps) { d.Peers = path })
	s.logs("gossip starts without the peers that it knew", ".corrupt-")
	if got := spread([]string{"a", "b", "c", "d", "e"}, 2); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("spread: %q", got)
	}
}
