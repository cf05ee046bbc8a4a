// Package appspec turns the spec of an app between its message and the ledger's form.
//
// It checks the shape only: what kinds of key space and replication there are. Which values are allowed is for the ledger to say, so that
// every way to it is checked in the same words. It is called by allocator/api and allocator/storage and keeps no state.
package appspec

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// UnsupportedError asks for something that the protocol can say and this version cannot do.
type UnsupportedError struct {
	Field    string // dotted path, as in the .proto file
	Expected string
}

// Error implements error.
func (e *UnsupportedError) Error() string {
	return e.Field + ": not supported yet: expected " + e.Expected
}

// FromProto converts a spec. Its errors are *wire.FieldError or *UnsupportedError and name the field.
func FromProto(p *pb.AppSpec) (ledger.Spec, error) {
	if p == nil {
		return ledger.Spec{}, &wire.FieldError{Field: "spec", Expected: "an app's spec"}
	}
	if p.KeySpace == nil {
		return ledger.Spec{}, &wire.FieldError{Field: "spec.key_space", Expected: "hash with the number of shards, or named"}
	}
	space, err := wire.KeySpaceFromProto(p.KeySpace)
	if err != nil {
		return ledger.Spec{}, fmt.Errorf("spec.%w", err)
	}
	if p.Replication < 0 || p.Replication > pb.Replication_REPLICATION_PRIMARY_SECONDARY {
		return ledger.Spec{}, &UnsupportedError{Field: "spec.replication", Expected: "REPLICATION_PRIMARY_ONLY, REPLICATION_SECONDARY_ONLY or REPLICATION_PRIMARY_SECONDARY"}
	}
	if p.OnCoordinationLoss < 0 || p.OnCoordinationLoss > pb.CoordinationLoss_COORDINATION_LOSS_HOLD {
		return ledger.Spec{}, &UnsupportedError{Field: "spec.on_coordination_loss", Expected: "COORDINATION_LOSS_FENCE or COORDINATION_LOSS_HOLD"}
	}
	written, err := Written(p.GetPolicy())
	if err != nil {
		return ledger.Spec{}, err
	}
	limits, err := capsFromProto(p.GetMaintenance())
	if err != nil {
		return ledger.Spec{}, err
	}
	placement := p.GetPlacement()
	return ledger.Spec{
		Name:             shard.App(p.Name),
		Space:            space,
		Replication:      spec.Replication(p.Replication).Kind(), // unset means the default
		Replicas:         number(p.Replicas),
		RegionReplicas:   converted(p.RegionReplicas, number),
		Spread:           locality.Domain(min(max(placement.GetSpread(), 0), math.MaxUint8)),
		PreferRegions:    slices.Clone(placement.GetPreferredRegions()),
		MaxMoves:         number(placement.GetMaxConcurrentMoves()),
		MaxMovesServer:   number(placement.GetMaxConcurrentMovesPerServer()),
		TolerancePercent: number(placement.GetBalanceTolerancePercent()),
		DefaultLoad:      cloned(placement.GetDefaultLoad()),
		ResourceVersion:  p.ResourceVersion,
		Labels:           cloned(p.Labels),
		Written:          written,
		Maintenance:      limits,
		Scaling:          scalingFromProto(p.ReplicaScaling),
		NonExclusive:     p.Exclusive != nil && !*p.Exclusive,
		AcceptOverlap:    p.AcceptOverlap,
		OnLoss:           spec.OnLoss(p.OnCoordinationLoss),
	}, nil
}

// ToProto converts a spec back.
func ToProto(s ledger.Spec) *pb.AppSpec {
	exclusive := !s.NonExclusive
	return &pb.AppSpec{
		Name:        string(s.Name),
		KeySpace:    wire.KeySpaceToProto(s.Space),
		Replication: pb.Replication(s.Replication.Kind()),
		Replicas:    uint32(s.Replicas), RegionReplicas: converted(s.RegionReplicas, func(n int) uint32 { return uint32(n) }),
		Placement: &pb.Placement{
			Spread:                      pb.FaultDomain(s.Spread),
			PreferredRegions:            slices.Clone(s.PreferRegions),
			MaxConcurrentMoves:          uint32(s.MaxMoves),
			MaxConcurrentMovesPerServer: uint32(s.MaxMovesServer),
			BalanceTolerancePercent:     uint32(s.TolerancePercent),
			DefaultLoad:                 cloned(s.DefaultLoad),
		},
		ResourceVersion: s.ResourceVersion,
		Labels:          cloned(s.Labels),
		Policy:          Policy(s.Written),
		Maintenance:     capsToProto(s.Maintenance),
		ReplicaScaling:  scalingToProto(s.Scaling),
		Exclusive:       &exclusive,
		AcceptOverlap:   s.AcceptOverlap, OnCoordinationLoss: pb.CoordinationLoss(s.OnLoss),
	}
}

// Written is a policy as the ledger keeps it, unread: the same policy is always the same bytes. One that says nothing is none.
func Written(p *pb.Policy) ([]byte, error) {
	if proto.Size(p) == 0 {
		return nil, nil
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil { // text that is not UTF-8
		return nil, &wire.FieldError{Field: "spec.policy", Expected: "a policy: " + err.Error()}
	}
	return text, nil
}

// Policy reads what Written wrote; nil: nothing, or what cannot be read.
func Policy(text []byte) *pb.Policy {
	p := new(pb.Policy)
	if len(text) == 0 || proto.Unmarshal(text, p) != nil {
		return nil
	}
	return p
}

func number(n uint32) int { return int(min(n, math.MaxInt32)) }

func converted[A, B any](m map[string]A, convert func(A) B) map[string]B {
	if len(m) == 0 {
		return nil
	}
	other := make(map[string]B, len(m))
	for name, value := range m {
		other[name] = convert(value)
	}
	return other
}

func cloned[V any](m map[string]V) map[string]V {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}
