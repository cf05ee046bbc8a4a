package resolve

import "github.com/shardmanager/shardmanager/internal/shard"

// Maps is where the newest map of each app is.
type Maps interface {
	Map(app shard.App) (*shard.Map, bool)
}

// Published are the neighbours that shard maps tell of: replicas that serve. One that is still on its way is not seen.
type Published struct{ Maps Maps }

// Places implements Neighbours.
func (p Published) Places(app shard.App, id shard.ID) ([]Place, bool) {
	m, ok := p.Maps.Map(app)
	if !ok {
		return nil, false
	}
	first, end := shard.Index(0), shard.Index(m.Space.Shards)
	if id != "" {
		if first, ok = m.IndexOf(id); !ok {
			return nil, false
		}
		end = first + 1
	}
	var places []Place
	seen := map[*shard.Server]bool{}
	note := func(s *shard.Server) {
		if s != nil && !seen[s] {
			seen[s] = true
			places = append(places, Place{Locality: s.Locality, Labels: s.Labels})
		}
	}
	for i := first; i < end; i++ {
		primary, _ := m.Lookup(i)
		note(primary)
		for k := 0; ; k++ {
			s := m.Secondary(i, k)
			if s == nil {
				break
			}
			note(s)
		}
	}
	return places, true
}
