package agent

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/agent/api"
	"github.com/shardmanager/shardmanager/agent/roster"
)

// Restart implements api.Operations, and is what SIGUSR2 does: the program that takes over is prepared, every server gets a rest lease and its
// application pulls it; then Run returns ErrRestart. If the program cannot take over or a server gets no lease, nothing happens, and the error says why.
func (a *Agent) Restart(ctx context.Context, wish api.Restart) (rest time.Duration, version string, err error) {
	successor := a.restarts.Successor
	if wish.End {
		successor = nil
	}
	if successor != nil {
		if version, err = successor.Prepare(ctx, wish.Version); err != nil {
			return 0, "", connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("restart: %w: the agent stays", err))
		}
	}
	rested, err := a.rest(ctx, wish.Rest)
	if err != nil {
		if successor != nil {
			successor.Abandon()
		}
		return 0, "", err
	}
	rested.End = successor == nil
	select {
	case a.restart <- rested:
	default: // asked for already
	}
	return rested.Lease, version, nil
}

// rest gets a rest lease for every server.
func (a *Agent) rest(ctx context.Context, length time.Duration) (Rested, error) {
	answers := make(chan roster.Reply, maxServers)
	count, err := query(ctx, a, func(count chan<- int) mail { return restMail{length: length, answer: answers, count: count} })
	if err != nil {
		return Rested{}, err
	}
	rested := Rested{Lease: roster.MaxRest}
	var refused []string
	for range count {
		select {
		case r := <-answers:
			if r.Refusal != 0 {
				refused = append(refused, r.Why)
			}
			rested.Lease = min(rested.Lease, r.Remaining)
		case <-ctx.Done():
			return Rested{}, ctx.Err()
		case <-a.loopDone:
			return Rested{}, errEnding
		}
	}
	if len(refused) > 0 {
		return Rested{}, connect.NewError(connect.CodeUnavailable, fmt.Errorf("restart: no rest lease: %s: the agent stays", strings.Join(refused, "; ")))
	}
	status, err := a.Status(ctx)
	rested.Live, rested.Attached = Resumed(status)
	return rested, err
}

// Resumed counts the servers that serve with a lease, and of them those that are attached to the leader.
func Resumed(status api.Status) (live, attached int) {
	for _, v := range status.Servers {
		if v.Life == roster.Live && v.Remaining > 0 {
			live++
			if v.Attached {
				attached++
			}
		}
	}
	return live, attached
}
