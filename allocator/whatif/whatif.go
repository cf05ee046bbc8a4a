// Package whatif is the simulation of placement as operators ask for it: messages to and from package simulation, the state of an app as a message
// that may be kept in a file, and what placement would do with one shard, and why.
//
// It is called by allocator/api with the state that the leader has, and by `shardmanager simulate` with one that was saved. It keeps no
// state of its own, and is bounded in time by the context.
package whatif

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/shardmanager/shardmanager/allocator/appspec"
	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/placement/tally"
	"github.com/shardmanager/shardmanager/allocator/policy/resolve"
	"github.com/shardmanager/shardmanager/allocator/simulation"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Bounds of a simulation.
const (
	maxTime       = 2 * time.Minute
	margin        = time.Second // to answer in
	defaultRounds = 1000
	maxRounds     = 10_000
)

// outOfTime is why a simulation ended that the context did not leave more time.
const outOfTime = "the time was over: allow more"

// Answer simulates. Its errors are *wire.FieldError, or the context's once nobody waits for the answer.
func Answer(ctx context.Context, in placement.Input, with Policies, r *pb.SimulateRequest) (*pb.SimulateResponse, error) {
	if r.GetMaxRounds() > maxRounds {
		return nil, &wire.FieldError{Field: "max_rounds", Expected: fmt.Sprintf("0 (the default) to %d, not %d", maxRounds, r.GetMaxRounds())}
	}
	changes, notes, err := with.changesFromProto(&in, r.GetChanges())
	if err != nil {
		return nil, err
	}
	resolver, err := resolve.New(with.Cluster) // one of its own: the allocator's keeps what it made of the real servers
	if err != nil {
		return nil, err
	}
	rounds := int(r.GetMaxRounds())
	if rounds == 0 {
		rounds = defaultRounds
	}
	within, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	if deadline, ok := ctx.Deadline(); ok {
		within, cancel = context.WithDeadline(within, deadline.Add(-margin))
		defer cancel()
	}
	changes.Terms = func(in *placement.Input) []string { return resolver.Resolve(within, in, with.others()) }
	result, err := simulation.Run(in, changes, rounds, func() string {
		if within.Err() != nil {
			return outOfTime
		}
		return ""
	})
	if bad := (*simulation.ChangeError)(nil); errors.As(err, &bad) {
		return nil, &wire.FieldError{Field: "changes." + bad.Field, Expected: bad.Expected}
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	out := resultToProto(&result)
	out.App, out.Notes = string(in.App), append(notes, out.GetNotes()...)
	if r.GetWithState() {
		out.State = StateToProto(in)
		with.save(ctx, in, resolver, out.State)
	}
	return out, nil
}

// changesFromProto converts changes of an app.
func (p Policies) changesFromProto(in *placement.Input, from *pb.SimulatedChanges) (c simulation.Changes, notes []string, err error) {
	for _, id := range from.GetDrain() {
		c.Drain = append(c.Drain, shard.ServerID(id))
	}
	for _, id := range from.GetLoseServers() {
		c.LoseServers = append(c.LoseServers, shard.ServerID(id))
	}
	c.LoseRegions = from.GetLoseRegions()
	for _, zone := range from.GetLoseZones() {
		c.LoseZones = append(c.LoseZones, wire.LocalityFromProto(zone))
	}
	for _, a := range from.GetAddServers() {
		c.Add = append(c.Add, simulation.Addition{Count: number(a.GetCount()), At: wire.LocalityFromProto(a.GetLocality())})
	}
	for _, l := range from.GetLoads() {
		c.Loads = append(c.Loads, simulation.Load{Shard: shard.ID(l.GetShard()), Metric: l.GetMetric(), Value: l.GetValue()})
	}
	for _, f := range from.GetLoadFactors() {
		c.Factors = append(c.Factors, simulation.Factor{Metric: f.GetMetric(), Millionths: f.GetMillionths()})
	}
	if from.GetSpec() != nil {
		if c.Policy, err = policyOf(in, from.GetSpec()); err == nil {
			err = p.admit("changes.spec.policy", from.GetSpec())
		}
		if err != nil {
			return c, nil, err
		}
		if len(from.GetSpec().GetPlacement().GetDefaultLoad()) > 0 {
			notes = append(notes, "placement.default_load of the spec is not simulated: loads stay as they are, but for other changes")
		}
	}
	if from.GetPolicy() != nil {
		base := in.Policy
		if c.Policy != nil {
			base = *c.Policy
		}
		if c.Policy, err = p.otherPolicy(in, base, from.GetPolicy()); err != nil {
			return c, nil, err
		}
	}
	return c, notes, nil
}

// policyOf is what another spec of an app comes to for placement.
func policyOf(in *placement.Input, p *pb.AppSpec) (*placement.Policy, error) {
	const field = "changes.spec"
	s, err := appspec.FromProto(p)
	if bad := (*wire.FieldError)(nil); errors.As(err, &bad) {
		return nil, &wire.FieldError{Field: "changes." + bad.Field, Expected: bad.Expected}
	}
	if bad := (*appspec.UnsupportedError)(nil); errors.As(err, &bad) {
		return nil, &wire.FieldError{Field: "changes." + bad.Field, Expected: bad.Expected}
	}
	if err != nil {
		return nil, err
	}
	if s.Name != in.App {
		return nil, &wire.FieldError{Field: field + ".name", Expected: fmt.Sprintf("%s, the app that is simulated, not %q", in.App, s.Name)}
	}
	if bad, expected := s.Check(); bad != "" {
		return nil, &wire.FieldError{Field: field + "." + bad, Expected: expected}
	}
	if n := len(in.Shards); !s.Space.Named && int(s.Space.Hash.Shards) != n {
		return nil, &wire.FieldError{Field: field + ".key_space.hash.shards", Expected: fmt.Sprintf("%d, which cannot change, not %d", n, s.Space.Hash.Shards)}
	}
	policy := s.Policy()
	return &policy, nil
}

// resultToProto converts what placement would do.
func resultToProto(r *simulation.Result) *pb.SimulateResponse {
	out := &pb.SimulateResponse{
		AtRest: r.Stopped == "", Stopped: r.Stopped, Moves: count(r.Moves), ReplicasMoved: count(r.Arrived), LoadMoved: r.Moved,
		PrimariesLost: count(r.PrimariesLost), ShardsLost: count(r.ShardsLost), Before: standToProto(&r.Before), After: standToProto(&r.After),
		Notes: r.Notes, MostMovedShard: string(r.MostShard), MostMoves: count(r.MostMoves), MostMovedGroup: r.MostGroup, GroupMoves: count(r.GroupMoves),
	}
	for _, g := range r.Goals {
		out.Goals = append(out.Goals, goalToProto(g))
	}
	for _, counts := range r.Rounds {
		round := new(pb.SimulatedRound)
		for _, c := range counts {
			round.Moves += count(c.Moves)
			round.By = append(round.By, &pb.SimulatedMoves{Kind: pb.MoveKind(c.Kind), Reason: pb.MoveReason(c.Reason), Moves: count(c.Moves)})
		}
		out.Rounds = append(out.Rounds, round)
	}
	for _, b := range r.Blocked {
		block := &pb.SimulatedBlock{Kind: pb.MoveKind(b.Kind), Reason: pb.MoveReason(b.Reason), Binds: b.Binds, Shards: count(b.Shards), Why: b.Why}
		for _, id := range b.Examples {
			block.Examples = append(block.Examples, string(id))
		}
		out.Blocked = append(out.Blocked, block)
	}
	return out
}

func standToProto(s *simulation.State) *pb.SimulatedState {
	out := &pb.SimulatedState{
		Servers: count(s.Servers), Accepting: count(s.Accepting), Shards: count(s.Shards), Replicas: count(s.Replicas),
		Unplaced: count(s.Unplaced), Missing: count(s.Missing), Leaving: count(s.Leaving), Awaited: count(s.Awaited),
		SpreadBroken: count(s.SpreadBroken), RegionsShort: count(s.RegionsShort),
		PrimariesInFirst: count(s.InFirst), PrimariesInPreferred: count(s.InPreferred), Primaries: count(s.Primaries),
		FullCount: count(s.FullCount), OverCapacity: count(s.OverCapacity),
	}
	for _, r := range s.Regions {
		out.Regions = append(out.Regions, &pb.SimulatedRegion{
			Region: r.Name, Servers: count(r.Servers), Replicas: count(r.Replicas), Primaries: count(r.Primaries),
		})
	}
	for _, b := range s.Balance {
		out.Balance = append(out.Balance, &pb.SimulatedBalance{
			Metric: b.Metric, Region: b.Region, Servers: count(b.Servers), Fullest: useToProto(b.Fullest), Emptiest: useToProto(b.Emptiest), MeanLoad: b.Mean,
			DeviationPermille: b.Deviation, CapacityPercent: b.CapacityPercent, FullestCapacityPercent: b.MostPercent,
		})
	}
	for _, b := range s.Broken {
		out.Broken = append(out.Broken, &pb.SimulatedBroken{Binds: b.Binds, Count: count(b.Count), Example: b.Example})
	}
	for _, u := range s.Full {
		out.Full = append(out.Full, useToProto(u))
	}
	return out
}

// goalToProto converts what a goal costs. Of round trips people want the mean, not the sum.
func goalToProto(g tally.Change) *pb.SimulatedGoal {
	text := func(amount, counted int64) string {
		if g.Unit == tally.Micros && counted > 0 {
			return g.Unit.Text(amount/counted) + " each"
		}
		return g.Unit.Text(amount)
	}
	return &pb.SimulatedGoal{
		Tier: count(g.Tier), Goal: g.Goal, Unit: string(g.Unit), Before: g.Before, After: g.After,
		BeforeText: text(g.Before, g.CountedBefore), AfterText: text(g.After, g.CountedAfter),
	}
}

func useToProto(u simulation.Use) *pb.SimulatedUse {
	return &pb.SimulatedUse{
		Server: string(u.Server), Metric: u.Metric, Load: u.Load, SharePercent: u.SharePercent, Capacity: u.Capacity, CapacityPercent: u.CapacityPercent,
	}
}

func count(n int) uint32 { return uint32(min(max(n, 0), math.MaxUint32)) }

func number(n uint32) int { return int(min(n, math.MaxInt32)) }

// stringsOf converts ids.
func stringsOf[S ~string](list []S) []string {
	if len(list) == 0 {
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

func cloned[V any](m map[string]V) map[string]V {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}
