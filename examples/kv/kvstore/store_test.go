package kvstore

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTerms(t *testing.T) {
	s := New()
	use := func(term uint64) error {
		_, read := s.Read("1", term, "k")
		_, scan := s.Scan("1", term)
		_, _, write := s.Write("1", term, "k", 0, 99, RequestID{1, 1})
		if errors.Is(read, ErrStaleTerm) != errors.Is(scan, ErrStaleTerm) || errors.Is(read, ErrStaleTerm) != errors.Is(write, ErrStaleTerm) ||
			errors.Is(read, ErrTermNotRaised) != errors.Is(scan, ErrTermNotRaised) || errors.Is(read, ErrTermNotRaised) != errors.Is(write, ErrTermNotRaised) {
			t.Errorf("term %d: read %v, scan %v, write %v: all or none must be refused", term, read, scan, write)
		}
		return read
	}
	raise := func(term uint64) func() error { return func() error { return s.RaiseTerm("1", term) } }
	for i, step := range []struct {
		do   func() error
		want error
	}{
		{func() error { return use(1) }, ErrTermNotRaised},
		{raise(2), nil},
		{func() error { return use(2) }, nil},
		{func() error { return use(1) }, ErrStaleTerm},
		{func() error { return use(3) }, ErrTermNotRaised},
		{raise(2), nil}, // repeated
		{raise(5), nil},
		{func() error { return use(2) }, ErrStaleTerm},
		{raise(4), ErrStaleTerm},
		{func() error { return use(5) }, nil},
	} {
		if err := step.do(); !errors.Is(err, step.want) || (err == nil) != (step.want == nil) {
			t.Errorf("step %d: error %v, want %v", i, err, step.want)
		}
	}
	if err := s.RaiseTerm("2", 1); err != nil {
		t.Errorf("another shard's term: %v", err)
	}
}

// writeStep is a write to the key k of shard 1 at term 1, and what it must come to.
type writeStep struct {
	name           string
	client, number uint64
	value          int64
	seen           uint64
	want           Outcome
	entry          Entry
}

func runWrites(t *testing.T, s *Store, steps []writeStep) {
	t.Helper()
	for _, step := range steps {
		outcome, e, err := s.Write("1", 1, "k", step.value, step.seen, RequestID{step.client, step.number})
		if err != nil {
			t.Fatal(err)
		}
		if outcome != step.want || e != step.entry {
			t.Errorf("%s: outcome %d, entry %+v; want %d, %+v", step.name, outcome, e, step.want, step.entry)
		}
	}
}

func TestWritesApplyOnce(t *testing.T) {
	s := New()
	if err := s.RaiseTerm("1", 1); err != nil {
		t.Fatal(err)
	}
	runWrites(t, s, []writeStep{
		{"first", 7, 1, 10, 0, Applied, Entry{10, 1}},
		{"repeated", 7, 1, 10, 0, Applied, Entry{10, 1}},
		{"seen too old", 7, 2, 20, 0, Conflict, Entry{10, 1}},
		{"seen too new", 7, 2, 20, 2, Conflict, Entry{10, 1}},
		{"second", 7, 2, 20, 1, Applied, Entry{20, 2}},
		{"another client", 8, 1, 30, 2, Applied, Entry{30, 3}},
		{"repeated after another client's", 7, 2, 99, 9, Applied, Entry{20, 2}},
		{"late", 7, 1, 10, 3, Superseded, Entry{30, 3}},
		{"a gap", 7, 9, 40, 3, Applied, Entry{40, 4}},
		{"in the gap", 7, 5, 50, 4, Superseded, Entry{40, 4}},
	})
	if e, err := s.Read("1", 1, "k"); err != nil || e != (Entry{40, 4}) {
		t.Errorf("read %+v, %v", e, err)
	}
	if e, err := s.Read("1", 1, "other"); err != nil || e != (Entry{}) {
		t.Errorf("read of a key never written: %+v, %v", e, err)
	}
	entries, err := s.Scan("1", 1)
	if diff := cmp.Diff(map[string]Entry{"k": {40, 4}}, entries); diff != "" || err != nil {
		t.Errorf("scan: %v %s: refused writes must leave nothing", err, diff)
	}
}

func TestClientsRememberedAreBounded(t *testing.T) {
	s := New()
	if err := s.RaiseTerm("1", 1); err != nil {
		t.Fatal(err)
	}
	var version uint64
	for client := range uint64(MaxClients + 1) {
		runWrites(t, s, []writeStep{{"new", client, 1, 1, version, Applied, Entry{1, version + 1}}})
		version++
	}
	if n := len(s.shards["1"].entries["k"].applied); n != MaxClients {
		t.Errorf("%d clients remembered, want %d", n, MaxClients)
	}
	runWrites(t, s, []writeStep{
		{"client 0 is forgotten", 0, 1, 2, 0, Conflict, Entry{1, version}},
		{"client 1 is not", 1, 1, 2, 0, Applied, Entry{1, 2}},
	})
}

func TestRefusedWriteLeavesNoEntry(t *testing.T) {
	s := New()
	if err := s.RaiseTerm("1", 1); err != nil {
		t.Fatal(err)
	}
	runWrites(t, s, []writeStep{{"seen a version that never was", 1, 1, 1, 5, Conflict, Entry{}}})
	if entries, err := s.Scan("1", 1); err != nil || len(entries) != 0 {
		t.Errorf("entries %v, %v", entries, err)
	}
}
