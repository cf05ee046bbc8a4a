// Package summit keeps how high servers are, and in each domain the largest height and how many servers have it. It is what a goal needs that counts
// only the fullest: to ask what a change of a few servers would mean takes no longer than a look at the top, unless it is they who are there.
package summit

// Together is how many servers Change takes at most.
const Together = 6

// Heights are those of servers, each in one domain. All are 0 at first.
type Heights struct {
	base []int32 // [servers]: where the tree of its domain begins
	size []int32 // [servers]: how many servers are in its domain
	leaf []int32 // [servers]: its node in that tree

	// tree has 2n nodes for each domain of n servers: the leaves from n on, and node i above nodes 2i and 2i+1, from 1. Invariant: a node has the largest
	// height of the leaves below it, and how many of them have it.
	tree []node
}

type node struct{ height, count int32 }

// New makes heights of servers, by the domain that each is in, labelled from 0.
func New(domain []int32) *Heights {
	n := len(domain)
	h := &Heights{base: make([]int32, n), size: make([]int32, n), leaf: make([]int32, n), tree: make([]node, 2*n)}
	count := make([]int32, n+1)
	for _, d := range domain {
		count[d]++
	}
	base, next := make([]int32, n+1), int32(0)
	for d, c := range count {
		base[d] = next
		next += 2 * c
	}
	met := make([]int32, n+1)
	for s, d := range domain {
		h.base[s], h.size[s], h.leaf[s] = base[d], count[d], count[d]+met[d]
		h.tree[h.base[s]+h.leaf[s]] = node{0, 1}
		met[d]++
	}
	for d, c := range count {
		for i := c - 1; i > 0; i-- {
			h.join(h.tree[base[d]:], i)
		}
	}
	return h
}

// Clone is a copy that may be changed by itself.
func (h *Heights) Clone() *Heights {
	c := *h
	c.tree = append([]node(nil), h.tree...)
	return &c
}

// join makes a node of those below it.
func (h *Heights) join(tree []node, i int32) { tree[i] = tree[2*i].and(tree[2*i+1]) }

func (n node) and(o node) node {
	switch {
	case n.height > o.height:
		return n
	case n.height < o.height:
		return o
	}
	return node{n.height, n.count + o.count}
}

// steps is how far the servers of a domain are from all being at 0, the fullest first: as long as any is above a height, those below it count for nothing.
func steps(top node, size int32) int64 {
	if top.height == 0 {
		return 0
	}
	return int64(top.height-1)*int64(size) + int64(top.count)
}

// Of is how high a server is.
func (h *Heights) Of(server int32) int32 { return h.tree[h.base[server]+h.leaf[server]].height }

// Tops reports whether a server is above 0, and none of its domain is higher.
func (h *Heights) Tops(server int32) bool {
	height := h.Of(server)
	return height > 0 && height == h.tree[h.base[server]+1].height
}

// Set changes the height of a server, and answers by how many steps that changes the sum over all domains.
func (h *Heights) Set(server, height int32) int64 {
	tree, i := h.tree[h.base[server]:], h.leaf[server]
	if tree[i].height == height {
		return 0
	}
	before := tree[1]
	tree[i].height = height
	for i >>= 1; i > 0; i >>= 1 {
		was := tree[i]
		if h.join(tree, i); tree[i] == was {
			return 0
		}
	}
	return steps(tree[1], h.size[server]) - steps(before, h.size[server])
}

// Change is by how many steps the sum would change if some servers, at most Together and each once, had other heights.
func (h *Heights) Change(servers, heights []int32) int64 {
	sum := int64(0)
next:
	for i, s := range servers {
		for _, before := range servers[:i] {
			if h.base[before] == h.base[s] {
				continue next
			}
		}
		sum += h.change(servers[i:], heights[i:])
	}
	return sum
}

// change is Change in the domain of the first server.
func (h *Heights) change(servers, heights []int32) int64 {
	base, size := h.base[servers[0]], h.size[servers[0]]
	top := h.tree[base+1]
	rest, peak := top, node{}
	for i, s := range servers {
		if h.base[s] != base {
			continue
		}
		if h.Of(s) == top.height {
			rest.count--
		}
		peak = peak.and(node{heights[i], 1})
	}
	if rest.count == 0 {
		rest.height = 0
		if peak.height < top.height {
			rest = h.without(base, servers)
		}
	}
	return steps(rest.and(peak), size) - steps(top, size)
}

// without is the top of a domain without some servers: what is beside the ways from them to the root.
func (h *Heights) without(base int32, servers []int32) node {
	var way [Together]int32 // nodes that have one of them below, from which to go on
	n, rest := 0, node{}
	for _, s := range servers {
		if h.base[s] == base {
			way[n] = h.leaf[s]
			n++
		}
	}
	for n > 0 {
		low := 0 // the one farthest from the root
		for i := range n {
			if way[i] > way[low] {
				low = i
			}
		}
		i := way[low]
		n--
		way[low] = way[n]
		if i == 1 {
			break
		}
		beside := true
		for j := range n {
			if way[j] == i^1 {
				beside = false
				n--
				way[j] = way[n]
				break
			}
		}
		if beside {
			rest = rest.and(h.tree[base+(i^1)])
		}
		way[n] = i >> 1
		n++
	}
	return rest
}
