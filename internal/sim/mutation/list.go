package mutation

import "slices"

// All are the defects, each with the promises that it may break.
func All() []Mutation {
	return slices.Concat(leases(), grants(), moves(), secondaries(), plans(), agents())
}

// leases are defects of leases, fences and leadership.
func leases() []Mutation {
	const ledger = "allocator/ledger/"
	return []Mutation{
		{Name: "no wait after a fence", Rule: "DESIGN §5", File: "allocator/timing/settings.go",
			From: "	return shard.CoverDrift(s.Validity)\n", To: "	return shard.CoverDrift(1)\n", Promises: []int{1}},
		{Name: "the wait after a fence does not cover drift", Rule: "R8", File: "allocator/timing/settings.go",
			From: "	return shard.CoverDrift(s.Validity)\n", To: "	return s.Validity + shard.CoverDrift(0)\n", Promises: []int{1}},
		{Name: "a fence leaves the key", Rule: "R2", File: ledger + "write.go",
			From: "			if op.Registered = &key; key.Server.Incarnation == who.Incarnation {", To: "			if key.Server.Incarnation == who.Incarnation {", Promises: []int{1, 3, 7, 8}},
		{Name: "a fence does not wait for the predecessor's last grant", Rule: "R1", File: ledger + "lease.go",
			From: "shard.LaterOf(shard.LaterOf(fenced, f.granted), l.base)", To: "shard.LaterOf(fenced, f.granted)", Promises: []int{1}},
		{Name: "every predecessor is taken for one that left in order", Rule: "R1", File: ledger + "load.go",
			From: "l.s.PredecessorsEnd(ev.Acquired, ev.Clean)", To: "l.s.PredecessorsEnd(ev.Acquired, true)", Promises: []int{1}},
		{Name: "a fence does not wait for a rest lease", Rule: "R19", File: ledger + "lease.go",
			From: "	return shard.LaterOf(end, f.rest)\n", To: "	return end\n", Promises: []int{1}},
		{Name: "leases are granted without proof of the lock", Rule: "R7", File: ledger + "lease.go",
			From: "f.attached() && f.alive() && l.provesLock()", To: "f.attached() && f.alive()", Promises: []int{1}},
		{Name: "the lock is believed in for twice its validity", Rule: "R7", File: ledger + "ledger.go",
			From: "l.confirmed.PermissionAge(l.now) < l.s.LeaderValidity", To: "l.confirmed.PermissionAge(l.now) < 2*l.s.LeaderValidity", Promises: []int{1}},
		{Name: "every lock is given up with the clean mark", Rule: "R1", File: "internal/sim/tenure.go",
			From: "	if s.Clean {\n", To: "	if s.Clean = true; s.Clean {\n", Promises: []int{1}},
		{Name: "a restore does not wait until leases are over", Rule: "R14", File: "allocator/timing/settings.go",
			From: "	return shard.LaterOf(granted.Add(s.AfterFence()), granted.Add(shard.CoverDrift(rest)))\n", To: "	_ = rest\n	return granted\n", Promises: []int{1}},
		{Name: "a restore leaves the keys of servers", Rule: "R14", File: "internal/sim/restore.go",
			From: "	clear(s.keys)\n", To: "", Promises: []int{1}},
		{Name: "a restore does not raise the generation", Rule: "R14", File: "allocator/generation/generation.go",
			From: "	next := slices.Max(seen) + 1\n", To: "	next := slices.Max(seen)\n", Promises: []int{2}},
		{Name: "most losses at once are judged like one", Rule: "R15", File: ledger + "hold.go",
			From: "l.hold.Weigh(l.now, &losses, l.s.HoldFraction, patience)", To: "l.hold.Weigh(l.now, &losses, 1, patience)", Promises: []int{9}},
	}
}

// grants are defects of rows, terms and orders.
func grants() []Mutation {
	const ledger = "allocator/ledger/"
	return []Mutation{
		{Name: "a grant does not raise the term", Rule: "R11", File: ledger + "work.go",
			From: "	next.Term, next.Move = t.nextTerm(next.Term), next.Move+1\n	next.Primary", To: "	next.Move++\n	next.Primary", Promises: []int{2, 3}},
		{Name: "a move reserves no term", Rule: "R11", File: ledger + "move.go",
			From: "	next.Term, next.Move = t.nextTerm(next.Term), next.Move+1\n", To: "	next.Move++\n", Promises: []int{2, 3, 8}},
		{Name: "what is staged counts as durable", Rule: "R24", File: ledger + "write.go",
			From: "	a.staged[at] = row\n	a.clearUnplaced(at)\n", To: "	a.staged[at] = row\n	a.rows[at] = row\n	a.clearUnplaced(at)\n", Promises: []int{1, 2, 3, 5}},
		{Name: "an unknown outcome counts as committed", Rule: "R12", File: "internal/sim/writer.go",
			From: "			w.resolve(wr, began, w.number)\n			return\n", To: "			_ = began\n			w.settle(wr, didCommit)\n			return\n", Promises: []int{2, 1, 3}},
		{Name: "a write that failed is not tried again", Rule: "promise 8", File: ledger + "write.go",
			From: "	case NotCommitted:\n		l.requeue(f)\n", To: "	case NotCommitted:\n", Promises: []int{3, 8}},
		{Name: "a lost primary's shard goes to another at once", Rule: "R11", File: ledger + "work.go",
			From: "	if owner.gone() {\n		t.vacant()\n		return\n	}\n	t.primary(owner)\n", To: "	if owner.gone() || !owner.alive() {\n		t.vacant()\n		return\n	}\n	t.primary(owner)\n",
			Promises: []int{1, 2, 3}},
		{Name: "a decision has no reason", Rule: "promise 10", File: ledger + "work.go",
			From: "Decision{What: \"granted\", Server: to.Server, Incarnation: to.Incarnation, Why: why}", To: "Decision{What: \"granted\", Server: to.Server, Incarnation: to.Incarnation, Why: why[:0]}",
			Promises: []int{10}},
	}
}

// moves are defects of moves.
func moves() []Mutation {
	const ledger = "allocator/ledger/"
	return []Mutation{
		{Name: "a target takes over before the source stopped", Rule: "DESIGN §6", File: ledger + "move.go",
			From: "	case w.handed:\n		t.takeOver(\"the source handed over\")\n", To: "	case w.handed || w.prepared:\n		t.takeOver(\"the source handed over\")\n", Promises: []int{1, 3}},
		{Name: "an abort does not wait until the target has stopped", Rule: "R10", File: ledger + "move.go",
			From: "	case !stopped:\n		w.waits = \"the target to stop\"\n", To: "	case false:\n", Promises: []int{1, 2, 3}},
		{Name: "after an abort the source resumes without a new term", Rule: "R10", File: ledger + "move.go",
			From: "notBegun := (w.cancel == NotBegun || !w.mayHand) && !w.idle", To: "notBegun := true", Promises: []int{1, 3, 8, 4}},
		{Name: "a move is not told again on a new stream", Rule: "promise 8", File: ledger + "command.go",
			From: "if !to.attached() || !to.alive() || c.stream == to.stream && !c.next.Passed(t.now) {", To: "if !to.attached() || !to.alive() || c.sent {", Promises: []int{8, 3}},
		{Name: "caps on moves are not looked at", Rule: "promise 5", File: ledger + "place.go",
			From: "	full := t.a.moves >= limits.Moves\n", To: "	ends = nil\n	full := false\n	_ = limits\n", Promises: []int{5}},
		{Name: "who is silent is fenced for what he does not do", Rule: "promise 9", File: ledger + "evidence.go",
			From: "	return f.attached() && !f.suspicion.suspect && t.after(since, stuckFactor*t.s.StepDeadline)\n",
			To:   "	_ = since\n	return f.attached() && t.after(told, stuckFactor*t.s.StepDeadline)\n", Promises: []int{9}},
	}
}

// secondaries are defects of replication.
func secondaries() []Mutation {
	const ledger = "allocator/ledger/"
	return []Mutation{
		{Name: "a newcomer counts as in sync before the primary says so", Rule: "R27", File: ledger + "replica.go",
			From: "	e.set(s.Owner, Syncing, \"secondary joined\", \"it holds the shard; the primary brings it up to date\", urgent)\n", To: "	t.inSync(e, s)\n", Promises: []int{3}},
		{Name: "a secondary that is not in sync is preferred", Rule: "R27", File: ledger + "replica.go",
			From: "	best, waiting := t.fittest(InSync)\n", To: "	best, waiting := t.fittest(Syncing)\n", Promises: []int{3}},
		{Name: "the lost primary's shard does not wait for those in sync", Rule: "R27", File: ledger + "replica.go",
			From: "	if best == nil && !waiting {\n		why = \"nobody in sync is left\"\n", To: "	if waiting = false; best == nil {\n		why = \"nobody in sync is left\"\n", Promises: []int{3}},
		{Name: "an heir counts as no move", Rule: "promise 5", File: "allocator/row/row.go",
			From: "|| r.Open == nil && r.Heir(s) {", To: "|| false {", Promises: []int{5}},
	}
}

// plans are defects of placement and of planned events.
func plans() []Mutation {
	const ledger = "allocator/ledger/"
	return []Mutation{
		{Name: "only one copy of a move is charged", Rule: "promise 5", File: ledger + "place.go",
			From: "			primary.To = to\n", To: "			_ = to\n", Promises: []int{5}},
		{Name: "the copy that forwards is not charged", Rule: "promise 5", File: "allocator/row/row.go",
			From: "	case r.Open == nil || r.Open.Phase == Opened:\n		return Owner{}\n", To: "	case r.Open == nil || r.Open != nil:\n		return Owner{}\n", Promises: []int{5}},
		{Name: "caps on planned events count nobody", Rule: "R29", File: "allocator/maintenance/caps/caps.go",
			From: "	others := v.down(ids, taken, func(s *Server) bool { return s.App == app })\n", To: "	others := v.down(ids, taken, func(s *Server) bool { return s.App == app && s.App == \"\" })\n", Promises: []int{6}},
		{Name: "caps on planned events do not count what failed", Rule: "R29", File: ledger + "maintenance.go",
			From: "			s.Down = st.State.String() + \": \" + st.Reason\n", To: "			_ = st.Reason\n", Promises: []int{6}},
		{Name: "a changed policy is not read again", Rule: "promise 5", File: "allocator/policy/resolve/resolve.go",
			From: "c != nil && bytes.Equal(c.written, in.Policy.Written) {", To: "c != nil && bytes.Equal(c.written, c.written) {", Promises: []int{5}},
		{Name: "a policy allows every server", Rule: "promise 5", File: "allocator/policy/resolve/builder.go",
			From: "	copy(f.Allows, set.Words())\n", To: "	copy(f.Allows, set.Words())\n	f.Allows[0] = ^uint64(0)\n", Promises: []int{5}},
		{Name: "caps on moves of a policy are not looked at", Rule: "promise 5", File: "allocator/policy/resolve/builder.go",
			From: "ServerMoves: atMost(base.ServerMoves, b.in.Policy.MovesPerServer)}", To: "ServerMoves: b.in.Policy.MovesPerServer}", Promises: []int{5}},
	}
}

// agents are defects of agents and applications.
func agents() []Mutation {
	const roster = "agent/roster/"
	return []Mutation{
		{Name: "a leader's grant counts from its answer", Rule: "R6", File: roster + "lease.go",
			From: "r.vouched(now, p.asked, ev.Remaining, ByLeader, out)", To: "r.vouched(now, now, ev.Remaining, ByLeader, out)", Promises: []int{1}},
		{Name: "the store's proof counts from its answer", Rule: "R6", File: roster + "lease.go",
			From: "r.vouched(now, asked, r.validity(), ByStore, out)", To: "r.vouched(now, now, r.validity(), ByStore, out)", Promises: []int{1}},
		{Name: "no proof counts as a proof", Rule: "R31", File: roster + "lease.go",
			From: "	case KeyUnknown: // R31: neither proof nor fence\n", To: "	case KeyUnknown: // R31: neither proof nor fence\n		r.vouched(now, asked, r.validity(), ByStore, out)\n", Promises: []int{1}},
		{Name: "no proof counts as a fence", Rule: "R31", File: roster + "lease.go",
			From: "		r.reads.failures++\n", To: "		r.reads.failures++\n		r.endIncarnation(now, endCause{reason: ev.Why}, out)\n", Promises: []int{7, 4, 3}},
		{Name: "the store is not asked while no leader vouches", Rule: "promise 7", File: roster + "lease.go",
			From: "	if !r.reads.asked.IsZero() || (!r.reads.now && (r.leaderVouches(now) || !r.readDue(now))) {", To: "	if !r.reads.asked.IsZero() || r.link.epoch.Index > 0 || (!r.reads.now && (r.leaderVouches(now) || !r.readDue(now))) {", Promises: []int{7}},
		{Name: "the application counts its lease from the answer", Rule: "R6", File: "internal/sim/application.go",
			From: "		a.extend(l, asked.Add(r.Remaining))\n", To: "		a.extend(l, a.host.now().Add(r.Remaining))\n", Promises: []int{1}},
		{Name: "the application hands over while operations run", Rule: "R22", File: "internal/sim/callbacks.go",
			From: "	r.setGate(hold)\n	r.quiet(c.call.Deadline, func(ok bool) {\n", To: "	r.setGate(hold)\n	r.quiet(0, func(ok bool) {\n		ok = true\n", Promises: []int{1, 3}},
	}
}
