package placement

import (
	"github.com/shardmanager/shardmanager/allocator/placement/field"
	"github.com/shardmanager/shardmanager/internal/load"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// quest is the question where a replica of a shard should be.
type quest struct {
	i, k    int // the shard, and which of its replicas leaves its place for it; k −1: it is one more
	role    shard.Role
	by      int // key of the tree
	need    load.Vector
	width   locality.Domain       // not in a domain of this width with another replica
	regions []int                 // only there; nil: everywhere
	allowed func(server int) bool // nil: everywhere

	lasting  bool // not where a planned event will take it away again
	heedless bool // even where callbacks for the shard failed lately
}

// quest is the question with nothing but the hard constraints.
func (s *state) quest(i, k int, role shard.Role) quest {
	return quest{i: i, k: k, role: role, by: s.byScore(role), need: s.load(i, role), width: s.width(i)}
}

// find answers: the server with the smallest key; −1: none.
func (s *state) find(q quest) int {
	except, within := s.spans[0][:0], s.spans[1][:0]
	for j := range s.replicas[q.i] {
		r := &s.replicas[q.i][j]
		for _, server := range [2]int{r.on, r.at} {
			switch {
			case server < 0:
			case j == q.k && server == r.on && r.on != r.at: // it may go back to where it still is
			case j == q.k || r.leaving:
				leaf := s.where.Leaf[server]
				except = append(except, field.Span{From: leaf, To: leaf + 1})
			default:
				except = append(except, s.where.Domains[q.width][server])
			}
		}
	}
	for _, r := range q.regions {
		within = append(within, s.where.Regions[r].Span)
	}
	s.spans[0], s.spans[1] = except, within
	if q.regions == nil {
		within = nil
	}
	heed := !q.heedless && len(s.in.Shards[q.i].Avoid) > 0
	leaf := s.tree.Find(&field.Search{By: q.by, Bound: field.Never, Need: q.need, Within: within, Except: except, Allowed: func(leaf int) bool {
		server := s.where.Order[leaf]
		if s.barred(q.i, server) != "" {
			return false
		}
		return !(q.lasting && s.in.Servers[server].Planned) && !(heed && s.avoids(q.i, server)) && (q.allowed == nil || q.allowed(server))
	}})
	if leaf < 0 {
		return -1
	}
	return s.where.Order[leaf]
}

// home is the best server for a replica by the goals, in their order: a region that lacks replicas, the region that primaries prefer, as
// far from the other replicas as there is room, and then where the server is least utilised. −1: there is none.
func (s *state) home(q quest) (server int, width locality.Domain) {
	for _, regions := range s.choices(q.i, q.k, q.role) {
		q.regions, q.lasting = regions, s.planned
		if server, width := s.widest(q); server >= 0 && q.lasting {
			return server, width
		}
		q.lasting = false
		if server, width := s.widest(q); server >= 0 {
			return server, width
		}
	}
	return -1, 0
}

// widest is the best server in the widest domain that has none of the other replicas.
func (s *state) widest(q quest) (server int, width locality.Domain) {
	least := q.width
	for q.width = locality.Region; q.width >= least; q.width-- {
		if server := s.find(q); server >= 0 {
			return server, q.width
		}
		if s.count(q.i) == 0 {
			break // there are no others to be apart from
		}
	}
	return -1, 0
}

// anywhere is the choice of all regions.
var anywhere = [][]int{nil}

// choices lists sets of regions for a replica, best first.
func (s *state) choices(i, k int, role shard.Role) [][]int {
	ranked := role == shard.Primary && len(s.where.Ranks) > 0
	if !ranked && len(s.in.Policy.Regions) == 0 {
		return anywhere
	}
	var list [][]int
	add := func(ok func(r int) bool) {
		ranks := s.where.Ranks
		if !ranked {
			ranks = [][]int{s.where.AllRegions}
		}
		for _, regions := range ranks {
			set := make([]int, 0, len(regions))
			for _, r := range regions {
				if ok(r) && s.where.Regions[r].Accepts > 0 {
					set = append(set, r)
				}
			}
			if len(set) > 0 {
				list = append(list, set)
			}
		}
	}
	lacks, short := s.lacking(i)
	switch {
	case k >= 0 && !s.spare(i, k):
		home := s.where.InRegion[s.replicas[i][k].at]
		add(func(r int) bool { return r == home })
	case k < 0 && short > 0 && (role == shard.Secondary || s.in.Wanted(i)-s.count(i) <= short):
		add(func(r int) bool { return lacks[r] > 0 })
		add(func(r int) bool { return lacks[r] == 0 })
	default:
		add(func(int) bool { return true })
	}
	return list
}

// lacking is by region how many replicas a shard has there fewer than it must have, and the sum.
func (s *state) lacking(i int) (lacks []int, sum int) {
	if len(s.in.Policy.Regions) == 0 {
		return nil, 0
	}
	lacks = make([]int, len(s.where.Regions))
	for r := range lacks {
		lacks[r] = s.where.Regions[r].Least
	}
	for _, r := range s.replicas[i] {
		if !r.leaving && r.at >= 0 {
			lacks[s.where.InRegion[r.at]]--
		}
	}
	for r := range lacks {
		lacks[r] = max(0, lacks[r])
		sum += lacks[r]
	}
	return lacks, sum
}

// spare reports whether a replica may leave its region: more are there than must be.
func (s *state) spare(i, k int) bool {
	at := s.replicas[i][k].at
	if len(s.in.Policy.Regions) == 0 || at < 0 {
		return true
	}
	region, n := s.where.InRegion[at], 0
	for _, r := range s.replicas[i] {
		if !r.leaving && r.at >= 0 && s.where.InRegion[r.at] == region {
			n++
		}
	}
	return n > s.where.Regions[region].Least
}

// alone is the widest domain that a replica has to itself among the replicas of its shard; 0: not even its host.
func (s *state) alone(i, k int) locality.Domain {
	width, at := locality.Region, s.replicas[i][k].at
	for j, r := range s.replicas[i] {
		if j == k || r.leaving || r.at < 0 || at < 0 {
			continue
		}
		for width > 0 && s.where.Shared(at, r.at, width) {
			width--
		}
	}
	return width
}
