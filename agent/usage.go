package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/agent/host"
	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// measureWait is how long a registration waits for the host to be measured the first time.
const measureWait = 2 * time.Second

// openHost makes the sampler of the host and of the applications beside the agent.
func (a *Agent) openHost() (err error) {
	a.host, err = host.New(host.Config{Directory: a.cfg.Disk}, host.Deps{Trouble: func(what string, err error) {
		a.post(noteMail{what: "measurement", fields: map[string]any{"of": what, "works": err == nil}, err: err})
	}})
	if err != nil {
		err = fmt.Errorf("disk: %w", err)
	}
	return err
}

// told is the sample that the leader heard of last, on one stream.
type told struct {
	stream roster.StreamID
	number uint64
}

// measured puts what was measured into a renewal, if the leader does not know it.
func (l *loop) measured(s *server, stream roster.StreamID, message *pb.AttachRequest) *pb.AttachRequest {
	renew := message.GetRenew()
	if renew == nil {
		return message
	}
	usage, number := l.agent.host.Usage(string(s.app))
	if now := (told{stream: stream, number: number}); number > 0 && now != s.told {
		renew.Usage, s.told = wire.UsageToProto(usage), now
	}
	return message
}

// capacityOf completes the capacity of a process by what is to be measured. What cannot be is left out, and said.
func (a *Agent) capacityOf(ctx context.Context, app string, stated map[string]int64, pid int64) map[string]int64 {
	if len(stated) == 0 {
		stated = a.cfg.Capacity
	}
	ctx, cancel := context.WithTimeout(ctx, measureWait)
	defer cancel()
	capacity, err := a.host.Capacity(ctx, stated, a.cfg.CapacityMeasured, pid)
	if err != nil {
		a.post(noteMail{what: "capacity not measured", fields: map[string]any{"app": app}, err: fmt.Errorf("capacity_measured: %w", err)})
	}
	return capacity
}
