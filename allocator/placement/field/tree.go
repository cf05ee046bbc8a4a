package field

import (
	"math"

	"github.com/shardmanager/shardmanager/internal/load"
)

// Never is the key of a leaf that no search may find.
const Never = math.MaxInt64

// Tree finds the server with the smallest key among those with room for a load, in about log N steps: a complete binary tree whose
// nodes hold, over the leaves below them, the smallest of each key and the most room per metric. A leaf is a server, in the order of
// the geography.
type Tree struct {
	keys, metrics int
	size          int // leaves; a power of two
	key           []int64
	room          []int64
	Visits        int // nodes looked at so far, for whoever limits the effort
}

func NewTree(servers, keys, metrics int) *Tree {
	t := &Tree{keys: keys, metrics: metrics, size: 1}
	for t.size < servers {
		t.size *= 2
	}
	t.key, t.room = make([]int64, 2*t.size*keys), make([]int64, 2*t.size*metrics)
	for i := range t.key {
		t.key[i] = Never
	}
	for i := range t.room {
		t.room[i] = math.MinInt64
	}
	return t
}

func (t *Tree) keysOf(node int) []int64     { return t.key[node*t.keys : (node+1)*t.keys] }
func (t *Tree) roomOf(node int) load.Vector { return t.room[node*t.metrics : (node+1)*t.metrics] }
func (t *Tree) root() int                   { return 1 }

// Room is the most room per metric that any one leaf has; not to be changed.
func (t *Tree) Room() load.Vector { return t.roomOf(t.root()) }

// Set changes a leaf and every node above it.
func (t *Tree) Set(leaf int, keys []int64, room load.Vector) {
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

// Search is one question to the tree: the leaf below the bound with the smallest key number By, the first of equals, that has room for
// need, lies in the right spans and is allowed.
type Search struct {
	By      int
	Bound   int64 // only keys below it
	Need    load.Vector
	Within  []Span // only leaves of these; nil: all
	Except  []Span // no leaf of these
	Allowed func(leaf int) bool
}

// excludes reports whether the spans leave nothing of a range of leaves.
func (s *Search) excludes(from, to int) bool {
	for _, e := range s.Except {
		if e.From <= from && to <= e.To {
			return true
		}
	}
	for _, w := range s.Within {
		if from < w.To && w.From < to {
			return false
		}
	}
	return s.Within != nil
}

// Find answers a search; −1: no leaf.
func (t *Tree) Find(s *Search) int {
	best := -1
	t.visit(s, t.root(), Span{0, t.size}, &best)
	return best
}

func (t *Tree) visit(s *Search, node int, below Span, best *int) {
	t.Visits++
	key := t.keysOf(node)[s.By]
	if key == Never || key > s.Bound || (key == s.Bound && (*best < 0 || below.From > *best)) || !s.Need.Fits(t.roomOf(node)) ||
		s.excludes(below.From, below.To) {
		return
	}
	if leaf := node - t.size; leaf >= 0 {
		if s.Allowed(leaf) {
			*best, s.Bound = leaf, key
		}
		return
	}
	middle := (below.From + below.To) / 2
	left, right := Span{below.From, middle}, Span{middle, below.To}
	if t.keysOf(2*node + 1)[s.By] < t.keysOf(2 * node)[s.By] {
		t.visit(s, 2*node+1, right, best)
		t.visit(s, 2*node, left, best)
		return
	}
	t.visit(s, 2*node, left, best)
	t.visit(s, 2*node+1, right, best)
}
