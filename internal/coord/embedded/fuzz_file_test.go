//go:build !race

package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
)

// The race detector is told nothing of this: a damaged page may point beyond itself, and what bbolt reads there, before anybody can know
// that it is damaged, may be somebody else's memory.

// soundFile is a small store's file.
func soundFile(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sound.db")
	e, err := Open(Config{Path: path}, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := e.CreateSession(t.Context(), coord.SessionSpec{Name: "s", TTL: time.Minute, Behavior: coord.DeleteKeys})
	if err != nil {
		t.Fatal(err)
	}
	ops := []coord.Op{{Verb: coord.Lock, Key: "lock", Value: []byte("l"), Session: id}}
	for i := range 5 {
		ops = append(ops, coord.Op{Verb: coord.Set, Key: fmt.Sprint("key/", i), Value: bytes.Repeat([]byte{byte(i)}, 100)})
	}
	if _, err := e.Txn(t.Context(), ops); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	contents, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return contents
}

// FuzzFile writes over parts of a store's file, three bytes each: two for where, one for what. The file is refused, named and left
// untouched, or taken: then what it says is in order, and it can be written.
func FuzzFile(f *testing.F) {
	sound := soundFile(f)
	f.Add([]byte{}, uint16(0))
	f.Add([]byte{0, 60, 1, 16, 60, 1}, uint16(0))
	f.Add([]byte{0x30, 4, 0xff, 0x30, 5, 0xff, 0x20, 10, 0xff}, uint16(0))
	f.Add([]byte{}, uint16(4096))
	f.Fuzz(func(t *testing.T, damage []byte, cut uint16) {
		contents := bytes.Clone(sound)
		for ; len(damage) >= 3; damage = damage[3:] {
			contents[int(binary.BigEndian.Uint16(damage))%len(contents)] ^= damage[2]
		}
		contents = contents[:len(contents)-int(cut)%len(contents)]
		path := filepath.Join(t.TempDir(), "store.db")
		if err := os.WriteFile(path, contents, 0o600); err != nil {
			t.Fatal(err)
		}
		e, err := Open(Config{Path: path}, Deps{})
		if err != nil {
			after, readErr := os.ReadFile(path)
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) || readErr != nil || !bytes.Equal(after, contents) {
				t.Fatalf("refused with %v, and the same as before: %t (%v)", err, bytes.Equal(after, contents), readErr)
			}
			return
		}
		defer func() { _ = e.Close() }()
		entries, err := e.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for i, entry := range entries {
			if i > 0 && entry.Key <= entries[i-1].Key || entry.Create == 0 || entry.Create > entry.Modify {
				t.Fatalf("entry %d, after %q: %+v", i, entries[max(i-1, 0)].Key, entry)
			}
		}
	})
}
