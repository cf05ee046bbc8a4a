package policy

import (
	"fmt"
	"maps"
	"slices"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Stated is a field of a policy that was composed, and where it was said.
type Stated struct {
	Field string
	From  Origin
}

// Policy is what holds as a message, with the origins of its statements; those that are not told are defaults.
func (e Effective) Policy() (*pb.Policy, []Stated) {
	p := &pb.Policy{Group: e.Group, Moves: &pb.MoveCaps{App: number(e.AppMoves), Server: number(e.ServerMoves), Shard: number(e.ShardMoves)}}
	var origins []Stated
	note := func(from Origin, format string, args ...any) {
		if from != (Origin{}) {
			origins = append(origins, Stated{fmt.Sprintf(format, args...), from})
		}
	}
	for i, m := range e.Metrics {
		p.Metrics = append(p.Metrics, m.Value)
		note(m.From, "metrics[%d]", i)
	}
	for i, c := range e.Constraints {
		p.Constraints = append(p.Constraints, c.Value)
		note(c.From, "constraints[%d]", i)
	}
	note(e.AppMoves.From, "moves.app")
	note(e.ServerMoves.From, "moves.server")
	note(e.ShardMoves.From, "moves.shard")
	for i, g := range e.Goals {
		p.Goals = append(p.Goals, g.Value)
		note(g.From, "goals[%d]", i)
	}
	return p, origins
}

func number(n Placed[int]) *uint32 {
	value := uint32(n.Value)
	return &value
}

// Regions are the names of all regions that a policy names, in order.
func Regions(p *pb.Policy) []string {
	names := map[string]bool{}
	note := func(list ...string) {
		for _, name := range list {
			names[name] = true
		}
	}
	each(p, func(_ string, _ []*pb.Constraint, goals []*pb.Goal) {
		for _, g := range goals {
			note(g.GetRegionPreference().GetRegions()...)
			note(slices.Collect(maps.Keys(g.GetLatency().GetClients()))...)
			note(slices.Collect(maps.Keys(g.GetCost().GetClients()))...)
			if g.GetCost().GetPriceLabel() == "" {
				note(slices.Collect(maps.Keys(g.GetCost().GetServerMicrosPerHour()))...)
			}
			for _, t := range g.GetCost().GetTraffic() {
				note(t.GetFrom(), t.GetTo())
			}
			for _, r := range g.GetMovement().GetRegions() {
				note(r.GetFrom(), r.GetTo())
			}
		}
	})
	return slices.Sorted(maps.Keys(names))
}
