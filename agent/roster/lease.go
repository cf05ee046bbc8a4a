package roster

import (
	"fmt"
	"time"

	"github.com/shardmanager/shardmanager/agent/retry"
	"github.com/shardmanager/shardmanager/internal/invariant"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// Voucher is who vouched for the lease last.
type Voucher uint8

// Vouchers.
const (
	ByLeader Voucher = iota + 1
	ByStore
	ByHold // nobody: it serves on without anybody's word (R34)
)

// String names the voucher as AgentServerStatus does.
func (v Voucher) String() string {
	switch v {
	case ByLeader:
		return "leader"
	case ByStore:
		return "store"
	case ByHold:
		return "hold"
	}
	return ""
}

// lease is the permission to serve. Invariant: end is zero unless the incarnation lives.
type lease struct {
	end     shard.Instant
	by      Voucher
	granted shard.Instant // when the newest question was asked that a leader granted
	proved  shard.Instant // when the newest question was asked that anybody answered with a proof
	told    bool          // its running out was traced
}

// extend moves the end to asked + length if that is later: an end only moves earlier by an end of the incarnation (R6).
func (l *lease) extend(asked, now shard.Instant, length time.Duration, by Voucher) {
	if invariant.Enabled {
		invariant.Check(!asked.IsZero() && asked.Passed(now), "a lease is extended by the answer to a question of %v, now is %v (R6)", asked, now)
	}
	if end := asked.Add(length); end.Remaining(now) > l.end.Remaining(now) {
		l.end, l.told = end, false
	}
	l.by = by
	l.proved = asked
	if by == ByLeader {
		l.granted = asked
	}
}

func (l *lease) remaining(now shard.Instant) time.Duration {
	if l.end.IsZero() {
		return 0
	}
	return max(0, l.end.Remaining(now))
}

// link is the stream to the leader.
type link struct {
	up       bool
	stream   StreamID
	epoch    shard.Epoch
	interval time.Duration
	validity time.Duration
	sequence uint64
	pending  question // the Renew under way
	renewAt  shard.Instant
	hung     bool          // it was told that the application does not pull
	denied   bool          // the newest grant was 0
	good     shard.Instant // when it began, or granted last
}

// question is one asked of the leader.
type question struct {
	sequence uint64
	asked    shard.Instant
}

// reads is the renewal through the store.
type reads struct {
	asked    shard.Instant // zero: no read is under way
	last     shard.Instant // when the newest read was asked
	failures int
	count    uint64 // makes the jitter differ from read to read
	now      bool   // out of turn
}

type sessionTimer struct {
	at         shard.Instant
	busy, lost bool
}

func (r *Roster) interval() time.Duration {
	if r.link.interval > 0 {
		return r.link.interval
	}
	return r.settings.Interval
}

// validity is the shorter of ours and the leader's: its fence waits for its own.
func (r *Roster) validity() time.Duration {
	if r.link.validity > 0 {
		return min(r.link.validity, r.settings.Validity)
	}
	return r.settings.Validity
}

// leaderVouches: a leader granted what was asked less than 1.5 intervals ago.
func (r *Roster) leaderVouches(now shard.Instant) bool {
	return r.link.up && !r.lease.granted.IsZero() && r.lease.granted.PermissionAge(now) < r.interval()*3/2
}

func (r *Roster) attached(now shard.Instant, ev Attached, out *Effects) {
	if ev.Incarnation != r.saved.Incarnation || (r.life != Live && r.life != Ending) {
		return
	}
	if ev.Epoch.Compare(r.highest) < 0 {
		r.trace(out, Trouble, "leader refused", fmt.Sprintf("its epoch %s is older than %s, which was obeyed already", ev.Epoch, r.highest))
		out.Attach = append(out.Attach, Attachment{}, Attachment{Incarnation: r.saved.Incarnation})
		return
	}
	raised := ev.Epoch.Generation > r.highest.Generation
	if r.highest = ev.Epoch; raised { // whoever restarts has to know (R14)
		r.save(out)
	}
	r.link = link{
		up: true, stream: ev.Stream, epoch: ev.Epoch, interval: ev.Interval, validity: ev.Validity, renewAt: now, good: now,
	}
	r.drain.known = false
	r.loads.All()
	r.trace(out, Notable, "attached", "leader epoch "+ev.Epoch.String())
	if r.life == Ending {
		r.tickEnding(now, out)
		return
	}
	r.problem = ""
	if r.drain.on {
		r.send(out, DrainRequested{On: true})
	}
	r.tickRenew(now, out)
}

func (r *Roster) detached(ev Detached, out *Effects) {
	if !r.link.up || ev.Stream != r.link.stream {
		return
	}
	// What the leader said of interval and validity stays in use until the next one speaks.
	r.link.up, r.link.pending, r.link.denied = false, question{}, false
	r.trace(out, Notable, "detached", ev.Why)
}

func (r *Roster) send(out *Effects, body Body) {
	if r.link.up {
		out.Messages = append(out.Messages, Message{Stream: r.link.stream, Body: body})
	}
}

// tickRenew asks the leader once an interval; one question is under way, unless it stayed unanswered for 1.5 intervals.
func (r *Roster) tickRenew(now shard.Instant, out *Effects) {
	silent := r.pulled.WaitAge(now)
	hung := silent >= r.interval()*3/2
	if !r.link.up || !due(r.link.renewAt, now) && (!hung || r.link.hung) { // that it hangs, the leader is to know at once
		return
	}
	if p := r.link.pending; p.sequence != 0 && p.asked.WaitAge(now) < r.interval()*3/2 {
		return
	}
	r.link.sequence++
	r.link.pending = question{sequence: r.link.sequence, asked: now}
	r.link.renewAt = now.Add(r.interval())
	r.link.hung = hung
	r.send(out, Renew{Sequence: r.link.sequence, AskedNS: now.Raw, Loads: r.loads.take(), Transfers: r.transfers, ApplicationSilent: silent,
		ServeOn: r.saved.ServeOn || r.file.serveOn || r.file.saving})
}

func (r *Roster) granted(now shard.Instant, ev Granted, out *Effects) {
	p := r.link.pending
	if r.life != Live || !r.link.up || ev.Stream != r.link.stream || p.sequence == 0 || ev.Sequence != p.sequence {
		return
	}
	r.link.pending = question{}
	if r.link.epoch.Compare(r.highest) < 0 {
		return // R3: grants of an older leader are refused too
	}
	denied := ev.Remaining <= 0
	if denied != r.link.denied {
		what := map[bool]string{true: "lease not granted", false: "lease granted again"}[denied]
		r.trace(out, Notable, what, "by the leader of epoch "+r.link.epoch.String())
	}
	r.link.denied = denied
	if !denied {
		r.link.good = now
		r.mayServeOn(ev.ServeOn, out)
		r.vouched(now, p.asked, ev.Remaining, ByLeader, out)
	}
}

// tickLink leaves a leader that granted nothing for V: it may be cut off from the store, while another leads already and waits for us.
func (r *Roster) tickLink(now shard.Instant, out *Effects) {
	if r.life != Live || !r.link.up || r.link.good.WaitAge(now) < r.validity() {
		return
	}
	r.trace(out, Trouble, "leader left", fmt.Sprintf("it granted nothing for %s", r.validity()))
	r.link.up, r.link.pending, r.link.denied = false, question{}, false
	out.Attach = append(out.Attach, Attachment{}, Attachment{Incarnation: r.saved.Incarnation})
}

// vouched lets the lease go on. A lease that had run out resumes (R31): the application must look.
func (r *Roster) vouched(now, asked shard.Instant, length time.Duration, by Voucher, out *Effects) {
	had := r.lease.remaining(now) > 0
	r.lease.extend(asked, now, length, by)
	if !had && r.lease.remaining(now) > 0 {
		r.trace(out, Notable, "lease", "vouched for by the "+by.String())
		out.Hints = append(out.Hints, HintPull)
	}
}

func (r *Roster) tickLease(now shard.Instant, out *Effects) {
	if !r.lease.told && !r.lease.end.IsZero() && r.lease.remaining(now) == 0 {
		r.lease.told = true
		r.trace(out, Trouble, "lease ran out", "neither a leader nor the store vouched for it")
	}
}

// tickReads asks the store while no leader vouches: every V/3 ± 20 %, the first time at once (R18).
func (r *Roster) tickReads(now shard.Instant, out *Effects) {
	if !r.reads.asked.IsZero() || (!r.reads.now && (r.leaderVouches(now) || !r.readDue(now))) {
		return
	}
	r.reads.asked, r.reads.last, r.reads.now = now, now, false
	r.reads.count++
	out.Store = append(out.Store, ReadKey{Saved: r.saved})
}

func (r *Roster) readDue(now shard.Instant) bool {
	pause := r.validity() / 3
	if r.reads.failures > 1 { // the store is in trouble: half as often
		pause *= 2
	}
	pause = retry.Spread(pause, uint64(r.saved.Incarnation)+r.reads.count)
	old := func(at shard.Instant) bool { return at.IsZero() || at.WaitAge(now) >= pause }
	return old(r.lease.proved) && old(r.reads.last)
}

func (r *Roster) keyRead(now shard.Instant, ev KeyRead, out *Effects) {
	asked := r.reads.asked
	if asked.IsZero() || ev.Incarnation != r.saved.Incarnation {
		return
	}
	r.reads.asked = shard.Instant{}
	if r.life != Live {
		return
	}
	switch ev.State {
	case KeyOurs:
		r.reads.failures = 0
		r.vouched(now, asked, r.validity(), ByStore, out)
	case KeyGone:
		r.reads.failures = 0
		if r.leaderVouches(now) { // R13: a key lost without a fence
			r.trace(out, Trouble, "key lost", ev.Why+"; the leader goes on vouching")
			return
		}
		r.endIncarnation(now, endCause{reason: "the server's key is gone: " + ev.Why}, out)
	case KeyUnknown: // R31: neither proof nor fence
		r.reads.failures++
		r.trace(out, Trouble, "store read failed", ev.Why)
	}
}

// tickSession renews the session, spread as reads are: that proves nothing, it only keeps the key from going.
func (r *Roster) tickSession(now shard.Instant, out *Effects) {
	s := &r.session
	if s.busy || s.lost || r.saved.Session == "" || (!s.at.IsZero() && !s.at.Passed(now)) {
		return
	}
	s.busy, s.at = true, now.Add(retry.Spread(r.settings.SessionRenewal, uint64(r.saved.Incarnation)+uint64(now.Raw)))
	out.Store = append(out.Store, RenewSession{Session: r.saved.Session})
}

func (r *Roster) sessionRenewed(now shard.Instant, ev SessionRenewed, out *Effects) {
	if ev.Session != r.saved.Session {
		return
	}
	r.session.busy = false
	switch {
	case ev.Lost:
		r.session.lost, r.reads.now = true, true
		r.trace(out, Trouble, "session lost", "the store no longer knows it; the key is read again")
	case ev.Err != "":
		r.session.at = now.Add(retry.Spread(r.settings.SessionRenewal/2, uint64(r.saved.Incarnation)+uint64(now.Raw))) // sooner would be a herd
		r.trace(out, Trouble, "session not renewed", ev.Err)
	}
}

func (r *Roster) pull(now shard.Instant, ev Pull, out *Effects) {
	reply := r.Standing(ev.Incarnation)
	reply.Request = ev.Request
	if reply.Refusal == 0 && !reply.Ended {
		reply.Remaining = r.lease.remaining(now)
		r.transfers = ev.Transfers
		r.pulled = now
		r.introduce(out)
		r.restPulled(now, out)
	}
	out.Replies = append(out.Replies, reply)
}

// Standing tells how an incarnation stands: it lives, it has ended, or its process must register first.
func (r *Roster) Standing(incarnation shard.Incarnation) Reply {
	reply := Reply{Highest: r.highest}
	known := incarnation != 0 && incarnation == r.saved.Incarnation
	switch {
	case known && r.life == Live:
	case known && r.life == Resuming, incarnation == 0:
		reply.Refusal, reply.Why = RefusedUnknown, "register first: the agent does not know this process"
	default:
		reply.Ended = true
	}
	return reply
}
