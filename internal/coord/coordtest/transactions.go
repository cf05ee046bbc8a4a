package coordtest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/shardmanager/shardmanager/internal/coord"
)

func transactionTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"a write creates, the next one changes": func(s *suite) {
			first := s.set("k", "1")
			entry := s.mustGet("k", "1")
			s.equal("entry", entry, coord.Entry{Key: "k", Value: []byte("1"), Create: first, Modify: first})
			second := s.set("k", "2")
			s.above("second write", second, first)
			entry = s.mustGet("k", "2")
			s.equal("entry", entry, coord.Entry{Key: "k", Value: []byte("2"), Create: first, Modify: second})
		},
		"every written key is modified at the index answered": func(s *suite) {
			index := s.txn(set("a", "1"), set("b", "2"), set("c", "3"))
			for _, key := range []string{"a", "b", "c"} {
				entry, _ := s.get(key)
				s.equal(key, entry.Modify, index)
			}
		},
		"it commits whole or not at all, and the conflict names the first operation": func(s *suite) {
			before := s.set("old", "1")
			s.conflict(2, set("a", "1"), cas("old", "2", before), cas("other", "1", before+100), cas("third", "1", before+100))
			s.absent("a")
			s.mustGet("old", "1")
		},
		"compare and set": func(s *suite) {
			first := s.set("k", "1")
			second := s.txn(cas("k", "2", first))
			s.conflict(0, cas("k", "3", first))
			s.mustGet("k", "2")
			s.conflict(0, cas("absent", "1", second))
			s.absent("absent")
			s.txn(cas("new", "1", 0))
			s.conflict(0, cas("new", "2", 0))
			s.mustGet("new", "1")
		},
		"delete": func(s *suite) {
			s.set("k", "1")
			s.txn(coord.Op{Verb: coord.Delete, Key: "k"})
			s.absent("k")
			s.txn(coord.Op{Verb: coord.Delete, Key: "k"})
		},
		"delete if unchanged": func(s *suite) {
			first := s.set("k", "1")
			second := s.set("k", "2")
			s.conflict(0, coord.Op{Verb: coord.DeleteCAS, Key: "k", Index: first})
			s.mustGet("k", "2")
			s.txn(coord.Op{Verb: coord.DeleteCAS, Key: "k", Index: second})
			s.absent("k")
			s.txn(coord.Op{Verb: coord.DeleteCAS, Key: "k", Index: second})
			s.absent("k")
		},
		"a key that comes back has a new create index": func(s *suite) {
			first := s.set("k", "1")
			s.txn(coord.Op{Verb: coord.Delete, Key: "k"})
			again := s.set("k", "1")
			s.above("the second life", again, first)
			s.equal("create", s.mustGet("k", "1").Create, again)
		},
	}
}

func checkTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"checks": func(s *suite) {
			notExists := func(key string) coord.Op { return coord.Op{Verb: coord.CheckNotExists, Key: key} }
			checkIndex := func(key string, index coord.Index) coord.Op {
				return coord.Op{Verb: coord.CheckIndex, Key: key, Index: index}
			}
			s.txn(notExists("k"), set("k", "1"))
			at := s.mustGet("k", "1").Modify
			s.conflict(0, notExists("k"), set("k", "2"))
			s.txn(checkIndex("k", at), set("other", "1"))
			s.conflict(0, checkIndex("k", at+1), set("other", "2"))
			s.conflict(0, checkIndex("absent", at), set("other", "2"))
			s.txn(checkIndex("k", at))
			s.equal("a check changes nothing", s.mustGet("k", "1").Modify, at)
			s.mustGet("other", "1")
		},
		"operations see those before them": func(s *suite) {
			s.set("k", "1")
			s.txn(coord.Op{Verb: coord.Delete, Key: "k"}, coord.Op{Verb: coord.CheckNotExists, Key: "k"}, set("k", "2"))
			s.mustGet("k", "2")
			s.conflict(1, set("new", "1"), coord.Op{Verb: coord.CheckNotExists, Key: "new"})
			s.absent("new")
		},
	}
}

func readTests() map[string]func(*suite) {
	return map[string]func(*suite){
		"a list has the prefix, in key order": func(s *suite) {
			for _, key := range []string{"p/b", "p/a", "q", "p", "p/a/x", "o"} {
				s.set(key, key)
			}
			var keys []string
			for _, entry := range s.list("p/") {
				keys = append(keys, entry.Key)
				s.equal(entry.Key, string(entry.Value), entry.Key)
			}
			s.equal("keys", keys, []string{"p/a", "p/a/x", "p/b"})
			s.equal("none", s.list("nothing/"), []coord.Entry(nil))
		},
		"values are any bytes and nobody's but the store's": func(s *suite) {
			value := []byte{0, 1, 2, 0xff, 0}
			s.txn(coord.Op{Verb: coord.Set, Key: "k", Value: value}, coord.Op{Verb: coord.Set, Key: "empty"})
			value[0] = 9
			entry, _ := s.get("k")
			s.equal("value", entry.Value, []byte{0, 1, 2, 0xff, 0})
			entry.Value[1] = 9
			again, _ := s.get("k")
			s.equal("value", again.Value, []byte{0, 1, 2, 0xff, 0})
			empty, found := s.get("empty")
			s.equal("empty", empty.Value, []byte{})
			s.equal("found", found, true)
		},
	}
}

func set(key, value string) coord.Op {
	return coord.Op{Verb: coord.Set, Key: key, Value: []byte(value)}
}

func limitTests() map[string]func(*suite) {
	sets := func(n int, value string) []coord.Op {
		ops := make([]coord.Op, n)
		for i := range ops {
			ops[i] = set(fmt.Sprintf("k/%03d", i), value)
		}
		return ops
	}
	tooLarge := func(s *suite, ops []coord.Op) {
		s.Helper()
		_, err := s.Store.Txn(s.ctx(), ops)
		if !errors.Is(err, coord.ErrTooLarge) || errors.Is(err, coord.ErrUnknown) {
			s.Fatalf("got %v, want ErrTooLarge", err)
		}
		s.equal("entries", s.list(""), []coord.Entry(nil))
	}
	return map[string]func(*suite){
		"operations": func(s *suite) {
			tooLarge(s, sets(coord.MaxTxnOps+1, "v"))
			s.txn(sets(coord.MaxTxnOps, "v")...)
			s.equal("entries", len(s.list("k/")), coord.MaxTxnOps)
		},
		"bytes of a transaction": func(s *suite) {
			part := strings.Repeat("v", 32<<10-len("k/000"))
			tooLarge(s, sets(12, part))
			s.txn(sets(11, part)...)
			s.equal("entries", len(s.list("k/")), 11)
		},
		"bytes of a value": func(s *suite) {
			tooLarge(s, []coord.Op{{Verb: coord.Set, Key: "k", Value: bytes.Repeat([]byte{7}, coord.MaxValueBytes+1)}})
			large := bytes.Repeat([]byte{7}, coord.MaxTxnBytes-coord.MaxKeyBytes)
			s.txn(coord.Op{Verb: coord.Set, Key: "k", Value: large})
			s.mustGet("k", string(large))
		},
	}
}
