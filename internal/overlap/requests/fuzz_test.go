package requests

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// FuzzRead: a log is refused, or every whole record of it is read as it stands there and is written as it was; whatever was read can be
// summarised.
func FuzzRead(f *testing.F) {
	f.Add([]byte(magic))
	f.Add([]byte(magic + "\x00"))
	f.Add([]byte(""))
	f.Add(append([]byte(magic+"\x00"), bytes.Repeat([]byte{1}, 2*recordSize+3)...))
	f.Fuzz(func(t *testing.T, contents []byte) {
		list, err := read(bytes.NewReader(contents))
		if err != nil {
			if list != nil {
				t.Fatalf("refused, and %d requests", len(list))
			}
			return
		}
		if len(list) != len(contents)/recordSize-1 {
			t.Fatalf("%d requests in %d bytes", len(list), len(contents))
		}
		path := filepath.Join(t.TempDir(), "log")
		l, err := Create(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			if err := l.Add(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		back, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		again, err := read(bytes.NewReader(back))
		if err != nil || len(again) != len(list) {
			t.Fatalf("%d requests became %d: %v", len(list), len(again), err)
		}
		for i := range list {
			if again[i] != list[i] {
				t.Fatalf("%+v became %+v", list[i], again[i])
			}
		}
		if s, err := Window(list, math.MinInt64, math.MaxInt64); err == nil && (s.Requests > len(list) || s.Failed+s.Wrong > s.Requests || s.P50 > s.P99 || s.P99 > s.Max) {
			t.Fatalf("%+v", s)
		}
	})
}
