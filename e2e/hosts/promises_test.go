package hosts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/dev/layout"
	"github.com/shardmanager/shardmanager/internal/overlap"
)

// recorded is what all applications recorded so far.
func (f *fleet) recorded() ([]overlap.History, error) {
	var all []overlap.History
	for _, s := range f.servers {
		histories, err := overlap.Read(f.places.History(s.Server))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		all = append(all, histories...)
	}
	return all, nil
}

// served waits until every shard answered a request that began from now on.
func (f *fleet) served(ctx context.Context) error {
	since := clock.Now().Raw
	return await(ctx, "every shard to be served", func(context.Context) error {
		histories, err := f.recorded()
		if err != nil {
			return err
		}
		answered := map[string]bool{}
		for _, h := range histories {
			for _, r := range h.Records {
				if r.Kind == overlap.Operation && r.At >= since {
					answered[r.Name] = true
				}
			}
		}
		if len(answered) < layout.Shards {
			return fmt.Errorf("%d of %d shards answered", len(answered), layout.Shards)
		}
		return nil
	})
}

// promises checks what every fault must leave whole, once the fleet is well again.
func (f *fleet) promises(ctx context.Context) error {
	if err := await(ctx, "the fleet to be well again", f.settled); err != nil { // promise 8: by itself
		return err
	}
	if err := f.served(ctx); err != nil { // promise 3
		return err
	}
	histories, err := f.recorded()
	if err != nil {
		return err
	}
	// The files are read one after the other while they grow. What seems to overlap because of that is gone when they are read again.
	report, err := overlap.Analyse(histories, f.kills)
	if err == nil && report.Count > 0 {
		if histories, err = f.recorded(); err == nil {
			report, err = overlap.Analyse(histories, f.kills)
		}
	}
	if err != nil {
		return err
	}
	var broken []error
	if report.Count > 0 {
		broken = append(broken, fmt.Errorf("promise 1: two servers owned a shard at once %d times, such as %v", report.Count, report.Overlaps[0]))
	}
	broken = append(broken, termsGrow(histories))
	last, _, bad := f.lines.Now()
	if bad != "" {
		broken = append(broken, fmt.Errorf("the load generator says %q", bad))
	}
	if last.LostWrites+last.RepeatedWrites+last.StaleReads+last.WrongNearestReads+last.UnverifiedKeys > 0 {
		broken = append(broken, fmt.Errorf("the load saw a promise broken: %+v", last))
	}
	return errors.Join(broken...)
}

// activation is a grant of a shard that an application took.
type activation struct {
	term    uint64
	at      int64
	history int
}

// termsGrow fails unless each grant of a shard came with a higher term than every earlier one (promise 2).
func termsGrow(histories []overlap.History) error {
	grants := map[string][]activation{}
	for i, h := range histories {
		for _, r := range h.Records {
			if r.Kind == overlap.Activated {
				grants[r.Name] = append(grants[r.Name], activation{term: r.Term, at: r.At, history: i})
			}
		}
	}
	if len(grants) == 0 {
		return errors.New("promise 2: no shard was ever granted")
	}
	for id, list := range grants {
		slices.SortFunc(list, func(a, b activation) int { return cmp.Compare(a.at, b.at) })
		for i := 1; i < len(list); i++ {
			before, after := list[i-1], list[i]
			if after.term < before.term || after.term == before.term && after.history != before.history {
				return fmt.Errorf("promise 2: shard %s was granted at term %d after term %d", id, after.term, before.term)
			}
		}
	}
	return nil
}

// finish ends the load, which reads back every key that it wrote.
func (f *fleet) finish() error {
	if err := f.load.Stop(patience); err != nil {
		return err
	}
	last, _, _ := f.lines.Now()
	f.t.Logf("%d requests, %d failed, %d keys verified", last.Requests, last.Failed, last.VerifiedKeys)
	if !last.Final || last.VerifiedKeys == 0 || last.UnverifiedKeys+last.LostWrites+last.RepeatedWrites+last.StaleReads+last.WrongNearestReads > 0 {
		return fmt.Errorf("the load saw a promise broken, or nothing: %+v; %s", last, f.load.Tail())
	}
	return nil
}

func TestTermsThatFallAreSeen(t *testing.T) {
	granted := func(pid int, records ...overlap.Record) overlap.History {
		return overlap.History{Process: overlap.Process{PID: pid}, Records: records}
	}
	at := func(at int64, term uint64) overlap.Record {
		return overlap.Record{Kind: overlap.Activated, Name: "7", Term: term, At: at}
	}
	for name, c := range map[string]struct {
		histories []overlap.History
		fine      bool
	}{
		"growing":              {[]overlap.History{granted(1, at(10, 1), at(30, 3)), granted(2, at(20, 2))}, true},
		"repeated by the same": {[]overlap.History{granted(1, at(10, 1), at(20, 1))}, true},
		"falling":              {[]overlap.History{granted(1, at(10, 2)), granted(2, at(20, 1))}, false},
		"given twice":          {[]overlap.History{granted(1, at(10, 1)), granted(2, at(20, 1))}, false},
		"none":                 {nil, false},
	} {
		if err := termsGrow(c.histories); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// elapsed is for the log: how long a fault took, the return to normal included.
func elapsed(since time.Time) time.Duration { return time.Since(since).Round(100 * time.Millisecond) }
