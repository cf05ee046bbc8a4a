package main

import (
	"testing"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func TestProgressInTheDetail(t *testing.T) {
	for want, m := range map[string]*pb.MoveStatus{
		"waits":                        {Detail: "waits"},
		"5 bytes received; waits":      {Detail: "waits", ProgressBytes: 5},
		"5 bytes of 9 received; waits": {Detail: "waits", ProgressBytes: 5, TotalBytes: 9},
	} {
		if got := withProgress(m); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
