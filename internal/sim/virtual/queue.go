package virtual

import (
	"container/heap"
	"time"
)

// Queue is what is to happen. The zero value is ready, at instant 0.
type Queue struct {
	now  time.Duration // since the beginning of the run
	next uint64
	due  dueList
	done uint64
}

// due is one thing to happen.
type due struct {
	at     time.Duration
	number uint64 // in the order of asking
	do     func()
}

// Now is the true instant, since the beginning of the run.
func (q *Queue) Now() time.Duration { return q.now }

// Done is how many things have happened.
func (q *Queue) Done() uint64 { return q.done }

// After has something happen once d has passed; at once if d is not positive, but not before this returns.
func (q *Queue) After(d time.Duration, do func()) {
	q.next++
	heap.Push(&q.due, due{at: q.now + max(d, 0), number: q.next, do: do})
}

// Run lets everything happen up to and including an instant, and returns then; enough, asked after each thing, ends it early.
func (q *Queue) Run(until time.Duration, enough func() bool) {
	for len(q.due) > 0 && q.due[0].at <= until {
		d := heap.Pop(&q.due).(due)
		q.now = d.at
		q.done++
		d.do()
		if enough() {
			return
		}
	}
	q.now = max(q.now, until)
}

type dueList []due

func (l dueList) Len() int { return len(l) }
func (l dueList) Less(i, j int) bool {
	return l[i].at < l[j].at || l[i].at == l[j].at && l[i].number < l[j].number
}
func (l dueList) Swap(i, j int) { l[i], l[j] = l[j], l[i] }
func (l *dueList) Push(x any)   { *l = append(*l, x.(due)) }
func (l *dueList) Pop() any {
	old := *l
	last := old[len(old)-1]
	old[len(old)-1] = due{}
	*l = old[:len(old)-1]
	return last
}
