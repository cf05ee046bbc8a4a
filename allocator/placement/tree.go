package placement

import (
	"math"

	"github.com/shardmanager/shardmanager/internal/load"
)

// never is the key of a leaf that no search may find.
const never = math.MaxInt64

// tree finds the server with the smallest key among those with room for a load, in about log N steps: a complete binary tree whose
// nodes hold, over the leaves below them, the smallest of each key and the most room per metric. A leaf is a server, by position.
type tree struct {
	keys, metrics int
	size          int // leaves; a power of two
	key           []int64
	room          []int64
	visits        int // nodes looked at so far, for whoever limits the effort
}

func newTree(servers, keys, metrics int) *tree {
	t := &tree{keys: keys, metrics: metrics, size: 1}
	for t.size < servers {
		t.size *= 2
	}
	t.key, t.room = make([]int64, 2*t.size*keys), make([]int64, 2*t.size*metrics)
	for i := range t.key {
		t.key[i] = never
	}
	for i := range t.room {
		t.room[i] = math.MinInt64
	}
	return t
}

func (t *tree) keysOf(node int) []int64     { return t.key[node*t.keys : (node+1)*t.keys] }
func (t *tree) roomOf(node int) load.Vector { return t.room[node*t.metrics : (node+1)*t.metrics] }
func (t *tree) root() int                   { return 1 }

// set changes a leaf and every node above it.
func (t *tree) set(leaf int, keys []int64, room load.Vector) {
	node := t.size + leaf
	copy(t.keysOf(node), keys)
	copy(t.roomOf(node), room)
	for node /= 2; node > 0; node /= 2 {
		k, a, b := t.keysOf(node), t.keysOf(2*node), t.keysOf(2*node+1)
		for i := range k {
			k[i] = min(a[i], b[i])
		}
		r, ra, rb := t.roomOf(node), t.roomOf(2*node), t.roomOf(2*node+1)
		for i := range r {
			r[i] = max(ra[i], rb[i])
		}
	}
}

// search is one question to the tree: the leaf below the bound with the smallest key number `by`, the first of equals, that has room for
// need and is allowed.
type search struct {
	by      int
	bound   int64 // only keys below it
	need    load.Vector
	allowed func(leaf int) bool
}

// find answers a search; −1: no leaf.
func (t *tree) find(s *search) int {
	best := -1
	t.visit(s, t.root(), &best)
	return best
}

func (t *tree) visit(s *search, node int, best *int) {
	t.visits++
	key := t.keysOf(node)[s.by]
	if key == never || key > s.bound || (key == s.bound && (*best < 0 || t.first(node) > *best)) || !s.need.Fits(t.roomOf(node)) {
		return
	}
	if leaf := node - t.size; leaf >= 0 {
		if s.allowed(leaf) {
			*best, s.bound = leaf, key
		}
		return
	}
	near, far := 2*node, 2*node+1
	if t.keysOf(far)[s.by] < t.keysOf(near)[s.by] {
		near, far = far, near
	}
	t.visit(s, near, best)
	t.visit(s, far, best)
}

// first is the first leaf below a node.
func (t *tree) first(node int) int {
	for node < t.size {
		node *= 2
	}
	return node - t.size
}
