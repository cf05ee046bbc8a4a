package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/shardmanager/shardmanager/internal/config"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

const limit = 1000

func TestMessageWithLists(t *testing.T) {
	got := &pb.Policy{}
	doc, err := config.ParseMessage("p.yaml", []byte("goals:\n- tier: 1\n  drain: {}\n- tier: 2\n  cost:\n    traffic:\n    - {from: eu, to: us, micros_per_gb: \"7\"}\n"), limit, got, "a policy")
	if err != nil {
		t.Fatal(err)
	}
	want := &pb.Policy{Goals: []*pb.Goal{
		{Tier: 1, Kind: &pb.Goal_Drain{Drain: &pb.DrainGoal{}}},
		{Tier: 2, Kind: &pb.Goal_Cost{Cost: &pb.CostGoal{Traffic: []*pb.TrafficPrice{{From: "eu", To: "us", MicrosPerGb: 7}}}}},
	}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	for path, want := range map[string]string{"": "p.yaml:1", "goals[1]": "p.yaml:4", "goals[1].cost.traffic[0].to": "p.yaml:7", "goals[2]": ""} {
		if place, ok := doc.Place(path); place != want || ok != (want != "") {
			t.Errorf("%q: at %q, %t, want %q", path, place, ok, want)
		}
	}
}

func TestMessageErrors(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"empty":       {"", "p.yaml:1: expected a policy: the file is empty"},
		"item":        {"goals:\n- 7\n", "p.yaml:2: goals[0]: expected a mapping, not the number 7"},
		"in an item":  {"goals:\n- tier: 1\n- teir: 1\n", "p.yaml:3: goals[1].teir: unknown field; did you mean tier?"},
		"two of one":  {"goals:\n- drain: {}\n  movement: {}\n", "p.yaml:3: goals[0].movement: expected one kind: drain is set too"},
		"not a list":  {"goals: {tier: 1}\n", "p.yaml:1: goals: expected a list, not a mapping"},
		"second file": {"{}\n---\n{}\n", "p.yaml:2: expected one document"},
	} {
		_, err := config.ParseMessage("p.yaml", []byte(c.file), limit, &pb.Policy{}, "a policy")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	_, err := config.ParseMessage("p.yaml", []byte(strings.Repeat("#", limit+1)), limit, &pb.Policy{}, "a policy")
	if !errors.Is(err, config.ErrTooLarge) || err.Error() != "p.yaml: too large: expected at most 1000 bytes, not 1001" {
		t.Errorf("too large: %v", err)
	}
}
