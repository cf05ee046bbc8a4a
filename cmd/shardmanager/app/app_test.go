package app

import (
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// What a spec leaves out is shown as what it means.
func TestExclusivenessIsShown(t *testing.T) {
	t.Parallel()
	hold, fence := pb.CoordinationLoss_COORDINATION_LOSS_HOLD, pb.CoordinationLoss_COORDINATION_LOSS_FENCE
	for _, c := range []struct {
		spec            *pb.AppSpec
		exclusive, loss string
	}{
		{&pb.AppSpec{}, "yes", "fence"},
		{&pb.AppSpec{Exclusive: proto.Bool(true), OnCoordinationLoss: hold, AcceptOverlap: true}, "yes, overlap accepted", "hold"},
		{&pb.AppSpec{Exclusive: proto.Bool(false)}, "no", "hold"},
		{&pb.AppSpec{Exclusive: proto.Bool(false), OnCoordinationLoss: fence}, "no", "fence"},
	} {
		if exclusive, loss := exclusiveness(c.spec); exclusive != c.exclusive || loss != c.loss {
			t.Errorf("%v: %q, %q, expected %q, %q", c.spec, exclusive, loss, c.exclusive, c.loss)
		}
	}
}
