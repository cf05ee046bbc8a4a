package virtual

import "time"

// Process is one life of a process: what reaches it while it stands still waits, and nothing reaches it once it is dead.
type Process struct {
	queue  *Queue
	dead   bool
	halted int // by so many causes
	inbox  []func()
}

// Start begins a process.
func Start(q *Queue) *Process { return &Process{queue: q} }

// Alive reports that it has not ended; it may stand still.
func (p *Process) Alive() bool { return p != nil && !p.dead }

// Runs reports that it lives and does not stand still.
func (p *Process) Runs() bool { return p.Alive() && p.halted == 0 }

// Do has the process do something: now, once it goes on, or never.
func (p *Process) Do(do func()) {
	switch {
	case !p.Alive():
	case p.halted > 0:
		p.inbox = append(p.inbox, do)
	default:
		do()
	}
}

// After has the process do something once d of true time has passed.
func (p *Process) After(d time.Duration, do func()) {
	p.queue.After(d, func() { p.Do(do) })
}

// Every has the process do something again and again. One that stood still does it once when it goes on.
func (p *Process) Every(d time.Duration, do func()) {
	var again func()
	once := func() {
		do()
		if p.Alive() {
			p.queue.After(d, again)
		}
	}
	again = func() { p.Do(once) }
	p.queue.After(d, again)
}

// Halt lets it stand still, as SIGSTOP does.
func (p *Process) Halt() { p.halted++ }

// Continue lets it go on, when every Halt was taken back.
func (p *Process) Continue() {
	p.halted--
	for p.halted == 0 && !p.dead && len(p.inbox) > 0 {
		do := p.inbox[0]
		p.inbox = p.inbox[1:]
		do()
	}
}

// Kill ends it.
func (p *Process) Kill() { p.dead, p.inbox = true, nil }
