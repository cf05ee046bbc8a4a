package promise

import (
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/allocator/spec"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/policies"
)

var (
	alpha = ledger.Owner{Server: "a.kv", Incarnation: 7}
	beta  = ledger.Owner{Server: "b.kv", Incarnation: 8}
	gamma = ledger.Owner{Server: "c.kv", Incarnation: 9}
)

func at(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

func owned(o ledger.Owner, term shard.Term) ledger.Row {
	return ledger.Row{Term: term, Move: shard.MoveID(term), Primary: o, PrimaryTerm: term}
}

func moving(from, to ledger.Owner, term shard.Term, phase ledger.MovePhase) ledger.Row {
	r := owned(from, term-1)
	r.Term, r.Move = term, shard.MoveID(term)
	r.Open = &ledger.OpenMove{Move: r.Move, Term: term, From: from, To: to, Phase: phase}
	return r
}

func wrote(id shard.ID, before, after ledger.Row) RowWritten {
	return RowWritten{Shard: id, Before: before, After: after}
}

func command(kind message.Kind, to ledger.Owner, term shard.Term) Sent {
	return Sent{To: to, Command: message.Command{ID: message.CommandID{Incarnation: to.Incarnation, Shard: "0", Kind: kind,
		Order: shard.Order{Term: term, Move: shard.MoveID(term)}}}}
}

// TestBreaches: each case is observations a second apart; the last breaks a promise, or none does.
func TestBreaches(t *testing.T) {
	limits := SpecWritten{Spec: ledger.Spec{MaxMoves: 1, MaxMovesServer: 1}}
	roomy := SpecWritten{Spec: ledger.Spec{MaxMoves: 9, MaxMovesServer: 9}}
	spread := SpecWritten{Spec: ledger.Spec{Replication: spec.PrimarySecondary, Replicas: 2, Spread: locality.Zone}}
	fenced := SpecWritten{Spec: ledger.Spec{MaxMoves: 9, MaxMovesServer: 9, Written: policies.All()[1].Written}}
	region := func(o ledger.Owner, name string) Capacity {
		return Capacity{Server: o.Server, Most: 9, Where: shard.Locality{Region: name}}
	}
	zone := func(o ledger.Owner, name string) Capacity {
		return Capacity{Server: o.Server, Most: 9, Where: shard.Locality{Region: "r", Zone: name}}
	}
	with := func(r ledger.Row, o ledger.Owner, s ledger.SecondaryState) ledger.Row {
		r.Secondaries = append([]ledger.Secondary(nil), ledger.Secondary{Owner: o, State: s})
		return r
	}
	learned := Decided{ledger.Decision{What: "app updated"}}
	for name, c := range map[string]struct {
		promise int // 0: none
		what    string
		seen    []Observation
	}{
		"a leader with the lock hears of a later one":                 {2, "a server said so", []Observation{Heard{Why: "a server said so"}}},
		"a restore takes a move number back with a higher generation": {0, "", []Observation{wrote("0", owned(ledger.Owner{Server: "a", Incarnation: 1}, 7), ledger.Row{Term: shard.FirstTerm(1), Move: 3})}},
		"a restore takes a move number back in the same generation":   {2, "went back", []Observation{wrote("0", owned(ledger.Owner{Server: "a", Incarnation: 1}, 7), ledger.Row{Term: 8, Move: 3})}},
		"one after the other":      {0, "", []Observation{Leased{Owner: alpha, Until: at(3)}, Began{"0", alpha, 1}, Leased{Owner: beta, Until: at(9)}, Began{"0", beta, 2}}},
		"two at once":              {1, "may execute at term 2 while a.kv", []Observation{Leased{Owner: alpha, Until: at(9)}, Began{"0", alpha, 1}, Leased{Owner: beta, Until: at(9)}, Began{"0", beta, 2}}},
		"two shards":               {0, "", []Observation{Leased{Owner: alpha, Until: at(9)}, Began{"0", alpha, 1}, Leased{Owner: beta, Until: at(9)}, Began{"1", beta, 2}}},
		"ceased first":             {0, "", []Observation{Leased{Owner: alpha, Until: at(9)}, Began{"0", alpha, 1}, Ceased{"0", alpha}, Leased{Owner: beta, Until: at(9)}, Began{"0", beta, 2}}},
		"a lease that begins anew": {1, "a.kv", []Observation{Leased{Owner: alpha, Until: at(1)}, Began{"0", alpha, 1}, Leased{Owner: beta, Until: at(20)}, Began{"0", beta, 2}, Leased{Owner: alpha, Until: at(20)}}},
		"as long as vouched for":   {0, "", []Observation{Vouched{alpha, at(9)}, Vouched{alpha, at(6)}, Leased{alpha, at(9), true}}},
		"longer than that":         {1, "ends 1.000 s later than anybody vouched for", []Observation{Vouched{alpha, at(9)}, Vouched{beta, at(10)}, Leased{alpha, at(10), true}}},
		"over with its lease":      {0, "", []Observation{Vouched{alpha, at(9)}, Leased{Owner: alpha, Until: at(9)}, Began{"0", alpha, 1}, Leased{Owner: alpha}, Over{alpha, "fenced"}}},
		"over before its lease":    {1, "execute 1 shards for", []Observation{Vouched{alpha, at(9)}, Leased{Owner: alpha, Until: at(8)}, Began{"0", alpha, 1}, Over{alpha, "fenced"}}},
		"over, holding nothing":    {0, "", []Observation{Vouched{alpha, at(9)}, Leased{Owner: alpha, Until: at(9)}, Over{alpha, "fenced"}}},
		"clocks went back":         {0, "", []Observation{Vouched{alpha, at(9)}, Leased{alpha, at(12), false}}},
		"revoked":                  {0, "", []Observation{Leased{Owner: alpha, Until: at(9)}, Began{"0", alpha, 1}, Leased{Owner: alpha, Until: 0}, Leased{Owner: beta, Until: at(9)}, Began{"0", beta, 2}}},

		"term goes back":         {2, "went back from 3/3 to 2/2", []Observation{wrote("0", owned(alpha, 3), owned(alpha, 2))}},
		"no new term":            {2, "primary changed", []Observation{wrote("0", owned(alpha, 3), owned(beta, 3))}},
		"sent before":            {2, "before its row was durable", []Observation{decided("0", 3), wrote("0", ledger.Row{}, owned(alpha, 3)), command(message.AddShard, beta, 4)}},
		"sent after":             {0, "", []Observation{Decided{ledger.Decision{Shard: "0", Order: shard.Order{Term: 3, Move: 3}, Why: "so"}}, wrote("0", ledger.Row{}, owned(alpha, 3)), command(message.AddShard, alpha, 3)}},
		"a term given twice":     {2, "was given to", []Observation{Raised{"0", alpha, 3, 0, false}, Raised{"0", beta, 3, 0, false}}},
		"forward after an abort": {2, "moved forward after an abort", []Observation{wrote("0", moving(alpha, beta, 4, ledger.Aborting), moving(alpha, beta, 4, ledger.Moved))}},

		"a lost write":            {3, "with 4 writes, of 5 acknowledged", []Observation{Acknowledged{"0", 3, 5}, Raised{"0", beta, 4, 4, true}}},
		"never acknowledged":      {0, "", []Observation{Acknowledged{"0", 3, 5}, Raised{"0", alpha, 4, 7, false}, Raised{"0", beta, 5, 5, true}}},
		"a write of long ago":     {0, "", []Observation{Acknowledged{"0", 3, 5}, Raised{"0", beta, 4, 4, false}, Acknowledged{"0", 3, 6}, Raised{"0", gamma, 5, 4, true}}},
		"an heir without all":     {3, "of 5 acknowledged", []Observation{Acknowledged{"0", 3, 5}, Decided{ledger.Decision{Shard: "0", Order: shard.Order{Term: 4, Move: 4}, Why: "so"}}, wrote("0", with(owned(alpha, 3), beta, ledger.InSync), owned(beta, 4)), Raised{"0", beta, 4, 4, false}}},
		"nobody had it":           {0, "", []Observation{Acknowledged{"0", 3, 5}, Decided{ledger.Decision{Shard: "0", Order: shard.Order{Term: 4, Move: 4}, Why: "so"}}, wrote("0", with(owned(alpha, 3), beta, ledger.Syncing), owned(beta, 4)), Raised{"0", beta, 4, 4, false}}},
		"one in sync passed over": {3, "although b.kv is in sync", []Observation{decided("0", 4), wrote("0", with(owned(alpha, 3), beta, ledger.InSync), with(owned(gamma, 4), beta, ledger.InSync))}},
		"a shard without owner":   {3, "nobody", []Observation{Left{"0", time.Minute, "nobody was given it"}}},

		"dropped":               {4, "nothing but planned events", []Observation{Failed{"0", true, "refused"}}},
		"failed in a failure":   {0, "", []Observation{Failed{"0", false, "refused"}}},
		"a move too many":       {5, "2th move is opened", []Observation{limits, decided("0", 2), wrote("0", owned(alpha, 1), moving(alpha, beta, 2, ledger.Opened)), decided("1", 2), wrote("1", owned(beta, 1), moving(beta, gamma, 2, ledger.Opened))}},
		"a cap lowered since":   {0, "", append([]Observation{roomy, decided("0", 2), wrote("0", owned(alpha, 1), moving(alpha, beta, 2, ledger.Opened)), decided("1", 2), limits}, late(9, wrote("1", owned(beta, 1), moving(beta, gamma, 2, ledger.Opened)))...)},
		"a cap not yet learned": {0, "", append(append([]Observation{roomy, decided("0", 2), wrote("0", owned(alpha, 1), moving(alpha, beta, 2, ledger.Opened)), limits}, late(9, decided("1", 2))...), learned, wrote("1", owned(beta, 1), moving(beta, gamma, 2, ledger.Opened)))},
		"a cap lowered before":  {5, "2th move is opened", append(append([]Observation{roomy, decided("0", 2), wrote("0", owned(alpha, 1), moving(alpha, beta, 2, ledger.Opened)), limits, learned}, late(9, decided("1", 2))...), wrote("1", owned(beta, 1), moving(beta, gamma, 2, ledger.Opened)))},
		"a policy forbids it":   {5, "policy \"outside eu\" does not allow that", append(append([]Observation{fenced, learned, region(alpha, "us"), region(beta, "eu")}, late(9, decided("0", 1))...), wrote("0", ledger.Row{}, owned(beta, 1)))},
		"a policy allows it":    {0, "", append(append([]Observation{fenced, learned, region(alpha, "us"), region(beta, "eu")}, late(9, decided("0", 1))...), wrote("0", ledger.Row{}, owned(alpha, 1)))},
		"too many replicas":     {5, "has room for 1", []Observation{roomy, Capacity{beta.Server, 1, shard.Locality{}}, decided("0", 1), wrote("0", ledger.Row{}, owned(beta, 1)), decided("1", 2), wrote("1", owned(alpha, 1), moving(alpha, beta, 2, ledger.Opened))}},
		"what ended is gone":    {0, "", []Observation{roomy, Capacity{beta.Server, 1, shard.Locality{}}, decided("0", 1), wrote("0", ledger.Row{}, owned(beta, 1)), decided("1", 1), wrote("1", ledger.Row{}, owned(ledger.Owner{Server: beta.Server, Incarnation: 99}, 1))}},
		"in one zone":           {5, "share a zone", []Observation{spread, zone(alpha, "z1"), zone(beta, "z1"), decided("0", 1), wrote("0", ledger.Row{}, owned(alpha, 1)), wrote("0", owned(alpha, 1), with(owned(alpha, 1), beta, ledger.Joining))}},
		"in two zones":          {0, "", []Observation{spread, zone(alpha, "z1"), zone(beta, "z2"), decided("0", 1), wrote("0", ledger.Row{}, owned(alpha, 1)), wrote("0", owned(alpha, 1), with(owned(alpha, 1), beta, ledger.Joining))}},
		"over a cap":            {6, "2 servers are down, and 1 may be", []Observation{Approved{"e", []shard.ServerID{"a.kv"}, 2, 1}}},
		"a lease that lapses":   {7, "for 9.0 s", []Observation{Lapsed{alpha, at(9), at(6)}}},
		"given up":              {7, "which nobody had ended: the store does not answer", []Observation{GaveUp{alpha, false, "the store does not answer"}}},
		"given up for a reason": {0, "", []Observation{GaveUp{alpha, true, "its key is gone"}}},
		"lapsed for a reason":   {0, "", []Observation{Lapsed{alpha, at(5), at(6)}}},
		"a move that stays":     {8, "is open for 60.0 s", append([]Observation{roomy, decided("0", 2), wrote("0", owned(alpha, 1), moving(alpha, beta, 2, ledger.Opened))}, late(100, Left{"0", time.Minute, ""})...)},
		"a drain that stays":    {8, "nothing has left it for 31.0 s", append(append([]Observation{roomy, decided("0", 1), wrote("0", ledger.Row{}, owned(alpha, 1)), Drain{alpha.Server, true, false}}, late(29, Left{})...), Drain{alpha.Server, false, true})},
		"a drain that is done":  {0, "", append(append([]Observation{roomy, decided("0", 1), wrote("0", ledger.Row{}, owned(alpha, 1)), Drain{alpha.Server, true, false}, decided("0", 2), wrote("0", owned(alpha, 1), owned(beta, 2))}, late(29, Left{})...), Drain{alpha.Server, false, true})},
		"a drain, no room":      {0, "", append(append([]Observation{roomy, decided("0", 1), wrote("0", ledger.Row{}, owned(alpha, 1)), Drain{alpha.Server, true, false}, Drain{beta.Server, true, false}}, late(29, Left{})...), Drain{alpha.Server, false, true})},
		"a stampede":            {9, "6 of 9 servers were lost", []Observation{Fenced{Fence: ledger.Fence{Owner: alpha}, Lost: 6, Servers: 9}}},
		"a region":              {0, "", []Observation{Fenced{Fence: ledger.Fence{Owner: alpha}, Lost: 6, Servers: 9, Domain: true}}},
		"by an operator":        {0, "", []Observation{Fenced{Fence: ledger.Fence{Owner: alpha}, Lost: 6, Servers: 9, Released: true}}},
		"a few":                 {0, "", []Observation{Fenced{Fence: ledger.Fence{Owner: alpha}, Lost: 4, Servers: 9}}},
		"a grant without word":  {10, "became primary at term 1, and nobody said why", []Observation{wrote("0", ledger.Row{}, owned(alpha, 1))}},
		"a move without word":   {10, "was opened, and nobody said why", []Observation{roomy, decided("0", 1), wrote("0", owned(alpha, 1), moving(alpha, beta, 2, ledger.Opened))}},
	} {
		t.Run(name, func(t *testing.T) {
			w := NewWatch()
			for i, o := range c.seen {
				w.See(at(float64(i)), o)
				w.See(at(float64(i)), Committed{})
			}
			switch list := w.Breaches(); {
			case c.promise == 0 && len(list) > 0:
				t.Errorf("broken: %v", list)
			case c.promise > 0 && (len(list) == 0 || list[0].Promise != c.promise || !strings.Contains(list[0].What, c.what)):
				t.Errorf("%v, expected promise %d, %q", list, c.promise, c.what)
			}
		})
	}
}

// decided says why a shard's row is about to change.
func decided(id shard.ID, term shard.Term) Observation {
	return Decided{ledger.Decision{Shard: id, Order: shard.Order{Term: term, Move: shard.MoveID(term)}, Why: "so"}}
}

// late lets seconds pass, in which nothing breaks, before an observation.
func late(seconds int, o Observation) []Observation {
	var list []Observation
	for range seconds {
		list = append(list, Failed{Shard: "0"})
	}
	return append(list, o)
}

// TestAtOnce: what a transaction frees is free for what it takes, in whatever order its rows come.
func TestAtOnce(t *testing.T) {
	w := NewWatch()
	back := owned(alpha, 1)
	back.Term, back.Move = 2, 3
	for _, o := range []Observation{
		SpecWritten{Spec: ledger.Spec{MaxMoves: 1, MaxMovesServer: 1}}, Capacity{Server: beta.Server, Most: 1}, decided("0", 2), decided("1", 2),
		wrote("0", owned(alpha, 1), moving(alpha, beta, 2, ledger.Opened)), Committed{},
		wrote("1", owned(alpha, 1), moving(alpha, beta, 2, ledger.Opened)), wrote("0", moving(alpha, beta, 2, ledger.Opened), back), Committed{},
	} {
		w.See(0, o)
	}
	if list := w.Breaches(); len(list) > 0 {
		t.Error(list)
	}
}
