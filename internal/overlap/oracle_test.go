package overlap

import (
	"math/rand/v2"
	"testing"
	"time"
)

// oracle replays a history instant by instant and says which shards the process claims at each of them: the definition, without intervals.
type oracle struct {
	killed  int64
	records []Record
}

const horizon = 60

func (o oracle) claims(id string, at int64) bool {
	var term uint64 // of the active shard; 0: not active
	var leaseEnd int64
	for _, r := range o.records {
		if r.Kind == Operation {
			if r.Name == id && r.At <= at && at < max(r.End, r.At+1) {
				return true
			}
			continue
		}
		if r.At > at {
			continue
		}
		switch r.Kind {
		case Activated:
			if r.Name == id {
				term = r.Term
			}
		case Released:
			if r.Name == id && r.Term >= term {
				term = 0
			}
		case LeaseExtended:
			leaseEnd = max(leaseEnd, r.End)
		case LeaseRevoked:
			leaseEnd = min(leaseEnd, r.At)
		case ServerNamed, ProcessClosed:
			term = 0
		}
	}
	return term != 0 && at < leaseEnd && at < o.killed
}

// randomHistory makes records in the order of their instants, as one process writes them.
func randomHistory(random *rand.Rand, pid int, shards []string) History {
	h := History{Process: Process{File: "h", PID: pid}, Opened: -1}
	term := uint64(pid)
	for at := int64(0); at < horizon; at += random.Int64N(6) {
		id := shards[random.IntN(len(shards))]
		r := Record{Name: id, At: at}
		switch random.IntN(9) {
		case 0, 1:
			term += uint64(random.IntN(2))
			r.Kind, r.Term = Activated, term
		case 2:
			r.Kind, r.Term = Released, term-uint64(random.IntN(2))
		case 3, 4, 5:
			r.Kind, r.End = LeaseExtended, at-3+random.Int64N(15)
		case 6:
			r.Kind = LeaseRevoked
		case 7:
			r.Kind, r.Term, r.End = Operation, term, at+random.Int64N(5)
		case 8:
			r = Record{Kind: ServerNamed, Name: "s", Term: random.Uint64(), At: at}
		}
		h.Records = append(h.Records, r)
	}
	return h
}

func TestAnalyseAgainstOracle(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	shards := []string{"1", "2"}
	judged, overlapping := 0, 0
	for range 2000 {
		var histories []History
		var oracles []oracle
		var kills []Kill
		for pid := 1; pid <= 1+random.IntN(4); pid++ {
			h := randomHistory(random, pid, shards)
			o := oracle{killed: forever, records: h.Records}
			if random.IntN(3) == 0 {
				o.killed = random.Int64N(horizon)
				kills = append(kills, Kill{Process: h.Process, At: o.killed})
			}
			histories, oracles = append(histories, h), append(oracles, o)
		}
		r, err := Analyse(histories, kills)
		if err != nil {
			continue // nothing to judge
		}
		want := int64(0)
		for _, id := range shards {
			for at := int64(0); at < 2*horizon; at++ {
				claiming := 0
				for _, o := range oracles {
					if o.claims(id, at) {
						claiming++
					}
				}
				if claiming >= 2 {
					want++
				}
			}
		}
		judged++
		if want > 0 {
			overlapping++
		}
		if int64(r.Overlap) != want || (r.Count > 0) != (want > 0) {
			t.Fatalf("seed %d: overlap %d in %d pairs, the oracle says %d\n%+v\nkills %+v", seed, r.Overlap, r.Count, want, histories, kills)
		}
	}
	if overlapping < 100 || judged-overlapping < 100 {
		t.Fatalf("seed %d: %d runs judged, %d of them overlapping: both kinds are needed", seed, judged, overlapping)
	}
}
