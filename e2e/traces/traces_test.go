package traces

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/tracing"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// await waits for a trace that begins with a span of a name, and holds.
func (c *cluster) await(r *receiver, name string, holds func(trace) error) (id string, found trace) {
	c.Helper()
	err := clock.Await(c.Context(), patience, "a trace of a "+name, func(context.Context) error {
		err := fmt.Errorf("none among %d spans", len(r.all()))
		for key, t := range byTrace(r.all()) {
			roots := t.roots()
			if len(roots) != 1 || roots[0].Name != name {
				continue
			}
			if err = holds(t); err == nil {
				id, found = key, t
				return nil
			}
		}
		return err
	})
	if err != nil {
		for key, t := range byTrace(r.all()) {
			for _, s := range t {
				above, _ := t.parent(s)
				c.Logf("%s %s: %s, under %s %v", key[:4], s.service, s.Name, above.GetName(), attributes(s.Attributes))
			}
		}
		c.Fatal(err)
	}
	return id, found
}

// under demands that a span of a service has parents of these names, from the nearest on, up to the first span.
func (t trace) under(service, name string, parents ...string) error {
	list := t.named(service, name)
	if len(list) == 0 {
		return fmt.Errorf("no span %q of the %s", name, service)
	}
	var err error
	for _, s := range list {
		if err = t.lineage(s, parents); err == nil {
			return nil
		}
	}
	return err
}

func (t trace) lineage(s span, parents []string) error {
	at := s
	for _, want := range parents {
		above, ok := t.parent(at)
		if !ok {
			return fmt.Errorf("%s: what %s is under has not come", at.service, at.Name)
		}
		if name := above.service + ": " + above.Name; name != want {
			return fmt.Errorf("%s: %s is under %q, not under %q", at.service, at.Name, name, want)
		}
		if above.StartTimeUnixNano > at.StartTimeUnixNano {
			return fmt.Errorf("%s begins before %s", at.Name, above.Name)
		}
		at = above
	}
	if len(at.ParentSpanId) > 0 {
		return fmt.Errorf("%s: %s is not the first", at.service, at.Name)
	}
	return nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

const rpc = "agent: shardmanager.v1.ShardHostService/"

// A placement, a move by a drain, and a failover are one trace each, from the decision to the callbacks, and the logs name it.
func TestOneMoveIsOneTrace(t *testing.T) {
	spans := newReceiver(t)
	c := newCluster(t, tracing.Settings{Endpoint: spans.URL}, 1)
	c.create()
	x := c.server("x", nil)
	c.await(spans, "placement", func(tr trace) error {
		return first(tr.under("allocator", "write", "allocator: placement"),
			tr.under("agent", "agent AddShard", "allocator: command AddShard", "allocator: placement"),
			tr.under("application", "callback AddShard", rpc+"AddShard", "agent: agent AddShard", "allocator: command AddShard", "allocator: placement"))
	})
	y := c.server("y", nil)
	c.eventually("y is there", func(ctx context.Context) error {
		servers, err := c.leader(ctx).ListServers(ctx, &pb.ListServersRequest{App: "app"})
		if err == nil && len(servers.Servers) < 2 {
			err = fmt.Errorf("%d servers", len(servers.Servers))
		}
		return err
	})
	if _, err := c.leader(t.Context()).DrainServer(t.Context(), &pb.DrainServerRequest{Server: x.id}); err != nil {
		t.Fatal(err)
	}
	move := "allocator: move"
	id, found := c.await(spans, "move", func(tr trace) error {
		target := []string{rpc + "PrepareAddShard", "agent: agent PrepareAddShard", "allocator: command PrepareAddShard", move}
		source := []string{rpc + "PrepareDropShard", "agent: agent PrepareDropShard", "allocator: command PrepareDropShard", move}
		handed := append([]string{"application: hand over state"}, source...)
		return first(
			tr.under("application", "callback PrepareAddShard", target...),
			tr.under("application", "callback ReceiveState", append([]string{"application: pull state"}, target...)...),
			tr.under("application", "callback StreamState", append([]string{"application: pull state"}, target...)...),
			tr.under("application", "callback StateDelta", source...),
			tr.under("application", "callback Activate", handed...),
			tr.under("application", "callback AddShard", rpc+"AddShard", "agent: agent AddShard", "allocator: command AddShard", move),
			tr.under("application", "callback DropShard", rpc+"DropShard", "agent: agent DropShard", "allocator: command DropShard", move),
			tr.under("allocator", "wait linger", move),
		)
	})
	root := attributes(found.roots()[0].Attributes)
	if root["shardmanager.from"] != x.id || root["shardmanager.to"] != y.id || root["shardmanager.reason"] != "drain" || root["shardmanager.shard"] != "0" {
		t.Errorf("the move is told as %v", root)
	}
	if writes := found.named("allocator", "write"); len(writes) != 3 {
		t.Errorf("%d writes, not those of the rows 1, 4 and 8", len(writes))
	}
	if line := c.log.find("move opened", id); line == nil || line["span_id"] != hex.EncodeToString(found.roots()[0].SpanId) {
		t.Errorf("the log says %v of the move's opening", line)
	}
	if c.log.find("primary moved", id) == nil || c.log.find("prepare add done", id) == nil {
		t.Error("the logs of leader and agent do not name the trace")
	}
	if _, err := c.leader(t.Context()).DrainServer(t.Context(), &pb.DrainServerRequest{Server: x.id, Undo: true}); err != nil {
		t.Fatal(err)
	}
	y.stop()
	c.await(spans, "failover", func(tr trace) error {
		if err := tr.under("allocator", "wait lease", "allocator: failover"); err == nil || !strings.Contains(err.Error(), "begins before") {
			return fmt.Errorf("the wait before the grant: %v", err)
		}
		return tr.under("application", "callback AddShard", rpc+"AddShard", "agent: agent AddShard", "allocator: command AddShard", "allocator: failover")
	})
}

// The trace of a move goes on under a new leader, without anything that the first one told the second.
func TestTraceOutlivesLeader(t *testing.T) {
	spans := newReceiver(t)
	c := newCluster(t, tracing.Settings{Endpoint: spans.URL}, 1)
	c.create()
	x := c.server("x", nil)
	c.await(spans, "placement", func(trace) error { return nil })
	load := make(chan struct{})
	c.allocator("a2")
	c.server("y", load)
	drain := func(ctx context.Context) error {
		_, err := c.leader(ctx).DrainServer(ctx, &pb.DrainServerRequest{Server: x.id})
		return err
	}
	c.eventually("x is drained", drain)
	c.eventually("the move is at its second step", func(ctx context.Context) error {
		moves, err := c.leader(ctx).ListMoves(ctx, &pb.ListMovesRequest{})
		if err == nil && (len(moves.Open) != 1 || moves.Open[0].Step != pb.MoveStep_MOVE_STEP_PREPARE_ADD) {
			err = fmt.Errorf("%v", moves.Open)
		}
		return err
	})
	c.stops[0]()
	c.admins = c.admins[1:]
	c.eventually("another leads", func(ctx context.Context) error {
		status, err := c.admins[0].GetStatus(ctx, &pb.GetStatusRequest{})
		if err == nil && !status.Leading {
			err = fmt.Errorf("it does not lead: %v", status)
		}
		return err
	})
	close(load)
	_, found := c.await(spans, "move", func(tr trace) error {
		return first(tr.under("allocator", "command AddShard", "allocator: move"),
			tr.under("application", "callback DropShard", rpc+"DropShard", "agent: agent DropShard", "allocator: command DropShard", "allocator: move"))
	})
	opened, moved := false, false
	for _, w := range found.named("allocator", "write") {
		decision := attributes(w.Attributes)["shardmanager.decision"]
		opened, moved = opened || decision == "move opened", moved || decision == "primary moved"
	}
	if !opened || !moved {
		t.Errorf("the first leader's write is in the trace: %t, the second's: %t", opened, moved)
	}
}

// Nothing is sent of what is not sampled, and everybody decides alike.
func TestNothingSampled(t *testing.T) {
	spans := newReceiver(t)
	t.Cleanup(func() { // when all have ended, and sent what they had
		if sent := spans.all(); len(sent) > 0 {
			t.Errorf("%d spans were sent, %q among them", len(sent), sent[0].Name)
		}
	})
	none := 0.0
	c := newCluster(t, tracing.Settings{Endpoint: spans.URL, SampleRatio: &none}, 1)
	c.create()
	c.server("x", nil)
	c.served()
}

// served waits until the shard is.
func (c *cluster) served() {
	c.Helper()
	c.eventually("the shard is served", func(ctx context.Context) error {
		status, err := c.leader(ctx).GetStatus(ctx, &pb.GetStatusRequest{})
		if err == nil && (status.Unplaced > 0 || status.Attached == 0) {
			err = fmt.Errorf("%v", status)
		}
		return err
	})
}

// A receiver that is not there costs nothing: the shard is served, and the end of every process waits for it for a moment at most (cluster.provider).
func TestUnreachableReceiver(t *testing.T) {
	gone := newReceiver(t)
	gone.Close()
	var c *cluster
	t.Cleanup(func() { // when all have ended
		c.failed.mu.Lock()
		defer c.failed.mu.Unlock()
		if c.failed.n == 0 {
			t.Error("nobody was told that spans are lost")
		}
	})
	c = newCluster(t, tracing.Settings{Endpoint: gone.URL}, 1)
	c.create()
	c.server("x", nil)
	c.served()
}
