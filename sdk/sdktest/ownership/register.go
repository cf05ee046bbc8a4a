package ownership

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// register is the value of one shard as its clients may find it: what was acknowledged last, and whatever else may have come about since.
// Clients write values that differ, so that a read tells which write it saw.
type register struct {
	possible map[string]bool   // a read that begins now may find these, or what is being written
	under    map[*Attempt]bool // operations under way
	lost     bool              // it may be anything until the next read
	last     string            // who acknowledged what last, and when, for people
}

func newRegister() register {
	return register{possible: map[string]bool{"": true}, under: map[*Attempt]bool{}}
}

// Attempt is one operation of a client on the value of a shard, from before it was sent until its outcome is known. Exactly one of its methods is
// called, once, at its end.
type Attempt struct {
	checker *Checker
	shard   string
	value   string // of a write
	writes  bool
	found   map[string]bool // possible at some time since it began, beside's included
	beside  map[string]bool // written while it was under way, perhaps after its own effect
	lost    bool            // anything may be found
}

func (c *Checker) attempt(shard string, a *Attempt) *Attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.shard(shard).register
	a.checker, a.shard, a.found, a.beside, a.lost = c, shard, maps.Clone(r.possible), map[string]bool{}, r.lost
	for other := range r.under {
		if other.writes {
			a.found[other.value], a.beside[other.value] = true, true
		}
		if a.writes {
			other.found[a.value], other.beside[a.value] = true, true
		}
	}
	r.under[a] = true
	return a
}

// Writes begins a write of a value that nobody has written to the shard before.
func (c *Checker) Writes(shard, value string) *Attempt {
	return c.attempt(shard, &Attempt{value: value, writes: true})
}

// Reads begins a read.
func (c *Checker) Reads(shard string) *Attempt { return c.attempt(shard, &Attempt{}) }

// finish ends it and returns the register. The caller holds mu.
func (a *Attempt) finish() *register {
	r := &a.checker.shard(a.shard).register
	delete(r.under, a)
	return r
}

// settle says that a value was there at some time in which a was under way: what is older cannot come back.
func (a *Attempt) settle(r *register, value string) {
	maps.DeleteFunc(r.possible, func(v string, _ bool) bool { return !a.beside[v] })
	r.possible[value] = true
}

// Acknowledged ends a write whose success a server has answered: from now on reads find it, or what was written beside it or later.
func (a *Attempt) Acknowledged(server string) {
	a.checker.mu.Lock()
	defer a.checker.mu.Unlock()
	r := a.finish()
	r.lost = false
	r.last = fmt.Sprintf("%s acknowledged %q at %s", server, a.value, a.checker.since())
	a.settle(r, a.value)
}

// Refused ends an operation that was certainly not executed.
func (a *Attempt) Refused() {
	a.checker.mu.Lock()
	defer a.checker.mu.Unlock()
	a.finish()
}

// Unknown ends an operation that may have been executed, and will not be any more.
func (a *Attempt) Unknown() {
	a.checker.mu.Lock()
	defer a.checker.mu.Unlock()
	r := a.finish()
	if a.writes {
		r.possible[a.value] = true
		a.checker.note(a.shard, "a client does not know whether %q was written", a.value)
	}
}

// Found ends a read with what the server returned.
func (a *Attempt) Found(value, server string) {
	c := a.checker
	c.mu.Lock()
	defer c.mu.Unlock()
	r := a.finish()
	switch {
	case a.lost || r.lost:
		r.lost = false
		a.settle(r, value)
	case !a.found[value]:
		c.violate(a.shard, "an acknowledged write was lost: a read at %s returned %q, want %s; %s", server, value, list(a.found), cmp.Or(r.last, "nothing was acknowledged"))
		r.possible = map[string]bool{value: true} // it is told once
	case r.possible[value] || a.beside[value]:
		a.settle(r, value)
	}
}

// Forget says that the shard's state may be lost by the rules: its owner died, and the state was in memory only.
func (c *Checker) Forget(shard string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.shard(shard).register
	r.lost = true
	for a := range r.under {
		a.lost = true
	}
}

func list(values map[string]bool) string {
	sorted := slices.Sorted(maps.Keys(values))
	if len(sorted) == 1 {
		return fmt.Sprintf("%q", sorted[0])
	}
	return fmt.Sprintf("one of %q", sorted)
}
