package virtual

import "time"

// Queue is what is to happen. The zero value is ready, at instant 0.
type Queue struct {
	now  time.Duration // since the beginning of the run
	next uint64
	due  []due // a heap, the earliest first
	done uint64
}

// due is one thing to happen.
type due struct {
	at     time.Duration
	number uint64 // in the order of asking
	do     func()
}

func (d *due) before(e *due) bool { return d.at < e.at || d.at == e.at && d.number < e.number }

// Now is the true instant, since the beginning of the run.
func (q *Queue) Now() time.Duration { return q.now }

// Done is how many things have happened.
func (q *Queue) Done() uint64 { return q.done }

// After has something happen once d has passed; at once if d is not positive, but not before this returns.
func (q *Queue) After(d time.Duration, do func()) {
	q.next++
	q.due = append(q.due, due{at: q.now + max(d, 0), number: q.next, do: do})
	for i := len(q.due) - 1; i > 0; {
		parent := (i - 1) / children
		if !q.due[i].before(&q.due[parent]) {
			return
		}
		q.due[i], q.due[parent] = q.due[parent], q.due[i]
		i = parent
	}
}

// children of a node of the heap: flat heaps miss the cache less often. (The one of container/heap boxes what it holds: a tenth of a run.)
const children = 4

// pop takes the earliest out.
func (q *Queue) pop() due {
	first, last := q.due[0], len(q.due)-1
	q.due[0], q.due[last] = q.due[last], due{}
	q.due = q.due[:last]
	for i := 0; ; {
		least := i
		for c := children*i + 1; c <= children*i+children && c < last; c++ {
			if q.due[c].before(&q.due[least]) {
				least = c
			}
		}
		if least == i {
			return first
		}
		q.due[i], q.due[least] = q.due[least], q.due[i]
		i = least
	}
}

// Run lets everything happen up to and including an instant, and returns then; enough, asked after each thing, ends it early.
func (q *Queue) Run(until time.Duration, enough func() bool) {
	for len(q.due) > 0 && q.due[0].at <= until {
		d := q.pop()
		q.now = d.at
		q.done++
		d.do()
		if enough() {
			return
		}
	}
	q.now = max(q.now, until)
}
