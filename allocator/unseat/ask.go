package unseat

import (
	"context"
	"sync"
	"time"

	"github.com/shardmanager/shardmanager/internal/transport"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// witnessesMost is how many agents are asked at once, of as many zones as there are.
const witnessesMost = 8

// witness is an agent to be asked.
type witness struct {
	agent   string
	zone    zone
	address string
}

// answersUs asks the leader itself. A process that is stopped still accepts connections, so only an answer counts, and only its own.
func (s *Standby) answersUs(ctx context.Context, h Holder) bool {
	endpoint, err := s.deps.Dial(h.Admin)
	if err != nil {
		return false
	}
	defer endpoint.Close()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	status, err := shardmanagerv1connect.NewAdminServiceClient(endpoint.Client, endpoint.URL).GetStatus(ctx, new(pb.GetStatusRequest))
	return err == nil && status.GetAllocator() == h.Allocator
}

// witnesses reads who is registered and picks agents: one of each zone, then a second of each, and so on, others every time.
func (s *Standby) witnesses(ctx context.Context) ([]witness, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	entries, err := s.deps.Store.List(ctx, s.deps.Keys.Servers())
	if err != nil {
		return nil, err
	}
	var all []witness
	seen := map[string]bool{}
	for _, r := range s.deps.Keys.Registrations(entries) {
		if address := r.Server.AgentAddress; address != "" && !seen[r.Server.Agent] {
			seen[r.Server.Agent] = true
			all = append(all, witness{r.Server.Agent, zone{r.Server.Locality.Region, r.Server.Locality.Zone}, address})
		}
	}
	if len(all) > 0 {
		from := int(s.deps.Random(time.Duration(len(all))))
		all = append(all[from:], all[:from]...)
	}
	return spread(all), nil
}

// spread picks at most witnessesMost, in rounds over the zones, in the order given.
func spread(all []witness) []witness {
	byZone := map[zone][]witness{}
	var zones []zone
	for _, w := range all {
		if byZone[w.zone] == nil {
			zones = append(zones, w.zone)
		}
		byZone[w.zone] = append(byZone[w.zone], w)
	}
	var picked []witness
	for round := 0; len(picked) < min(len(all), witnessesMost); round++ {
		for _, z := range zones {
			if round < len(byZone[z]) && len(picked) < witnessesMost {
				picked = append(picked, byZone[z][round])
			}
		}
	}
	return picked
}

// ask asks agents all at once. Who does not answer says nothing.
func (s *Standby) ask(ctx context.Context, witnesses []witness) []answer {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var mu sync.Mutex
	var answers []answer
	var asking sync.WaitGroup
	for _, w := range witnesses {
		asking.Go(func() {
			seen, ok := askAgent(ctx, w, s.deps.Dial)
			if !ok {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			answers = append(answers, seen)
		})
	}
	asking.Wait()
	return answers
}

func askAgent(ctx context.Context, w witness, dial func(string) (transport.Endpoint, error)) (answer, bool) {
	endpoint, err := dial(w.address)
	if err != nil {
		return answer{}, false
	}
	defer endpoint.Close()
	seen, err := shardmanagerv1connect.NewAgentServiceClient(endpoint.Client, endpoint.URL).LeaderSeen(ctx, new(pb.LeaderSeenRequest))
	if err != nil || seen.GetAgent() != w.agent || seen.GetSilentMs() < 0 {
		return answer{}, false
	}
	silent := time.Duration(min(seen.GetSilentMs(), int64(silentMost/time.Millisecond))) * time.Millisecond
	return answer{agent: w.agent, zone: w.zone, asking: seen.GetAsking(), epoch: wire.EpochFromProto(seen.GetEpoch()), silent: silent}, true
}

// silentMost bounds what an agent may claim.
const silentMost = 24 * time.Hour
