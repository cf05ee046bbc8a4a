package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/shardmanager/shardmanager/allocator/api"
	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/feed"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/sse"
	"github.com/shardmanager/shardmanager/internal/mapfeed"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// leading is an allocator that leads for ever, of which only its events are asked.
type leading struct{ ended chan struct{} }

func (l leading) Leader() api.Leader { return leader{ended: l.ended} }
func (l leading) Status() api.Status { return api.Status{Name: "a1"} }

type leader struct {
	api.Leader
	ended chan struct{}
}

func (l leader) Ended() <-chan struct{} { return l.ended }

// serve is the serving process. It prints its address, and writes events once it is told to by a line on its input.
func serve(ctx context.Context, c config) error {
	log := events.NewLog()
	log.Begin(shard.Epoch{Index: 1})
	node, news, hub := leading{ended: make(chan struct{})}, feed.New(log, 0), mapfeed.NewHub(mapfeed.HubConfig{})
	mux := api.AdminMux(node, api.NewAdmin(node, hub, nil, news, nil, nil, nil, nil), hub)
	mux.Handle(sse.Pattern, sse.New(node, news, 0))
	l, err := transport.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		in := bufio.NewScanner(os.Stdin)
		if in.Scan() {
			write(ctx, log, c.rate)
		}
	}()
	return transport.NewServer(ctx, mux).Serve(l)
}

// write writes decisions such as those of a rolling restart, one at a time; those that it is late with at once.
func write(ctx context.Context, log *events.Log, rate int) {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	began := time.Now()
	for i := 0; ctx.Err() == nil; <-tick.C {
		for due := int(time.Since(began).Seconds() * float64(rate)); i < due; i++ {
			id := strconv.Itoa(i % 100_000)
			log.Add(time.Now(), events.Decided{Decision: ledger.Decision{
				What: "primary moved", App: "orders", Shard: shard.ID(id), Server: shard.ServerID("host-" + id + ".orders"), Incarnation: 1 << 40,
				Order: shard.Order{Term: 7, Move: shard.MoveID(i)}, Why: "drain: the server is about to restart",
			}})
		}
	}
}

// server is the serving process, seen from here.
type server struct {
	command *exec.Cmd
	begin   func() error // tells it to write
	address string
}

func startServer(ctx context.Context, c config) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &server{command: exec.CommandContext(ctx, self, "-serve", "-rate", strconv.Itoa(c.rate))}
	s.command.Stderr = os.Stderr
	in, err := s.command.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := s.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.begin = func() error { _, err := fmt.Fprintln(in); return err }
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	s.address = strings.TrimSpace(line)
	return s, err
}

func (s *server) stop() {
	_ = s.command.Process.Kill() // it has nothing to lose
	_ = s.command.Wait()
}

// follow reads events until ctx ends, and tells how late each is, in milliseconds; -1 where that is not wanted, because to find out costs this
// process more than all the rest.
func (s *server) follow(ctx context.Context, over string, late bool, each func(delay int64)) error {
	if over == "connect" {
		return s.followConnect(ctx, each)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/v1/events", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		if !late {
			each(-1)
			continue
		}
		e := new(pb.Event)
		if err := protojson.Unmarshal(data, e); err != nil {
			return err
		}
		each(time.Now().UnixMilli() - e.GetTimeMs())
	}
	return errors.New("the stream ended")
}

func (s *server) followConnect(ctx context.Context, each func(delay int64)) error {
	endpoint, err := transport.Dial(s.address)
	if err != nil {
		return err
	}
	defer endpoint.Close()
	stream, err := shardmanagerv1connect.NewAdminServiceClient(endpoint.Client, endpoint.URL).WatchEvents(ctx, &pb.WatchEventsRequest{Follow: true})
	if err != nil {
		return err
	}
	for stream.Receive() {
		for _, e := range stream.Msg().GetEvents() {
			each(time.Now().UnixMilli() - e.GetTimeMs())
		}
	}
	return errors.Join(stream.Err(), stream.Close())
}
