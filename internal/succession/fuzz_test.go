package succession

import (
	"bytes"
	"slices"
	"testing"
)

// FuzzLines: whatever the other end says, what is taken as a line comes back as it was when it is written again, and after something
// else nothing is taken any more.
func FuzzLines(f *testing.F) {
	for _, seed := range []string{
		"", "{}\n", "{\"step\":\"prepared\",\"version\":\"v1\"}\n{\"step\":\"rests\"}\n", "{\"take\":{\"live\":3,\"attached\":2}}\n{\"stop\":true}\n", "null\n\n{}\n", "{\"stop\":true}", "[]\n{}",
		"{\"step\":1}\n", "{\"take\":{\"live\":1e400}}",
	} {
		f.Add([]byte(seed))
	}
	f.Add(append(bytes.Repeat([]byte{' '}, maxLine), "{}\n"...))
	f.Fuzz(func(t *testing.T, input []byte) {
		again(t, read[report](input))
		for _, o := range again(t, read[order](input)) {
			if o.Take != nil && len(input) == 0 {
				t.Fatal("an order of nothing")
			}
		}
	})
}

func read[T any](input []byte) (list []T) {
	for v := range lines[T](bytes.NewReader(input)) {
		list = append(list, v)
	}
	return list
}

// again writes what was read and reads it again.
func again[T any](t *testing.T, list []T) []T {
	var written bytes.Buffer
	for _, v := range list {
		if err := write(&written, v); err != nil {
			t.Fatal(err)
		}
	}
	var twice bytes.Buffer
	back := read[T](written.Bytes())
	for _, v := range back {
		if err := write(&twice, v); err != nil {
			t.Fatal(err)
		}
	}
	if len(back) != len(list) || !slices.Equal(written.Bytes(), twice.Bytes()) {
		t.Fatalf("%d lines became %d:\n%s\n%s", len(list), len(back), written.Bytes(), twice.Bytes())
	}
	return back
}
