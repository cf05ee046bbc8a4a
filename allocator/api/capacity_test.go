package api_test

import (
	"strings"
	"testing"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func TestAdviseCapacity(t *testing.T) {
	s := simulated(t)
	answer, err := s.admin().AdviseCapacity(t.Context(), &pb.AdviseCapacityRequest{App: "kv"})
	if err != nil {
		t.Fatal(err)
	}
	if answer.GetServers() != 3 || answer.GetLeast() != 2 || answer.GetWanted() != 2 || answer.GetHold() != "" || len(answer.GetRegions()) != 1 || answer.GetRegions()[0].GetRegion() != "eu" {
		t.Errorf("%v", answer)
	}
	s.node.leader.known.Input.Servers[0].Leaving = true
	if answer, err = s.admin().AdviseCapacity(t.Context(), &pb.AdviseCapacityRequest{App: "kv"}); err != nil || answer.GetWanted() != 3 || answer.GetHold() == "" {
		t.Errorf("while one is drained: %v, %v", answer, err)
	}
	for want, r := range map[string]*pb.AdviseCapacityRequest{
		"app: expected an app of this cluster": {App: "x"}, "shards create mail": {App: "mail"}, "utilisation_percent: expected 1 to 100": {App: "kv", UtilisationPercent: 1 << 31},
		"tolerance_percent: expected 0": {App: "kv", TolerancePercent: 91},
	} {
		if _, err := s.admin().AdviseCapacity(t.Context(), r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, expected %s", r, err, want)
		}
	}
}
