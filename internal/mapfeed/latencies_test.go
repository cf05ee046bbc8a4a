package mapfeed

import (
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	"github.com/shardmanager/shardmanager/internal/latency"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func between(ms int) latency.Matrix {
	return latency.Of([]latency.Pair{{From: "eu", To: "us", Estimate: latency.Estimate{Median: time.Duration(ms) * time.Millisecond, Error: 20, Age: time.Second, Pairs: 9}}})
}

// A matrix goes along the chain of hubs with the maps of whatever app is followed, and one that comes later is told to those who watch.
func TestLatenciesFollow(t *testing.T) {
	leader := NewHub(HubConfig{})
	leader.Set(testMap(t, version(1, 1)))
	leader.SetLatencies(between(90))
	address, _ := serve(t, leader)

	agent := NewHub(HubConfig{})
	follow(t, FollowerConfig{App: testApp, Addresses: []string{address}, Latencies: agent.SetLatencies})
	agent.Set(testMap(t, version(1, 1)))
	below, _ := serve(t, agent)

	arrived := make(chan latency.Matrix, 10)
	follow(t, FollowerConfig{App: testApp, Addresses: []string{below}, Latencies: func(m latency.Matrix) { arrived <- m }})
	for _, ms := range []int{90, 120} {
		leader.SetLatencies(between(ms))
		if diff := cmp.Diff(between(ms).Pairs(), next(t, arrived, "a matrix").Pairs()); diff != "" {
			t.Error(diff)
		}
	}
	if diff := cmp.Diff(between(120).Pairs(), agent.Latencies().Pairs()); diff != "" {
		t.Error(diff)
	}
}

// The map comes first, the matrix after it, once; a caller that has the map gets the matrix all the same.
func TestLatenciesAfterTheMap(t *testing.T) {
	h := NewHub(HubConfig{})
	m := testMap(t, version(1, 1))
	h.Set(m)
	h.SetLatencies(between(90))
	address, _ := serve(t, h)
	for name, options := range map[string][]connect.ClientOption{"binary": nil, "JSON": {connect.WithProtoJSON()}} {
		stream, err := clientOf(t, address, options...).Watch(t.Context(), &pb.WatchRequest{App: string(testApp)})
		if err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for range 4 {
			if !stream.Receive() {
				t.Fatal(stream.Err())
			}
			switch m := stream.Msg().GetMessage().(type) {
			case *pb.WatchResponse_Snapshot:
				kinds = append(kinds, "map")
			case *pb.WatchResponse_Latencies:
				kinds = append(kinds, "latencies")
				if got := m.Latencies.GetPairs(); len(got) != 1 || got[0].GetMedianNs() != 90e6 {
					t.Errorf("%s: %v", name, got)
				}
				h.SetLatencies(between(90)) // nothing new
			case *pb.WatchResponse_KeepAlive:
				kinds = append(kinds, "alive")
			}
		}
		if diff := cmp.Diff([]string{"alive", "map", "latencies", "alive"}, kinds); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
