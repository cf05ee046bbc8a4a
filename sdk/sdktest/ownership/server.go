package ownership

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
)

// Server is one process of the app, from its start to its end; what follows it under the same name is another one. It is the sdk.Observer of its
// Host.
type Server struct {
	checker *Checker
	name    string
	life    int // counts the processes of that name

	// Under the checker's mu.
	leases   []span // disjoint, in order
	killed   bool
	callback map[string]*course
}

var _ sdk.Observer = (*Server)(nil)

// span is [from, to) in nanoseconds.
type span struct{ from, to int64 }

// claim is the right of a server to execute a shard as primary, as far as its lease reaches; to is 0 while it lasts.
type claim struct {
	server *Server
	term   uint64
	span
}

// Start begins a process.
func (c *Checker) Start(name string) *Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &Server{checker: c, name: name, life: 1, callback: map[string]*course{}}
	for _, other := range c.servers {
		if other.name == name {
			s.life++
		}
	}
	c.servers = append(c.servers, s)
	return s
}

// Of is the last process that was started under a name, for probes; nil: none.
func (c *Checker) Of(name string) *Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range slices.Backward(c.servers) {
		if s.name == name {
			return s
		}
	}
	return nil
}

// String is the name, with the number of the process after the first.
func (s *Server) String() string {
	if s.life == 1 {
		return s.name
	}
	return fmt.Sprintf("%s#%d", s.name, s.life)
}

// Killed says that the process has ended, with everything that it held.
func (s *Server) Killed() {
	c := s.checker
	c.mu.Lock()
	defer c.mu.Unlock()
	s.killed = true
	s.endLease(time.Now().UnixNano())
	for id, state := range c.shards {
		for i := range state.claims {
			if claim := &state.claims[i]; claim.server == s && claim.to == 0 {
				claim.to = time.Now().UnixNano()
				c.note(id, "%s: killed as primary at term %d", s, claim.term)
			}
		}
	}
}

// leased reports whether the lease runs at an instant. The caller holds mu.
func (s *Server) leased(at int64) bool {
	return len(s.leases) > 0 && s.leases[len(s.leases)-1].from <= at && at < s.leases[len(s.leases)-1].to
}

func (s *Server) endLease(at int64) {
	if n := len(s.leases); n > 0 {
		s.leases[n-1].to = min(s.leases[n-1].to, at)
	}
}

// Activated implements sdk.Observer.
func (s *Server) Activated(shard string, term uint64, at int64) {
	c := s.checker
	c.mu.Lock()
	defer c.mu.Unlock()
	state := c.shard(shard)
	if s.killed {
		return
	}
	c.note(shard, "%s: primary at term %d", s, term)
	state.claims = append(state.claims, claim{server: s, term: term, span: span{from: at}})
	if !s.leased(at) {
		return // it cannot execute anything
	}
	if term <= state.activated {
		c.violate(shard, "terms went back: %s was activated at term %d after %s had been at term %d", s, term, state.by, state.activated)
		return
	}
	state.activated, state.by = term, s.String()
}

// Released implements sdk.Observer.
func (s *Server) Released(shard string, term uint64, at int64) {
	c := s.checker
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, claim := range c.shard(shard).claims {
		if claim.server == s && claim.term == term && claim.to == 0 {
			c.shard(shard).claims[i].to = at
			c.note(shard, "%s: primary no more, term %d", s, term)
		}
	}
}

// LeaseExtended implements sdk.Observer.
func (s *Server) LeaseExtended(end int64) {
	s.checker.mu.Lock()
	defer s.checker.mu.Unlock()
	now := time.Now().UnixNano()
	if s.leased(now) {
		s.leases[len(s.leases)-1].to = max(end, s.leases[len(s.leases)-1].to)
		return
	}
	if !s.killed {
		s.leases = append(s.leases, span{now, end})
	}
}

// LeaseRevoked implements sdk.Observer.
func (s *Server) LeaseRevoked(at int64) {
	c := s.checker
	c.mu.Lock()
	defer c.mu.Unlock()
	s.endLease(at)
	for id, state := range c.shards {
		if slices.ContainsFunc(state.claims, func(claim claim) bool { return claim.server == s && claim.to == 0 }) {
			c.note(id, "%s: lease revoked", s)
		}
	}
}

// Operation implements sdk.Observer.
func (s *Server) Operation(shard string, term uint64, start, end int64) {
	c := s.checker
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.killed {
		return // nobody gets its answer
	}
	c.operations++
	if !s.mayExecute(shard, term, end) {
		c.violate(shard, "an operation of %s at term %d, which began %s before, was answered outside a lease", s, term, time.Duration(end-start))
	}
}

// mayExecute reports whether the server is primary at a term, under its lease. The caller holds mu.
func (s *Server) mayExecute(shard string, term uint64, at int64) bool {
	if s.killed || !s.leased(at) {
		return false
	}
	return slices.ContainsFunc(s.checker.shard(shard).claims, func(claim claim) bool {
		return claim.server == s && claim.term == term && claim.from <= at && (claim.to == 0 || at <= claim.to)
	})
}

// Stored is a probe for the application's storage: it took a write for the shard with this term from the server. Call it while the storage holds
// its own lock, so that no other write comes between.
func (s *Server) Stored(shard sdk.Shard) {
	c := s.checker
	c.mu.Lock()
	defer c.mu.Unlock()
	if state := c.shard(shard.ID); shard.Term < state.activated {
		c.violate(shard.ID, "storage took a write of %s with term %d after %s had been activated at term %d: does Activate raise the storage's term, and does storage check it?",
			s, shard.Term, state.by, state.activated)
	}
}

// Served is a probe for answers that no guard has seen, a cache's or a background task's: call it where the answer leaves.
func (s *Server) Served(shard sdk.Shard) {
	c := s.checker
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now().UnixNano()
	follows := shard.Role == sdk.RoleSecondary && s.leased(now) && s.course(shard.ID).role == sdk.RoleSecondary
	if !follows && !s.mayExecute(shard.ID, shard.Term, now) {
		c.violate(shard.ID, "%s answered at term %d, outside its lease or after the shard had left it", s, shard.Term)
	}
}

// twoPrimaries finds claims of different servers that share an instant. The caller holds mu.
func (c *Checker) twoPrimaries(state *shardState) []Violation {
	var pieces []claim
	for _, claim := range state.claims {
		for _, lease := range claim.server.leases {
			piece := claim
			piece.from = max(claim.from, lease.from)
			if piece.to = lease.to; claim.to != 0 {
				piece.to = min(claim.to, lease.to)
			}
			if piece.from < piece.to {
				pieces = append(pieces, piece)
			}
		}
	}
	slices.SortStableFunc(pieces, func(a, b claim) int { return cmp.Compare(a.from, b.from) })
	var found []Violation
	for i, later := range pieces {
		for _, earlier := range pieces[:i] {
			if earlier.server == later.server || earlier.to <= later.from {
				continue
			}
			found = append(found, Violation{Shard: state.id, At: time.Duration(later.from - c.began.UnixNano()), History: slices.Clone(state.history), What: fmt.Sprintf(
				"two primaries for %s: %s at term %d and %s at term %d", time.Duration(min(earlier.to, later.to)-later.from), earlier.server, earlier.term, later.server, later.term)})
		}
	}
	return found
}
