package overlap

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ticking is a clock that advances by one at every reading.
func ticking() func() int64 {
	var n int64
	return func() int64 { n++; return n }
}

func mustCreate(t *testing.T, path string, limit int64) *Writer {
	t.Helper()
	w, err := create(path, limit, ticking())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func mustRead(t *testing.T, path string, want int) []History {
	t.Helper()
	h, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(h) != want {
		t.Fatalf("%d histories, want %d", len(h), want)
	}
	return h
}

func TestWriterAndReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	w := mustCreate(t, path, MaxFileBytes)
	w.SetServer("a.kv", 11)
	w.SetServer("a.kv", 11)
	w.LeaseExtended(600)
	w.Activated("07", 3, 100)
	w.Operation("07", 3, 110, 120)
	w.Released("07", 3, 130)
	w.LeaseRevoked(140)
	w.SetServer("a.kv", 12)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := []Record{
		{Kind: ServerNamed, Name: "a.kv", Term: 11, At: 2},
		{Kind: LeaseExtended, At: 3, End: 600},
		{Kind: Activated, Name: "07", Term: 3, At: 100},
		{Kind: Operation, Name: "07", Term: 3, At: 110, End: 120},
		{Kind: Released, Name: "07", Term: 3, At: 130},
		{Kind: LeaseRevoked, At: 140},
		{Kind: ServerNamed, Name: "a.kv", Term: 12, At: 4},
		{Kind: ProcessClosed, At: 5},
	}
	h := mustRead(t, path, 1)[0]
	if diff := cmp.Diff(want, h.Records); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Process{File: path, PID: os.Getpid()}, h.Process); diff != "" || h.Opened != 1 || h.Torn {
		t.Errorf("%s opened %d torn %v", diff, h.Opened, h.Torn)
	}
}

func TestWriterGoesOnAfterTornRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	first := mustCreate(t, path, MaxFileBytes)
	first.Activated("1", 1, 5)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, torn := range [][]byte{whole[:len(whole)-1], append(whole[:len(whole):len(whole)], make([]byte, recordSize)...)} {
		if err := os.WriteFile(path, torn, 0o644); err != nil {
			t.Fatal(err)
		}
		if h := mustRead(t, path, 1)[0]; !h.Torn {
			t.Error("the torn record went unnoticed")
		}
		second := mustCreate(t, path, MaxFileBytes)
		second.Activated("1", 2, 9)
		h := mustRead(t, path, 2)
		if h[0].Torn || len(h[1].Records) != 1 || h[1].Records[0].Term != 2 {
			t.Errorf("histories %+v", h)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	w := mustCreate(t, path, MaxFileBytes)
	w.Activated("1", 1, 5)
	w.Activated("2", 1, 6)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte(nil), whole...)
	damaged[recordSize+20]++
	for name, c := range map[string]struct{ content, want string }{
		"damaged in the middle": {string(damaged), "byte 64: checksum mismatch"},
		"without a start":       {string(whole[recordSize:]), "not a history"},
		"something else":        {strings.Repeat("text", 100), "not a history"},
		"something short":       {"text", "not a history"},
	} {
		if err := os.WriteFile(path, []byte(c.content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want one with %q and the path", name, err, c.want)
		}
	}
	if _, err := Create(path + "/x"); err == nil {
		t.Error("created below a file")
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("text", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path); err == nil || !strings.Contains(err.Error(), "choose another path") {
		t.Errorf("create over a file of another kind: %v", err)
	}
}

func TestWriterLimitsAndFailures(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	w := mustCreate(t, path, 4*recordSize)
	for i := range int64(10) {
		w.Activated("1", 1, i)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	h := mustRead(t, path, 1)[0]
	if n := len(h.Records); n != 3 || h.Records[2].Kind != FileFull {
		t.Errorf("records %+v, want two and FileFull", h.Records)
	}

	long := mustCreate(t, path+"2", MaxFileBytes)
	long.Activated(strings.Repeat("x", MaxName), 1, 1)
	if err := long.Err(); err != nil {
		t.Fatal(err)
	}
	long.Activated(strings.Repeat("x", MaxName+1), 1, 1)
	long.Activated("1", 1, 1)
	<-long.Failed()
	if err := long.Close(); err == nil || !strings.Contains(err.Error(), "choose a shorter name") {
		t.Errorf("error %v", err)
	}

	gone := mustCreate(t, path+"3", MaxFileBytes)
	if err := gone.file.Close(); err != nil {
		t.Fatal(err)
	}
	gone.LeaseExtended(5)
	<-gone.Failed()
	if gone.Err() == nil {
		t.Error("a failed write went unnoticed")
	}
}

func TestWriterIsSafeForConcurrentUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	w := mustCreate(t, path, MaxFileBytes)
	var group sync.WaitGroup
	for i := range uint64(4) {
		group.Go(func() {
			for j := range int64(200) {
				w.SetServer("a.kv", 1)
				w.Operation("1", i, j, j)
			}
		})
	}
	group.Wait()
	h := mustRead(t, path, 1)[0]
	if len(h.Records) != 801 || h.Records[0].Kind != ServerNamed {
		t.Errorf("%d records, first %+v", len(h.Records), h.Records[0])
	}
}

// TestKilledWriterLosesNothing kills -9 a process right after it recorded, and reads what it had acknowledged.
func TestKilledWriterLosesNothing(t *testing.T) {
	if path := os.Getenv("OVERLAP_TEST_HISTORY"); path != "" {
		w, err := Create(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range int64(1000) {
			w.Operation("1", 1, i, i)
		}
		_, _ = os.Stdout.WriteString("recorded\n")
		<-w.Failed() // never: until the signal
	}
	path := filepath.Join(t.TempDir(), "h")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriterLosesNothing$")
	cmd.Env = append(os.Environ(), "OVERLAP_TEST_HISTORY="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 64)
	if _, err := out.Read(buffer); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	h := mustRead(t, path, 1)[0]
	if len(h.Records) != 1000 || h.Process.PID != cmd.Process.Pid {
		t.Errorf("%d records of pid %d, want 1000 of %d", len(h.Records), h.Process.PID, cmd.Process.Pid)
	}
}

func BenchmarkWriter(b *testing.B) {
	w, err := Create(filepath.Join(b.TempDir(), "h"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		w.Operation("07", 3, 1, 2)
	}
}

func BenchmarkAnalyse(b *testing.B) {
	const shards, operations = 96, 200_000
	histories := []History{life(1, forever), life(2, forever)}
	for i := range int64(operations) {
		h := &histories[i%2]
		h.Records = append(h.Records, Record{Kind: Operation, Name: string(rune('0' + i%shards)), Term: 1, At: i * 10, End: i*10 + 5})
	}
	histories[0].Records = append(histories[0].Records, activated(1, 1))
	for b.Loop() {
		if _, err := Analyse(histories, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/operations/float64(time.Nanosecond), "ns/operation")
}
