package roster_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// shown checks the invariants and writes the effects down, one a line.
func (w *world) shown() []string {
	w.check()
	var lines []string
	say := func(kind, format string, values ...any) {
		if !w.quiet[kind] {
			lines = append(lines, strings.TrimSpace(kind+" "+fmt.Sprintf(format, values...)))
		}
	}
	for _, op := range w.out.Store {
		switch op := op.(type) {
		case roster.Save:
			w.saved = op.Saved
			state := map[bool]string{true: "ended", false: "going"}[op.Saved.Ended]
			if op.Saved.ProvenDead {
				state += ", proven dead"
			}
			if op.Saved.ServeOn {
				state += ", may serve on"
			}
			say("save", "%x %s, session %s", uint64(op.Saved.Incarnation), state, op.Saved.Session)
		case roster.RegisterKey:
			say("register-key", "%x, old session %q", uint64(op.Server.Incarnation), op.Old)
		case roster.ReadKey:
			say("read-key", "%x", uint64(op.Saved.Incarnation))
		case roster.RenewSession:
			say("renew-session", "%s", op.Session)
		case roster.DestroySession:
			say("destroy-session", "%s", op.Session)
		}
	}
	for _, c := range w.out.Calls {
		names := [...]string{"", "Activate", "AddShard", "DropShard", "PrepareAddShard", "PrepareDropShard", "CancelMove", "CollectLoad", "EndIncarnation",
			"UpdateMembership"}
		text := fmt.Sprintf("%d %s %s %s", c.ID, names[c.Kind], c.Shard, c.Order)
		if c.Shard == "" {
			text = fmt.Sprintf("%d %s %x", c.ID, names[c.Kind], uint64(c.Incarnation))
		}
		if c.Role == shard.Secondary {
			text += " secondary"
		}
		if c.Peer != (shard.Peer{}) {
			text += " peer " + string(c.Peer.Server)
		}
		for _, m := range c.Members {
			text += " member " + string(m.Server)
		}
		say("call", "%s within %v", text, c.Deadline)
	}
	for _, id := range w.out.Cancels {
		say("cancel", "call %d", id)
	}
	for _, m := range w.out.Messages {
		say("send", "%s", message(m.Body))
	}
	for _, a := range w.out.Attach {
		if a.Incarnation == 0 {
			say("attach", "nobody")
		} else {
			say("attach", "%x", uint64(a.Incarnation))
		}
	}
	for _, h := range w.out.Hints {
		say("hint", "%s", [...]string{"", "pull", "ended"}[h])
	}
	for _, r := range w.out.Replies {
		say("reply", "%s", reply(r))
	}
	for _, d := range w.out.Trace {
		if d.Weight != roster.Detail {
			say("note", "%s: %s", d.What, d.Why)
		}
	}
	return lines
}

func message(body roster.Body) string {
	switch b := body.(type) {
	case roster.Renew:
		text := fmt.Sprintf("renew %d", b.Sequence)
		for _, l := range b.Loads {
			text += fmt.Sprintf(" %s:%d", l.Shard, l.Load["keys"])
		}
		if b.ApplicationSilent >= 1500*time.Millisecond {
			text += fmt.Sprintf(", application silent for %s", b.ApplicationSilent)
		}
		if b.ServeOn {
			text += ", may serve on"
		}
		return text
	case roster.Result:
		kind := [...]string{"", "add", "drop", "prepare-add", "prepare-drop", "cancel", "members"}[b.ID.Kind]
		status := [...]string{"", "DONE", "NOT BEGUN", "BEGUN", "STALE", "FAILED", "BUSY"}[b.Status]
		return fmt.Sprintf("result %s %s %s epoch %s: %s", kind, b.ID.Shard, b.ID.Order, b.ID.Epoch, status)
	case roster.DrainRequested:
		return fmt.Sprintf("drain %v", b.On)
	case roster.RestRequested:
		return fmt.Sprintf("rest %d for %v", b.Sequence, b.Length)
	case roster.Ended:
		return fmt.Sprintf("ended %x, proven dead %v", uint64(b.Incarnation), b.ProvenDead)
	}
	return fmt.Sprintf("unknown %T", body)
}

func reply(r roster.Reply) string {
	text := fmt.Sprintf("%d:", r.Request)
	if r.Refusal != 0 {
		return text + " refused: " + r.Why
	}
	if r.Incarnation != 0 {
		text += fmt.Sprintf(" incarnation %x", uint64(r.Incarnation))
	} else {
		text += fmt.Sprintf(" remaining %v", r.Remaining)
	}
	if r.Ended {
		text += " ended"
	}
	return text
}

func (w *world) view() string {
	v := w.r.View(w.now)
	text := fmt.Sprintf("%s, lease %v by %q", v.Life, v.Remaining, v.VouchedBy.String())
	if v.Draining {
		text += ", draining"
	}
	for _, h := range v.Held {
		text += fmt.Sprintf(", %s %s at %d max %s", h.Shard, h.Phase, h.Term, h.Max)
	}
	return text
}

// check is what must hold after every step, whatever happened.
func (w *world) check() {
	v := w.r.View(w.now)
	if v.Remaining > 0 && v.Life != roster.Live {
		w.t.Errorf("a lease of %v while %s", v.Remaining, v.Life)
	}
	if v.Remaining > max(w.longest(), 30*time.Second) {
		w.t.Errorf("a lease of %v is longer than anything that is granted", v.Remaining)
	}
	for _, h := range v.Held {
		if h.Term > h.Max.Term || (h.Phase == shard.None) != (h.Term == 0) {
			w.t.Errorf("shard %s is %s at term %d with highest order %s", h.Shard, h.Phase, h.Term, h.Max)
		}
	}
	for _, op := range w.out.Store {
		if save, ok := op.(roster.Save); ok && save.Saved.Ended {
			w.ended[save.Saved.Incarnation] = true
		}
	}
	for _, m := range w.out.Messages {
		if e, ok := m.Body.(roster.Ended); ok && !w.ended[e.Incarnation] {
			w.t.Errorf("incarnation %x is reported as ended before the file says so", uint64(e.Incarnation))
		}
	}
	if v.Life == roster.Live && w.ended[v.Server.Incarnation] {
		w.t.Errorf("incarnation %x has ended and lives again", uint64(v.Server.Incarnation))
	}
}

func (w *world) longest() time.Duration { return settings().Validity }
