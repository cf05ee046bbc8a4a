// Package probation keeps servers that flap from shards, and shards that kill from servers (PROTOCOL R30). It is pure: values in, a judgement and
// the rows to be stored out.
//
// Called by allocator/ledger, which decides where shards go. It stores nothing itself and keeps no time of its own.
package probation

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Row is a change of what is durable about servers that flap and shards that kill.
//
//sumtype:decl
type Row interface{ isRow() }

// PutProbation stores what is left of a server's probation.
type PutProbation struct {
	Server    shard.ServerID
	Probation Probation
}

// RemoveProbation deletes it when it is over.
type RemoveProbation struct{ Server shard.ServerID }

// PutQuarantine stores that a shard is not placed any more.
type PutQuarantine struct{ Quarantine Quarantine }

// RemoveQuarantine lets a shard be placed again.
type RemoveQuarantine struct {
	App   shard.App
	Shard shard.ID
}

func (PutProbation) isRow()     {}
func (RemoveProbation) isRow()  {}
func (PutQuarantine) isRow()    {}
func (RemoveQuarantine) isRow() {}

// Keeper keeps servers on probation and shards in quarantine (PROTOCOL R30). What is to be stored waits in it until taken: nothing hangs on when.
// The zero Keeper knows nothing.
type Keeper struct {
	Probations Probations

	blame       blame
	trials      map[Suspect]trial
	quarantined map[Suspect]Quarantine
	rows        []Row
}

// trialTime is how long a shard that seems to be poison is held back before that is believed: if servers die on without it, they die of
// something else.
const trialTime = 2 * time.Second

// trial is what a shard that is held back would be.
type trial struct {
	since shard.Instant
	as    Quarantine
}

// Load takes over what an earlier leader stored. Quarantines are of shards that index names; others are of an app that is gone.
func (k *Keeper) Load(now shard.Instant, probations map[shard.ServerID]Probation, quarantines []Quarantine, index func(shard.App, shard.ID) (Suspect, bool)) {
	for _, id := range shard.SortedKeys(probations) {
		k.Probations.Load(now, id, probations[id])
	}
	for _, q := range quarantines {
		if who, ok := index(q.App, q.Shard); ok {
			k.quarantine(who, q)
		}
	}
}

func (k *Keeper) quarantine(who Suspect, q Quarantine) {
	if k.quarantined == nil {
		k.quarantined = map[Suspect]Quarantine{}
	}
	k.quarantined[who] = q
}

// Tick notes which rows of probations are to be stored anew, or to be deleted, and ends trials: it returns the shards that are in quarantine
// from now on, and those that are not after all, because no server of their app is left that could have been killed.
func (k *Keeper) Tick(now shard.Instant, alive func(shard.App) bool) (convicted []Quarantine, acquitted []Suspect) {
	for _, id := range k.Probations.due(now) {
		k.rows = append(k.rows, RemoveProbation{id})
	}
	for _, who := range sorted(k.trials) {
		t := k.trials[who]
		switch {
		case t.since.WaitAge(now) < trialTime:
			continue
		case !alive(who.App):
			k.Release(who)
			acquitted = append(acquitted, who)
			continue
		}
		delete(k.trials, who)
		k.quarantine(who, t.as)
		k.rows = append(k.rows, PutQuarantine{t.as})
		convicted = append(convicted, t.as)
	}
	return convicted, acquitted
}

func sorted[V any](m map[Suspect]V) []Suspect {
	return slices.SortedFunc(maps.Keys(m), func(a, b Suspect) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Index, b.Index))
	})
}

// Waiting reports whether rows wait to be stored.
func (k *Keeper) Waiting() bool { return len(k.rows) > 0 }

// Take hands out at most n rows to be stored; Return takes back what could not be. A probation's row is as things stand now: meanwhile a fence may
// have stored a newer one.
func (k *Keeper) Take(now shard.Instant, n int) []Row {
	n = min(n, len(k.rows))
	taken := slices.Clone(k.rows[:n])
	k.rows = k.rows[n:]
	for i, r := range taken {
		switch r := r.(type) {
		case PutProbation:
			taken[i] = k.Probations.row(now, r.Server)
		case RemoveProbation:
			taken[i] = k.Probations.row(now, r.Server)
		case PutQuarantine, RemoveQuarantine:
		}
	}
	return taken
}

// Return puts rows before all others again.
func (k *Keeper) Return(rows []Row) { k.rows = append(slices.Clone(rows), k.rows...) }

// Died blames shards for the proven death of a server. It returns those that are held back from now on, and those that were and are acquitted by
// it: they had nothing to do with it, and a server died all the same. A callback that began before its shard was held back may end in another
// death: that acquits nobody. id names a shard.
func (k *Keeper) Died(now shard.Instant, server shard.ServerID, inCallback, held []Charge, id func(Suspect) shard.ID, l Limits) (heldBack []Quarantine, acquitted []Suspect) {
	struck := k.blame.struck(now, inCallback, held)
	for _, who := range sorted(k.trials) {
		if !slices.ContainsFunc(struck, func(c Charge) bool { return c.Suspect == who }) {
			k.Release(who)
			acquitted = append(acquitted, who)
		}
	}
	for _, who := range k.blame.death(now, inCallback, held, l) {
		if k.Quarantined(who.App, who.Index) != "" {
			continue
		}
		if k.trials == nil {
			k.trials = map[Suspect]trial{}
		}
		q := Quarantine{App: who.App, Shard: id(who.Suspect), Why: fmt.Sprintf("%d servers died of it, the last was %s", k.blame.strikes(who), server)}
		k.trials[who.Suspect] = trial{now, q}
		heldBack = append(heldBack, q)
	}
	return heldBack, acquitted
}

// Served notes that a shard was taken on in a role, and is served from now on.
func (k *Keeper) Served(now shard.Instant, who Charge) { k.blame.served(now, who) }

// Suspected reports whether a server died while it took a shard on in a role, which nobody did since, and when the last died: it is to be tried
// with care.
func (k *Keeper) Suspected(who Charge) (struck shard.Instant, suspected bool) {
	return k.blame.suspected(who)
}

// Blamed reports whether a shard is a suspect in any role, or not to be placed.
func (k *Keeper) Blamed(who Suspect) bool {
	_, first := k.Suspected(Charge{who, shard.Primary})
	_, second := k.Suspected(Charge{who, shard.Secondary})
	return first || second || k.Quarantined(who.App, who.Index) != ""
}

// Quarantined says why a shard is not to be placed; empty: it may be.
func (k *Keeper) Quarantined(app shard.App, at shard.Index) string {
	who := Suspect{app, at}
	if t, on := k.trials[who]; on {
		return t.as.Why
	}
	return k.quarantined[who].Why
}

// Release forgets what is held against a shard, once that is stored.
func (k *Keeper) Release(who Suspect) {
	delete(k.quarantined, who)
	delete(k.trials, who)
	k.blame.clear(who)
}

// ForgetShard drops a shard that is deleted: what is held against it, and what was stored of that.
func (k *Keeper) ForgetShard(who Suspect) {
	if q, ok := k.quarantined[who]; ok {
		k.rows = append(k.rows, RemoveQuarantine{App: q.App, Shard: q.Shard})
	}
	k.Release(who)
}

// Forget drops an app that is deleted, and its rows.
func (k *Keeper) Forget(app shard.App) {
	maps.DeleteFunc(k.quarantined, func(who Suspect, _ Quarantine) bool { return who.App == app })
	maps.DeleteFunc(k.trials, func(who Suspect, _ trial) bool { return who.App == app })
	maps.DeleteFunc(k.blame.records, func(who Charge, _ *record) bool { return who.App == app })
	k.rows = slices.DeleteFunc(k.rows, func(r Row) bool {
		q, ok := r.(PutQuarantine)
		return ok && q.Quarantine.App == app
	})
}

// List names the shards in quarantine, by app and shard.
func (k *Keeper) List() []Quarantine {
	return slices.SortedFunc(maps.Values(k.quarantined), func(a, b Quarantine) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Shard, b.Shard))
	})
}

// Suspects are the shards in quarantine.
func (k *Keeper) Suspects() []Suspect {
	return sorted(k.quarantined)
}

// FencedAgain is the row to be stored with a fence that was counted already: the write that held it failed.
func (k *Keeper) FencedAgain(now shard.Instant, id shard.ServerID) Row {
	return k.Probations.row(now, id)
}

// Fenced counts a fence of a server, and returns the row to be stored with it, and how long its probation is, if it is on one.
func (k *Keeper) Fenced(now shard.Instant, id shard.ServerID, reason string, t Terms) (Row, time.Duration) {
	k.Probations.fenced(now, id, reason, t)
	row := k.Probations.row(now, id)
	left, _ := k.Probations.On(now, id)
	return row, left
}
