package wire

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/latency"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func TestCoordinateRoundTrip(t *testing.T) {
	want := latency.Coordinate{Vector: []time.Duration{-3 * time.Millisecond, 0, latency.MaxExtent}, Height: 1, Adjustment: -7, Error: latency.Unknown}
	got, err := CoordinateFromProto(CoordinateToProto(want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCoordinateRefused(t *testing.T) {
	for name, p := range map[string]*pb.NetworkCoordinate{
		"none":        nil,
		"too far":     {VectorNs: []int64{math.MaxInt64}},
		"low":         {VectorNs: []int64{0}, HeightNs: -1},
		"too wrong":   {VectorNs: []int64{0}, ErrorPermille: math.MaxUint32},
		"many-headed": {VectorNs: make([]int64, 1000)},
	} {
		if c, err := CoordinateFromProto(p); err == nil {
			t.Errorf("%s: accepted as %+v", name, c)
		}
	}
}

func TestLatenciesRoundTrip(t *testing.T) {
	pairs := []latency.Pair{
		{From: "ap", To: "eu", Estimate: latency.Estimate{Median: 200 * time.Millisecond, Error: 30, Age: 2 * time.Second, Pairs: 9}},
		{From: "eu", To: "eu", Estimate: latency.Estimate{Median: 1, Pairs: 3}},
		{From: "eu", To: "us", Estimate: latency.Estimate{Median: 80 * time.Millisecond, Configured: true}},
	}
	p := LatenciesToProto(latency.Of(pairs))
	p = append(p, &pb.RegionLatency{From: "eu", To: "us", MedianNs: -5}, &pb.RegionLatency{To: "us", MedianNs: 5}, nil)
	if diff := cmp.Diff(pairs, LatenciesFromProto(p).Pairs()); diff != "" {
		t.Error(diff)
	}
}
