package page

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

const (
	// callTimeout bounds one call to an allocator that may be dead or paused.
	callTimeout = 600 * time.Millisecond
	// freshFor is how long a view is good for: however many look, the cluster is asked so often.
	freshFor = 400 * time.Millisecond
	// forgetAfter is how long a server is shown as gone.
	forgetAfter = time.Minute
	// chartSeconds are shown of the load.
	chartSeconds = 60
)

// Source is where the page learns what it shows.
type Source struct {
	App    string
	Admins []string // host:port of the allocators' admin listeners, by name in Names
	Names  []string
	Map    func() *shard.Map // nil: none yet
	Load   func() Sample
	Player Player
	Links  []Link // to pages of others
}

// Link leads to another page.
type Link struct{ Name, URL string }

// Sample is what the load generator said last.
type Sample struct {
	Line                                   int // number of it
	Requests, Failed, Second, SecondFailed int64
	P50MS, P99MS                           float64
	LostWrites, RepeatedWrites, StaleReads int64
}

// collector asks the cluster when somebody looks, and remembers what cannot be asked for again. It asks nobody while nobody looks.
type collector struct {
	source    Source
	clients   []shardmanagerv1connect.AdminServiceClient
	endpoints []transport.Endpoint

	mu      sync.Mutex
	view    view
	servers map[string]sighting
	listed  []*pb.ServerStatus
	open    []*pb.MoveStatus
	at      *pb.EventPosition
	events  []eventView // newest first
	samples []Sample
}

func newCollector(source Source) (*collector, error) {
	c := &collector{source: source, servers: map[string]sighting{}}
	for _, address := range source.Admins {
		endpoint, err := transport.Dial(address)
		if err != nil {
			return nil, err
		}
		c.endpoints = append(c.endpoints, endpoint)
		c.clients = append(c.clients, shardmanagerv1connect.NewAdminServiceClient(endpoint.Client, endpoint.URL))
	}
	return c, nil
}

func (c *collector) close() {
	for _, e := range c.endpoints {
		e.Close()
	}
}

// now is a view that is at most freshFor old.
func (c *collector) now(ctx context.Context) view {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.view.At) >= freshFor {
		c.refresh(ctx)
	}
	c.view.Play = c.source.Player.Now() // never old: buttons go by it
	return c.view
}

func (c *collector) refresh(ctx context.Context) {
	statuses := c.statuses(ctx)
	v := view{At: time.Now(), Links: c.source.Links}
	leader := slices.IndexFunc(statuses, func(s *pb.GetStatusResponse) bool { return s.GetLeading() })
	if leader < 0 {
		v.Trouble = "nobody leads at present"
	} else if err := c.ask(ctx, leader); err != nil {
		v.Trouble = "the leader does not answer: " + err.Error()
	}
	m := c.source.Map()
	sample := c.sample()
	v.Health, v.Promises = c.health(statuses, leader, m), promises(sample)
	v.Regions = regionsOf(serversOf(c.listed, c.servers, v.At), cellsOf(m, c.open))
	v.Moves, v.OpenMoves, v.MoreMoves = movesOf(c.open), len(c.open), max(0, len(c.open)-moveRows)
	v.Load = chart(c.samples, sample)
	v.Events = c.events
	c.view = v
}

// statuses asks all allocators at once; nil for one that does not answer.
func (c *collector) statuses(ctx context.Context) []*pb.GetStatusResponse {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list := make([]*pb.GetStatusResponse, len(c.clients))
	var asking sync.WaitGroup
	for i, client := range c.clients {
		asking.Go(func() {
			if status, err := client.GetStatus(ctx, new(pb.GetStatusRequest)); err == nil {
				list[i] = status
			}
		})
	}
	asking.Wait()
	return list
}

// ask learns from the leader what only it knows.
func (c *collector) ask(ctx context.Context, leader int) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	client := c.clients[leader]
	servers, err := client.ListServers(ctx, &pb.ListServersRequest{App: c.source.App})
	if err != nil {
		return err
	}
	moves, err := client.ListMoves(ctx, &pb.ListMovesRequest{App: c.source.App})
	if err != nil {
		return err
	}
	c.listed, c.open = servers.GetServers(), moves.GetOpen()
	stream, err := client.WatchEvents(ctx, &pb.WatchEventsRequest{After: c.at, App: c.source.App})
	if err != nil {
		return err
	}
	for stream.Receive() {
		for _, e := range stream.Msg().GetEvents() {
			c.events = slices.Insert(c.events[:min(len(c.events), eventRows-1)], 0, lineOf(e))
		}
		c.at = stream.Msg().GetPosition()
	}
	c.events = slices.Clone(c.events) // the last view keeps its own
	return errors.Join(stream.Err(), stream.Close())
}

// sample notes what the load generator said since the last time.
func (c *collector) sample() Sample {
	s := c.source.Load()
	if n := len(c.samples); n == 0 || c.samples[n-1].Line != s.Line {
		c.samples = append(c.samples[max(0, n-chartSeconds+1):n:n], s)
	}
	return s
}

func (c *collector) health(statuses []*pb.GetStatusResponse, leader int, m *shard.Map) []fact {
	var roles []string
	silent := 0
	for i, s := range statuses {
		role := "follows"
		switch {
		case s == nil:
			role = "silent"
			silent++
		case i == leader:
			role = "leads"
		}
		roles = append(roles, c.source.Names[i]+" "+role)
	}
	version := "none yet"
	if m != nil {
		version = m.Version.String()
	}
	facts := []fact{{"allocators", strings.Join(roles, ", "), silent > 0 || leader < 0}}
	if leader < 0 {
		return append(facts, fact{"map version", version, m == nil})
	}
	s := statuses[leader]
	facts = append(facts,
		fact{"epoch", wire.EpochFromProto(s.GetEpoch()).String(), false}, fact{"map version", version, m == nil},
		fact{"servers", fmt.Sprintf("%d of %d attached", s.GetAttached(), s.GetServers()), s.GetSuspected() > 0 || s.GetAttached() < s.GetServers()},
		fact{"shards without a primary", fmt.Sprint(s.GetUnplaced()), s.GetUnplaced() > 0},
		fact{"lock proven", span(s.GetLockAgeMs()) + " ago", s.GetLockAgeMs() > 3000},
		fact{"loop late by", span(s.GetLoopLateMs()), s.GetLoopLateMs() > 1000},
	)
	if e := s.GetStoreError(); e != "" {
		facts = append(facts, fact{"store", e, true})
	}
	if h := s.GetHold(); h != "" {
		facts = append(facts, fact{"hold", h, true})
	}
	return facts
}

// promises are those that the load generator checks with every answer. Overlaps are found in the records of all processes at the end.
func promises(s Sample) []fact {
	return []fact{
		{"acknowledged writes lost", fmt.Sprint(s.LostWrites), s.LostWrites > 0},
		{"writes applied twice", fmt.Sprint(s.RepeatedWrites), s.RepeatedWrites > 0},
		{"stale reads", fmt.Sprint(s.StaleReads), s.StaleReads > 0},
		{"two owners at once", "judged at the end", false},
	}
}

// chart draws the last seconds, each as high as its share of the busiest.
func chart(samples []Sample, s Sample) loadView {
	const height = 40
	l := loadView{Requests: s.Requests, Failed: s.Failed, PerSecond: s.Second, P50MS: s.P50MS, P99MS: s.P99MS}
	most := int64(1)
	for _, v := range samples {
		most = max(most, v.Second)
	}
	for i, v := range samples {
		x := chartSeconds - len(samples) + i
		tall := int(v.Second * height / most)
		l.Rate = append(l.Rate, bar{x, height - tall, tall})
		if v.SecondFailed > 0 {
			failed := max(3, min(height, int(v.SecondFailed*height/most)))
			l.Failures = append(l.Failures, bar{x, height - failed, failed})
		}
	}
	return l
}
