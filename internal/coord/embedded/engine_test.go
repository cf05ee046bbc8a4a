package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
)

func mustTxn(t *testing.T, store coord.Store, ops ...coord.Op) coord.Index {
	t.Helper()
	index, err := store.Txn(t.Context(), ops)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func set(key, value string) coord.Op {
	return coord.Op{Verb: coord.Set, Key: key, Value: []byte(value)}
}

// While the store itself stands still nobody can renew, so nobody's session may end for it.
func TestStoppedStoreBlamesNobody(t *testing.T) {
	clock := newVirtual()
	engine := open(t, embedded.Config{}, clock)
	id, err := engine.CreateSession(t.Context(), coord.SessionSpec{TTL: testTTL, Behavior: coord.DeleteKeys})
	if err != nil {
		t.Fatal(err)
	}
	mustTxn(t, engine, coord.Op{Verb: coord.Lock, Key: "k", Session: id})
	clock.jump(10 * testTTL)
	clock.pass(testTTL * 19 / 10)
	if found, err := engine.RenewSession(t.Context(), id); err != nil || !found {
		t.Fatalf("renew after the store stood still: got %t, %v, want true", found, err)
	}
	clock.pass(testTTL * 21 / 10)
	if found, err := engine.RenewSession(t.Context(), id); err != nil || found {
		t.Fatalf("renew of an expired session: got %t, %v, want false", found, err)
	}
}

// A full store refuses the write, keeps what it has, says so, and takes smaller writes again.
func TestFullStoreStaysUsable(t *testing.T) {
	clock := newVirtual()
	cfg := embedded.Config{Path: filepath.Join(t.TempDir(), "store.db"), MaxBytes: 1 << 20}
	engine := open(t, cfg, clock)
	last := mustTxn(t, engine, set("kept", "1"))
	noise := make([]byte, 300<<10) // does not compress
	for i := range noise {
		noise[i] = byte(i*i*31 + i>>8*17 + i>>3)
	}
	var refused error
	n := 0
	for ; refused == nil && n < 100; n++ {
		var index coord.Index
		index, refused = engine.Txn(t.Context(), []coord.Op{{Verb: coord.Set, Key: fmt.Sprintf("big/%d", n), Value: rotated(noise, n)}})
		if refused == nil {
			last = index
		}
	}
	if !errors.Is(refused, coord.ErrFull) || errors.Is(refused, coord.ErrUnknown) {
		t.Fatalf("write %d: got %v, want ErrFull", n, refused)
	}
	if err := engine.Health(); !errors.Is(err, coord.ErrFull) {
		t.Errorf("health: got %v, want ErrFull", err)
	}
	if _, found, err := engine.Get(t.Context(), fmt.Sprintf("big/%d", n-1)); err != nil || found {
		t.Errorf("the refused key: found %t, %v, want none", found, err)
	}
	if index := mustTxn(t, engine, set("kept", "2")); index != last+1 {
		t.Errorf("a small write: index %d, want %d: the refused one left a trace", index, last+1)
	}
	if err := engine.Health(); err != nil {
		t.Errorf("health after a good write: %v", err)
	}
	closeEngine(t, engine)
	again := open(t, cfg, clock)
	entries, err := again.List(t.Context(), "")
	if err != nil || len(entries) != n {
		t.Errorf("after a restart: %d entries, %v, want %d", len(entries), err, n)
	}
}

func rotated(b []byte, by int) []byte { return append(bytes.Clone(b[by:]), b[:by]...) }

func TestSecondProcessIsRefused(t *testing.T) {
	cfg := embedded.Config{Path: filepath.Join(t.TempDir(), "store.db")}
	open(t, cfg, newVirtual())
	_, err := embedded.Open(cfg, embedded.Deps{})
	if err == nil {
		t.Fatal("the store opened twice")
	}
	for _, want := range []string{cfg.Path, "in use by process", fmt.Sprint(os.Getpid()), "end that process"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
}

// A child that outlives the store must not keep the file locked (PROTOCOL R33).
func TestLockIsNotInherited(t *testing.T) {
	cfg := embedded.Config{Path: filepath.Join(t.TempDir(), "store.db")}
	engine := open(t, cfg, newVirtual())
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	closeEngine(t, engine)
	again, err := embedded.Open(cfg, embedded.Deps{})
	if err != nil {
		t.Fatalf("open while a child of the first process lives: %v", err)
	}
	closeEngine(t, again)
}

func TestDamagedFileIsRefusedAndLeftAlone(t *testing.T) {
	dir := t.TempDir()
	sound := filepath.Join(dir, "sound.db")
	engine := open(t, embedded.Config{Path: sound}, newVirtual())
	for i := range 50 {
		mustTxn(t, engine, set(fmt.Sprintf("key/%02d", i), strings.Repeat(fmt.Sprint(i), 3000)))
	}
	if _, err := engine.CreateSession(t.Context(), coord.SessionSpec{TTL: testTTL, Behavior: coord.Release}); err != nil {
		t.Fatal(err)
	}
	closeEngine(t, engine)
	whole, err := os.ReadFile(sound)
	if err != nil {
		t.Fatal(err)
	}
	inEntry := bytes.LastIndex(whole, []byte("key/49")) + 20
	for name, contents := range map[string][]byte{
		"empty":      {},
		"text":       []byte("this is no store"),
		"truncated":  whole[:inEntry],
		"one page":   whole[:4096],
		"three":      whole[:3*4096],
		"entry":      flipped(whole, inEntry),
		"both metas": flipped(flipped(whole, 60), 4096+60),
		"zeroes":     append(bytes.Clone(whole[:2*4096]), make([]byte, len(whole)-2*4096)...),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".db")
			if err := os.WriteFile(path, contents, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := embedded.Open(embedded.Config{Path: path}, embedded.Deps{})
			if !errors.Is(err, embedded.ErrDamaged) {
				t.Fatalf("got %v, want ErrDamaged", err)
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "restore it from a copy") {
				t.Errorf("error %q names no file or no remedy", err)
			}
			after, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(after, contents) {
				t.Errorf("the file was changed (%v)", err)
			}
		})
	}
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0x55
	return b
}

func TestNothingIsLeftBesideTheFile(t *testing.T) {
	dir := t.TempDir()
	open(t, embedded.Config{Path: filepath.Join(dir, "data", "store.db")}, newVirtual())
	names, err := filepath.Glob(filepath.Join(dir, "data", ".*"))
	if err != nil || len(names) > 0 {
		t.Errorf("left beside the store: %v (%v)", names, err)
	}
}

func TestBadConfigIsRefused(t *testing.T) {
	for _, limit := range []int{-1, 1, 1<<20 - 1} {
		if _, err := embedded.Open(embedded.Config{MaxBytes: limit}, embedded.Deps{}); err == nil {
			t.Errorf("max bytes %d: accepted", limit)
		}
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	engine := open(t, embedded.Config{}, newVirtual())
	client, err := embedded.NewClient(serve(t, engine).address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	for name, store := range map[string]coord.Store{"engine": engine, "client": client} {
		for _, ops := range [][]coord.Op{{{Verb: coord.Set}}, {{Key: "k"}}, {{Verb: 200, Key: "k"}}, {set(strings.Repeat("k", 513), "v")}} {
			if _, err := store.Txn(t.Context(), ops); err == nil || errors.Is(err, coord.ErrUnknown) || errors.Is(err, coord.ErrUnavailable) {
				t.Errorf("%s: transaction %v: got %v, want a refusal", name, ops, err)
			}
		}
		for _, spec := range []coord.SessionSpec{
			{TTL: 0, Behavior: coord.Release}, {TTL: time.Microsecond, Behavior: coord.Release}, {TTL: 25 * time.Hour, Behavior: coord.Release},
			{TTL: testTTL}, {TTL: testTTL, Behavior: 3}, {TTL: testTTL, Behavior: coord.Release, Name: strings.Repeat("n", 300)},
		} {
			if id, err := store.CreateSession(t.Context(), spec); err == nil {
				t.Errorf("%s: session %+v: got %s, want a refusal", name, spec, id)
			}
		}
	}
}

func TestClosedStoreIsUnavailable(t *testing.T) {
	engine := open(t, embedded.Config{}, newVirtual())
	ended := make(chan error, 1)
	go func() { ended <- engine.Watch(context.Background(), "", func([]coord.Entry) {}) }()
	closeEngine(t, engine)
	if err := <-ended; !errors.Is(err, coord.ErrUnavailable) {
		t.Errorf("watch: got %v, want ErrUnavailable", err)
	}
	if _, err := engine.Txn(t.Context(), []coord.Op{set("k", "v")}); !errors.Is(err, coord.ErrUnavailable) {
		t.Errorf("transaction: got %v, want ErrUnavailable", err)
	}
	if _, err := engine.List(t.Context(), ""); !errors.Is(err, coord.ErrUnavailable) {
		t.Errorf("list: got %v, want ErrUnavailable", err)
	}
	if engine.Health() == nil {
		t.Error("health of a closed store: good")
	}
}
