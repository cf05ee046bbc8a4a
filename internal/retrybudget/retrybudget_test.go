package retrybudget

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// grants counts how many of n retries are granted.
func grants(b *Budget, at time.Duration, n int) int {
	granted := 0
	for range n {
		if b.Retry(at) {
			granted++
		}
	}
	return granted
}

func request(b *Budget, at time.Duration, n int) {
	for range n {
		b.Request(at)
	}
}

func TestShareOfTheRequests(t *testing.T) {
	for _, c := range []struct {
		name                         string
		percent, perSecond, requests int
		want                         int
	}{
		{"a fifth", 20, 0, 100, 20},
		{"not yet one", 20, 0, 4, 0},
		{"just one", 20, 0, 5, 1},
		{"nothing", 0, 0, 1000, 0},
		{"a floor", 20, 3, 0, 30},
		{"both", 20, 3, 100, 50},
		{"more than the requests", 300, 0, 10, 30},
	} {
		b := New(c.percent, c.perSecond)
		request(b, 0, c.requests)
		if got := grants(b, 0, 1000); got != c.want {
			t.Errorf("%s: %d retries granted, want %d", c.name, got, c.want)
		}
	}
}

func TestWindowMovesOn(t *testing.T) {
	b := New(20, 0)
	request(b, 0, 100)
	request(b, 5*time.Second, 50)
	if got := grants(b, 5*time.Second, 100); got != 30 {
		t.Errorf("%d granted, want a fifth of 150", got)
	}
	if got := grants(b, Window-1, 100); got != 0 {
		t.Errorf("%d granted again within the window", got)
	}
	// The first hundred requests are forgotten; the thirty retries of second 5 are not.
	request(b, Window, 150)
	if got := grants(b, Window, 100); got != 10 {
		t.Errorf("%d granted, want a fifth of 200 less 30", got)
	}
	if got := grants(b, time.Hour, 100); got != 0 {
		t.Errorf("%d granted after an hour without requests", got)
	}
	request(b, time.Hour, 10)
	if got := grants(b, time.Hour-time.Second, 100); got != 2 { // a clock read before another's
		t.Errorf("%d granted, want a fifth of 10", got)
	}
}

// Whatever comes when, the retries of any ten seconds are within what the rule allows; a plain list is the oracle.
func TestAgainstAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		percent, perSecond := rapid.IntRange(0, 50).Draw(t, "percent"), rapid.IntRange(0, 2).Draw(t, "per second")
		b := New(percent, perSecond)
		var requests, retries []int64
		within := func(list []int64, second int64) (n int) {
			for _, at := range list {
				if at > second-slots {
					n++
				}
			}
			return n
		}
		at := time.Duration(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			at += time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "pause"))
			second := int64(at / time.Second)
			if rapid.Bool().Draw(t, "a request") {
				b.Request(at)
				requests = append(requests, second)
				continue
			}
			want := 100*(within(retries, second)+1) <= percent*within(requests, second)+1000*perSecond
			if got := b.Retry(at); got != want {
				t.Fatalf("at %s: granted %t, want %t", at, got, want)
			}
			if want {
				retries = append(retries, second)
			}
		}
	})
}

func TestManyCallers(t *testing.T) {
	b := New(20, 0)
	var granted atomic.Int64
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			request(b, time.Second, 1000)
			granted.Add(int64(grants(b, time.Second, 1000)))
		})
	}
	callers.Wait()
	if granted.Load() != 1600 {
		t.Errorf("%d granted, want a fifth of 8000", granted.Load())
	}
}
