package kvcmd_test

import (
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/overlap"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// replicas directs servers in the mode primary-secondary as the allocator does: every shard has its rows, and what the durable set of
// secondaries in sync says is never more than what the primary waits for.
type replicas struct {
	*fleet
	moves  []uint64
	inSync [][]*agent
}

func startReplicas(t *testing.T, shards uint32, servers int, lease time.Duration) *replicas {
	t.Helper()
	f := startServers(t, shards, servers, lease, func(*fleet) []string { return []string{"--mode", "primary-secondary"} })
	r := &replicas{fleet: f, moves: make([]uint64, shards), inSync: make([][]*agent, shards)}
	for i := range shard.Index(shards) {
		r.grant(i, f.servers[int(i)%servers])
		r.join(i, f.servers[(int(i)+1)%servers])
	}
	r.publish()
	return r
}

// order is a command of a new decision about a shard.
func (r *replicas) order(i shard.Index, a *agent) *pb.ShardCommand {
	c := r.command(i, r.terms[i], a)
	c.Move = r.moves[i]
	return c
}

func peerOf(a *agent) *pb.Peer {
	return &pb.Peer{Server: string(a.server.ID), Incarnation: uint64(a.server.Incarnation), DataAddress: a.server.DataAddress}
}

func membersOf(inSync []*agent, joining ...*agent) []*pb.Member {
	var list []*pb.Member
	for _, a := range inSync {
		list = append(list, &pb.Member{Peer: peerOf(a), InSync: true})
	}
	for _, a := range joining {
		list = append(list, &pb.Member{Peer: peerOf(a)})
	}
	return list
}

// grant makes a server primary: the first time, or a secondary in sync after the primary's end.
func (r *replicas) grant(i shard.Index, a *agent) {
	r.terms[i]++
	r.moves[i]++
	r.inSync[i] = slices.DeleteFunc(r.inSync[i], func(s *agent) bool { return s == a })
	r.appoint(i, a)
}

// appoint sends the grant that the row holds.
func (r *replicas) appoint(i shard.Index, a *agent) {
	ctx, list := r.t.Context(), membersOf(r.inSync[i])
	_, err := a.host.Activate(ctx, &pb.ActivateRequest{Command: r.order(i, a), Members: list})
	r.must("Activate", err)
	_, err = a.host.AddShard(ctx, &pb.AddShardRequest{Command: r.order(i, a), Role: pb.Role_ROLE_PRIMARY, Members: list})
	r.must("AddShard", err)
	r.owners[i] = a
}

// join adds a secondary: there, at the primary, and then in the row.
func (r *replicas) join(i shard.Index, a *agent) {
	ctx, owner := r.t.Context(), r.owners[i]
	r.moves[i]++
	_, err := a.host.AddShard(ctx, &pb.AddShardRequest{Command: r.order(i, a), Role: pb.Role_ROLE_SECONDARY, Primary: peerOf(owner)})
	r.must("AddShard", err)
	_, err = owner.host.UpdateMembership(ctx, &pb.UpdateMembershipRequest{Command: r.order(i, owner), Members: membersOf(r.inSync[i], a)})
	r.must("UpdateMembership", err)
	r.inSync[i] = append(r.inSync[i], a)
}

// leave takes a secondary away whose server is over: in the row, and then at the primary.
func (r *replicas) leave(i shard.Index, a *agent) {
	owner := r.owners[i]
	r.moves[i]++
	r.inSync[i] = slices.DeleteFunc(r.inSync[i], func(s *agent) bool { return s == a })
	_, err := owner.host.UpdateMembership(r.t.Context(), &pb.UpdateMembershipRequest{Command: r.order(i, owner), Members: membersOf(r.inSync[i])})
	r.must("UpdateMembership", err)
}

// change hands a shard over to a secondary in sync. The old primary is one of the target's members from its activation on, and only then is
// told to step back.
func (r *replicas) change(i shard.Index, to *agent) {
	ctx, from := r.t.Context(), r.owners[i]
	r.terms[i]++
	r.moves[i]++
	rest := slices.DeleteFunc(slices.Clone(r.inSync[i]), func(s *agent) bool { return s == to })
	rest = append(rest, from)
	_, err := to.host.PrepareAddShard(ctx, &pb.PrepareAddShardRequest{Command: r.order(i, to), From: peerOf(from), Members: membersOf(rest)})
	r.must("PrepareAddShard", err)
	drop, err := from.host.PrepareDropShard(ctx, &pb.PrepareDropShardRequest{Command: r.order(i, from), To: peerOf(to), DeadlineMs: patience.Milliseconds()})
	r.must("PrepareDropShard", err)
	if drop.GetBusy() {
		r.t.Error("PrepareDropShard: busy")
	}
	r.inSync[i] = rest
	r.appoint(i, to)
	r.publish()
	r.moves[i]++
	_, err = from.host.AddShard(ctx, &pb.AddShardRequest{Command: r.order(i, from), Role: pb.Role_ROLE_SECONDARY, Primary: peerOf(to)})
	r.must("AddShard", err)
}

// publish sends the map as it is now to the routers.
func (r *replicas) publish() { r.publishWith(r.inSync) }

// atSecondaries is in a line of a load generator some of whose reads were answered by secondaries.
var atSecondaries = regexp.MustCompile(`"secondary_reads":[1-9]`)

// withLoad runs the load generator, a share of whose reads any replica may answer, and returns what it found and what was recorded.
func (r *replicas) withLoad(rate string, do func()) {
	r.t.Helper()
	history := filepath.Join(r.t.TempDir(), "requests")
	load := start(r.t, "load", "--allocators", r.address, "--rate", rate, "--keys", "500", "--deadline", "30s", "--nearest", "0.5", "--history", history)
	r.awaitOperations(r.t, 50)
	do()
	time.Sleep(time.Second) // some load after the last event
	// Routers prefer whoever answered fastest, so some time may pass until a secondary is asked.
	asked := func(context.Context) error {
		if !atSecondaries.MatchString(load.stdout.String()) {
			return errors.New("none was")
		}
		return nil
	}
	if err := clock.Await(r.t.Context(), patience, "a secondary to be asked", asked); err != nil {
		r.t.Error(err)
	}
	if err := load.stop(r.t, syscall.SIGTERM); err != nil {
		r.t.Errorf("load: %v: %s", err, load.stderr)
	}
	line := lastLine(r.t, load)
	if line.Failed != 0 || line.LostWrites != 0 || line.RepeatedWrites != 0 || line.StaleReads != 0 || line.UnverifiedKeys != 0 || line.WrongNearestReads != 0 {
		r.t.Errorf("broken: %+v; stderr: %s", line, load.stderr)
	}
	if line.NearestReads == 0 || line.VerifiedKeys == 0 || line.SecondaryReads == 0 {
		r.t.Errorf("nothing was read at secondaries, or written: %+v", line)
	}
}

// TestSwitches moves every shard's primary to its secondary and back under load: nothing fails, overlaps or gets lost.
func TestSwitches(t *testing.T) {
	const shards = 8
	r := startReplicas(t, shards, 3, longLease)
	r.withLoad("200", func() {
		for range 2 {
			for i := range shard.Index(shards) {
				r.change(i, r.inSync[i][0])
			}
		}
	})
	if report := r.analyse(); report.Overlap != 0 || report.Owners < 3*shards {
		t.Errorf("overlap %v, %d owners: %v", report.Overlap, report.Owners, few(report.Overlaps))
	}
}

// TestKilledReplica kills -9 one of three servers under load: where it was primary its secondary takes over with everything that was
// acknowledged, and where it was secondary writes go on once it is left out.
func TestKilledReplica(t *testing.T) {
	const shards = 6
	r := startReplicas(t, shards, 3, longLease)
	victim := r.servers[0]
	kill := overlap.Kill{Process: overlap.Process{PID: r.processes[0].cmd.Process.Pid}}
	r.withLoad("200", func() {
		kill.At = clock.Now().Raw
		if err := r.processes[0].stop(t, syscall.SIGKILL); err == nil {
			t.Error("the victim ended cleanly")
		}
		for i := range shard.Index(shards) {
			switch {
			case r.owners[i] == victim:
				r.grant(i, r.inSync[i][0])
			case slices.Contains(r.inSync[i], victim):
				r.leave(i, victim)
			}
		}
		r.publish()
		for i := range shard.Index(shards) { // two replicas again
			if len(r.inSync[i]) == 0 {
				other := r.servers[1]
				if r.owners[i] == other {
					other = r.servers[2]
				}
				r.join(i, other)
			}
		}
		r.publish()
	})
	report := r.analyse(kill)
	if report.Overlap != 0 {
		t.Errorf("overlap %v: %v", report.Overlap, few(report.Overlaps))
	}
	if failovers, err := report.Failovers(kill.Process, kill.At); err != nil || len(failovers) != shards/3 {
		t.Errorf("%d failovers, %v", len(failovers), err)
	}
}

// TestPausedReplica stops a primary for longer than its lease and promotes its secondary meanwhile. What it writes when it goes on is
// acknowledged by nobody.
func TestPausedReplica(t *testing.T) {
	const lease = 2 * time.Second
	r := startReplicas(t, 3, 3, lease)
	r.withLoad("100", func() {
		paused := r.processes[0].cmd.Process
		if err := paused.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		r.servers[0].fence()
		time.Sleep(lease + 100*time.Millisecond) // real processes, real leases
		r.grant(0, r.inSync[0][0])
		r.leave(2, r.servers[0])
		r.publish()
		if err := paused.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	})
	if report := r.analyse(); report.Overlap != 0 {
		t.Errorf("overlap %v: %v", report.Overlap, few(report.Overlaps))
	}
}
