package ownership

import (
	"time"

	"github.com/shardmanager/shardmanager/sdk"
)

// Call is one call of a callback.
type Call struct {
	Server   string
	Shard    string
	Callback string // as sdk names its method
	Term     uint64
	// Count is the how many-eth call of this callback for the shard it is in this process, from 1.
	Count int
}

// course is how far one shard has come in one process, as its callbacks tell it.
type course struct {
	running   string // a callback that must not overlap with others; empty: none
	updating  bool   // UpdateMembership runs
	prepared  bool
	activated uint64   // Activate returned nil last at this term; 0: not since the last DropShard
	raised    uint64   // highest term that any callback carried since the last DropShard
	role      sdk.Role // 0: neither AddShard nor ChangeRole has returned since the last DropShard
	counts    map[string]int
}

// course is that of a shard. The caller holds the checker's mu.
func (s *Server) course(shard string) *course {
	k := s.callback[shard]
	if k == nil {
		k = &course{counts: map[string]int{}}
		s.callback[shard] = k
	}
	return k
}

// beside are callbacks that may run beside others of their shard.
func beside(callback string) bool {
	switch callback {
	case "UpdateMembership", "StreamState", "EndState":
		return true
	}
	return false
}

// begin notes a call, checks that it may come now, and returns it.
func (s *Server) begin(callback string, at sdk.Shard, activator bool) Call {
	c := s.checker
	c.mu.Lock()
	defer c.mu.Unlock()
	k := s.course(at.ID)
	k.counts[callback]++
	call := Call{Server: s.name, Shard: at.ID, Callback: callback, Term: at.Term, Count: k.counts[callback]}
	if s.killed {
		return call // it does nothing any more
	}
	if k.running != "" && !beside(callback) {
		c.violate(at.ID, "%s at %s while %s still runs", callback, s, k.running)
	}
	if wrong := k.wrong(callback, at, activator); wrong != "" {
		c.violate(at.ID, "%s at %s, term %d, role %s: %s", callback, s, at.Term, at.Role, wrong)
	}
	switch {
	case callback == "UpdateMembership":
		k.updating = true
	case !beside(callback):
		k.running = callback
	}
	return call
}

// wrong says why a callback must not come now; empty: it may.
func (k *course) wrong(callback string, at sdk.Shard, activator bool) string {
	if callback != "DropShard" && at.Term < k.raised {
		return "an older term than a callback before it carried"
	}
	switch callback {
	case "PrepareAddShard":
		if k.role != 0 || k.activated != 0 {
			return "the shard is here, and was not dropped"
		}
	case "AddShard":
		if at.Role == sdk.RolePrimary && activator && k.activated != at.Term {
			return "Activate has not returned at that term"
		}
		if at.Role == sdk.RoleSecondary && k.role == sdk.RolePrimary {
			return "a primary becomes a secondary by ChangeRole"
		}
	case "ChangeRole":
		if k.role == 0 && k.activated == 0 {
			return "the shard was never added"
		}
		if at.Role == sdk.RolePrimary && activator && k.activated != at.Term {
			return "Activate has not returned at that term"
		}
	case "LastState", "StateDelta":
		if activator && k.activated == 0 {
			return "it has not been activated"
		}
	case "UpdateMembership":
		if k.updating {
			return "another UpdateMembership still runs"
		}
	}
	return ""
}

// end notes the end of a call.
func (s *Server) end(callback string, at sdk.Shard, took time.Duration, err error) {
	c := s.checker
	c.mu.Lock()
	defer c.mu.Unlock()
	k := s.course(at.ID)
	if s.killed {
		return
	}
	switch {
	case callback == "UpdateMembership":
		k.updating = false
	case !beside(callback):
		k.running = ""
	}
	if err != nil {
		c.note(at.ID, "%s: %s at term %d failed after %s: %v", s, callback, at.Term, took, err)
		return
	}
	c.note(at.ID, "%s: %s at term %d, %s", s, callback, at.Term, took)
	k.done(callback, at)
}

func (k *course) done(callback string, at sdk.Shard) {
	if callback == "DropShard" {
		k.prepared, k.activated, k.raised, k.role = false, 0, 0, 0
		return
	}
	k.raised = max(k.raised, at.Term)
	switch callback {
	case "PrepareAddShard":
		k.prepared = true
	case "Activate":
		k.activated = at.Term
	case "AddShard", "ChangeRole":
		k.role = at.Role
		if at.Role == sdk.RolePrimary {
			k.activated = at.Term
		} else {
			k.activated = 0
		}
	}
}
