package roster

import "github.com/shardmanager/shardmanager/internal/shard"

// mayServeOn takes a leader's word whether the lease may go on while nobody vouches (R28, R34). That it may not is confirmed with a renewal, once
// the file says so too.
func (r *Roster) mayServeOn(on bool, out *Effects) {
	r.saved.ServeOn = on
	if on != r.file.serveOn && !r.file.saving {
		r.file.saving = true
		r.save(out)
	}
}

func (r *Roster) serveOnSaved(ev FileSaved) {
	if ev.Saved.Incarnation == r.saved.Incarnation {
		r.file.saving = false
		if ev.Err == "" {
			r.file.serveOn = ev.Saved.ServeOn
		}
	}
}

// tickHold lets the lease go on without anybody's word while no leader vouches and the store does not answer: early enough that the application
// never sees it end. Who vouches next takes over; a fence, or a key that is gone, ends the incarnation as ever.
func (r *Roster) tickHold(now shard.Instant, out *Effects) {
	left, asked := r.lease.remaining(now), r.reads.asked
	unanswered := r.reads.failures > 0 || !asked.IsZero() && asked.WaitAge(now) >= r.validity()/6
	if !r.saved.ServeOn || !unanswered || left > r.validity()/3 {
		return
	}
	if r.lease.by != ByHold || left == 0 {
		r.trace(out, Trouble, "serving on", "no leader vouches and the store does not answer: two servers may serve a shard now, which the app's spec accepts")
	}
	out.Hints = append(out.Hints, HintPull)
	r.lease.end, r.lease.by, r.lease.told = now.Add(r.validity()), ByHold, false
}
