package kvload

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestCounter tells stories about one key; each step is what the generator calls, with the violations it must find.
func TestCounter(t *testing.T) {
	type story struct {
		c   counter
		w   writeAttempt
		low int64
	}
	write := func(s *story) violations { s.w, _ = s.c.beginWrite(); return violations{} }
	ack := func(value int64) func(*story) violations {
		return func(s *story) violations { return s.c.acknowledged(s.w, value) }
	}
	unknown := func(s *story) violations { s.c.unknown(); return violations{} }
	refused := func(s *story) violations { return s.c.refused() }
	beginRead := func(s *story) violations { s.low = s.c.beginRead(); return violations{} }
	endRead := func(value int64) func(*story) violations {
		return func(s *story) violations { return s.c.read(s.low, value) }
	}
	last := func(value int64) func(*story) violations {
		return func(s *story) violations { return s.c.last(value) }
	}
	none := violations{}
	for _, c := range []struct {
		name  string
		steps []func(*story) violations
		want  violations // of the last step; the others find nothing
	}{
		{"exact", []func(*story) violations{write, ack(1), write, ack(2), beginRead, endRead(2), last(2)}, none},
		{"lost in a write", []func(*story) violations{write, ack(1), write, ack(1)}, violations{Lost: 1}},
		{"all lost", []func(*story) violations{write, ack(1), write, ack(2), write, ack(1)}, violations{Lost: 2}},
		{"lost at the end", []func(*story) violations{write, ack(1), write, ack(2), last(1)}, violations{Lost: 1}},
		{"repeated", []func(*story) violations{write, ack(2)}, violations{Repeated: 1}},
		{"repeated, seen by a read", []func(*story) violations{write, ack(1), beginRead, endRead(3)}, violations{Repeated: 2}},
		{"repeated, seen at the end", []func(*story) violations{write, ack(1), last(2)}, violations{Repeated: 1}},
		{"stale", []func(*story) violations{write, ack(1), beginRead, endRead(0)}, violations{Stale: 1}},
		{"read began before the acknowledgement", []func(*story) violations{write, beginRead, ack(1), endRead(0)}, none},
		{"stale after a read that saw more", []func(*story) violations{write, beginRead, endRead(1), beginRead, endRead(0)}, violations{Stale: 1}},
		{"read sees the write under way", []func(*story) violations{write, beginRead, endRead(1), ack(1), last(1)}, none},
		{"read sees more than the write under way", []func(*story) violations{write, beginRead, endRead(2)}, violations{Repeated: 1}},
		{"unknown, was applied", []func(*story) violations{write, unknown, write, ack(2), last(2)}, none},
		{"unknown, was not applied", []func(*story) violations{write, unknown, write, ack(1), last(1)}, none},
		{"unknown, was applied twice", []func(*story) violations{write, unknown, write, ack(3)}, violations{Repeated: 1}},
		{"unknown is settled by the next acknowledgement", []func(*story) violations{write, unknown, write, ack(1), beginRead, endRead(2)}, violations{Repeated: 1}},
		{"unknown, applied after a read did not see it", []func(*story) violations{write, unknown, beginRead, endRead(0), beginRead, endRead(1), last(1)}, none},
		{"unknown, seen by a read, then gone", []func(*story) violations{write, unknown, beginRead, endRead(1), last(0)}, violations{Lost: 1}},
		{"unknown, seen by a read, counts once", []func(*story) violations{write, unknown, beginRead, endRead(1), write, ack(3)}, violations{Repeated: 1}},
		{"two unknown, one applied", []func(*story) violations{write, unknown, write, unknown, write, ack(2), last(2)}, none},
		{"unknown at the end, either way", []func(*story) violations{write, ack(1), write, unknown, last(2)}, none},
		{"refused", []func(*story) violations{write, refused, beginRead, endRead(0), write, ack(1)}, none},
		{"refused, yet applied, seen by a read", []func(*story) violations{write, refused, beginRead, endRead(1)}, violations{Repeated: 1}},
		{"refused, yet applied, seen before", []func(*story) violations{write, beginRead, endRead(1), refused}, violations{Repeated: 1}},
		{"refused, yet applied, seen by a write", []func(*story) violations{write, refused, write, ack(2)}, violations{Repeated: 1}},
		{"a read beyond the last write that was sent", []func(*story) violations{write, unknown, write, beginRead, endRead(2), ack(1)}, violations{Repeated: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s story
			for i, step := range c.steps {
				want := none
				if i == len(c.steps)-1 {
					want = c.want
				}
				if got := step(&s); got != want {
					t.Fatalf("step %d finds %+v, want %+v", i, got, want)
				}
			}
		})
	}
}

func TestOneWriteAtATime(t *testing.T) {
	var c counter
	if _, ok := c.beginWrite(); !ok {
		t.Fatal("the first write is refused")
	}
	if _, ok := c.beginWrite(); ok {
		t.Error("a second write may begin")
	}
	c.unknown()
	if w, ok := c.beginWrite(); !ok || w.number != 2 {
		t.Errorf("after it ended: %+v, %v", w, ok)
	}
}

// TestCounterNeverCriesWolf runs a correct key against the checker: writes get lost on the way, are applied late, or twice under one
// number, which the store recognises.
func TestCounterNeverCriesWolf(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		var c counter
		var value int64
		var applied uint64   // highest number
		var floating *uint64 // a write that was given up and may still arrive
		arrive := func(number uint64) bool {
			if number <= applied {
				return false
			}
			applied = number
			value++
			return true
		}
		for step := range 30 {
			var got violations
			switch random.IntN(6) {
			case 0, 1:
				w, _ := c.beginWrite()
				arrive(w.number)
				got = c.acknowledged(w, value)
			case 2:
				w, _ := c.beginWrite()
				c.unknown()
				floating = &w.number
			case 3:
				_, _ = c.beginWrite()
				got = c.refused()
			case 4:
				if floating != nil {
					arrive(*floating)
				}
			case 5:
				low, seen := c.beginRead(), value
				if random.IntN(2) == 0 {
					w, _ := c.beginWrite()
					arrive(w.number)
					if random.IntN(2) == 0 {
						seen = value
					}
					got = c.acknowledged(w, value)
				}
				got.add(c.read(low, seen))
			}
			if got.any() {
				t.Fatalf("seed %d, step %d: %+v", seed, step, got)
			}
		}
		if got := c.last(value); got.any() {
			t.Fatalf("seed %d, at the end: %+v", seed, got)
		}
	}
}
