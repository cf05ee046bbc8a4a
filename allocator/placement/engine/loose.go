package engine

// A loose round explores assignments that exceed capacities, at a price that rises: where servers are nearly full, the way from one good
// assignment to another leads through such. What is charged during a move is never exceeded: it could not be taken back.

// excess is the price of what would be over capacity on server t after replica in came and replica out left, either of which may be -1.
func (s *Search) excess(t, in, out int32) int64 {
	if t == s.M.Nowhere {
		return 0
	}
	n := s.M.Metrics
	slack := s.Slack[int(t)*n:][:n:n]
	coming, leaving := s.M.Zero, s.M.Zero
	if in >= 0 {
		coming = s.M.Charged(in, t)
	}
	if out >= 0 {
		leaving = s.M.Charged(out, t)
	}
	coming, leaving = coming[:len(slack)], leaving[:len(slack)]
	price := s.anneal.price[:len(slack)]
	cost := int64(0)
	for i, free := range slack {
		if free += leaving[i] - coming[i]; free < 0 {
			cost -= free * price[i]
		}
	}
	return cost >> 8
}

// setPrices gives a unit of each metric the price of a mean loss, shared out to what a replica loads on average.
func (s *Search) setPrices(loss float64) {
	a, n := &s.anneal, s.M.Metrics
	if a.price == nil {
		a.price, a.over = make([]int64, n), make([]int64, s.M.Servers+1)
	}
	for i := range n {
		total := 0.0
		for r := range s.M.Replicas {
			total += float64(s.M.Load[r*n+i])
		}
		a.price[i] = 0
		if total > 0 && !s.M.During[i] {
			a.price[i] = 256 + int64(min(256*loss*float64(s.M.Replicas)/total/float64(n), 1<<40))
		}
	}
	s.reprice()
}

func (s *Search) reprice() {
	for t := range s.M.Nowhere {
		s.anneal.over[t] = s.excess(t, -1, -1)
	}
}

// fitsHard is fits in the metrics that may not be exceeded, those that are charged during a move.
func (s *Search) fitsHard(r, out, t int32) bool {
	if t == s.M.Nowhere {
		return true
	}
	n := s.M.Metrics
	slack, use, capacity := s.Slack[int(t)*n:][:n:n], s.Use[int(t)*n:][:n:n], s.M.Capacity[int(t)*n:][:n:n]
	leaving, less := s.M.Zero, s.M.Zero
	if out >= 0 {
		leaving, less = s.M.Charged(out, t), s.M.LoadOf(out)
	}
	coming, home := s.M.Charged(r, t), s.M.Home[r] == t
	for i, l := range s.M.LoadOf(r) {
		if s.anneal.price[i] > 0 {
			continue
		}
		if more := coming[i] - leaving[i]; more > slack[i] && more > 0 {
			return false
		}
		if more := l - less[i]; home && more > 0 && use[i]+more > capacity[i] {
			return false
		}
	}
	return true
}

// excessive is what a loose proposal adds to the price of excess: r goes from a to b and q, if it is not -1, from b to a. hopeless: so
// much that no gain of the two servers makes up for it.
func (s *Search) excessive(r, q, a, b int32) (more int64, hopeless bool) {
	over, n := s.anneal.over, s.M.Tiers
	most := int64(8*s.anneal.temperature) + s.Goal[int(a)*n+s.active] + s.Goal[int(b)*n+s.active]
	more = s.excess(b, r, q) - over[a] - over[b]
	if more > most {
		return more, true
	}
	more += s.excess(a, q, r)
	return more, more > most
}
