package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// failover says that one server's application is proven dead, and measures until the store has a new primary for each of its shards.
func failover(ctx context.Context, f *fleet, r *rows, shards int) (lost int, took time.Duration, err error) {
	dead := f.agents[0]
	lost = r.of(string(dead.server.ID))
	if lost == 0 {
		return 0, 0, fmt.Errorf("%s holds nothing that could fail over", dead.server.ID)
	}
	began := time.Now()
	dead.up <- &pb.AttachRequest{Message: &pb.AttachRequest_Ended{Ended: &pb.Ended{
		Incarnation: uint64(dead.server.Incarnation), ProvenDead: true, Reason: "killed",
	}}}
	ended, err := r.until(ctx, "failover", func(r *rows) bool { return r.held[string(dead.server.ID)] == 0 && r.placed == shards })
	dead.stop()
	return lost, ended.Sub(began), errors.Join(err, dead.store.DestroySession(ctx, dead.session))
}

// leaderChange is what was measured of one.
type leaderChange struct {
	Moves    int     `json:"moves"`            // that were open when the leader was killed
	Attached float64 `json:"attached_seconds"` // from the lock being free until every agent was welcomed by the new leader
	Resumed  float64 `json:"resumed_seconds"`  // until it had sent a command for as many moves
	Done     float64 `json:"done_seconds"`     // until no move was open; forwarding lingers 2 s
}

// changeLeader kills the leader in the middle of a drain and frees its lock.
func changeLeader(ctx context.Context, p *plane, f *fleet, r *rows) (change leaderChange, err error) {
	leader, err := p.leader(ctx)
	if err != nil {
		return change, err
	}
	drained := string(f.agents[len(f.agents)-1].server.ID)
	f.mute.Store(true)
	if _, err := leader.admin.DrainServer(ctx, &pb.DrainServerRequest{Server: drained}); err != nil {
		return change, err
	}
	change.Moves = r.of(drained)
	if _, err := r.until(ctx, "moves of a drain", func(r *rows) bool { return r.open >= change.Moves }); err != nil {
		return change, err
	}
	store, err := p.dial()
	if err != nil {
		return change, err
	}
	lock, found, err := store.Get(ctx, "shardmanager/"+cluster+"/g/default/leader")
	if err != nil || !found {
		return change, fmt.Errorf("the lock: found %t: %w", found, err)
	}
	if _, err := leader.Kill(ctx); err != nil {
		return change, err
	}
	if err := f.wait(ctx, "detached servers", func() int64 { return -f.attached.Load() }, 0); err != nil {
		return change, err
	}
	f.mute.Store(false)
	if err := store.DestroySession(ctx, lock.Session); err != nil {
		return change, err
	}
	free := time.Now()
	since := func() float64 { return time.Since(free).Seconds() }
	attached := func() int64 { return f.attached.Load() }
	if err := f.wait(ctx, "attached servers", attached, int64(len(f.agents)-1)); err != nil {
		return change, err
	}
	change.Attached = since()
	fmt.Fprintf(os.Stderr, "all attached again after %.2f s\n", change.Attached)
	if err := f.wait(ctx, "moves gone on with", f.resumed.Load, int64(change.Moves)); err != nil {
		return change, err
	}
	change.Resumed = since()
	_, err = r.until(ctx, "the end of the drain", func(r *rows) bool { return r.open == 0 && r.held[drained] == 0 })
	change.Done = since()
	return change, err
}
