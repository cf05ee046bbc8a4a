package overlap

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"testing"
)

// FuzzRead: a history is refused, or what was read is what stands there, record by record; and it can be judged without a panic. The
// second argument says whether checksums are put right, so that what lies beneath them is reached.
func FuzzRead(f *testing.F) {
	var good []byte
	for _, r := range []Record{
		{Kind: ProcessStarted, Name: magic, Term: 7, At: 1}, {Kind: ServerNamed, Name: "a.kv", Term: 11, At: 2}, {Kind: LeaseExtended, At: 3, End: 600},
		{Kind: Activated, Name: "07", Term: 3, At: 100}, {Kind: Operation, Name: "07", Term: 3, At: 110, End: 120}, {Kind: Released, Name: "07", Term: 3, At: 130},
		{Kind: LeaseRevoked, At: 140}, {Kind: ProcessClosed, At: 150},
		{Kind: ProcessStarted, Name: magic, Term: 8, At: 90}, {Kind: ServerNamed, Name: "b.kv", Term: 12, At: 91}, {Kind: LeaseExtended, At: 92, End: 900},
		{Kind: Activated, Name: "07", Term: 4, At: 125}, {Kind: Operation, Name: "07", Term: 4, At: 126, End: 160}, {Kind: FileFull, At: 170},
	} {
		var b [recordSize]byte
		r.encode(&b)
		good = append(good, b[:]...)
	}
	f.Add(good, false)
	f.Add(good, true)
	f.Add(good[:8*recordSize], true)
	f.Add(good[:recordSize+5], false)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, contents []byte, right bool) {
		contents = bytes.Clone(contents)
		for at := 0; right && at+recordSize <= len(contents); at += recordSize {
			b := contents[at : at+recordSize]
			binary.LittleEndian.PutUint32(b[4:], checksum(b))
		}
		histories, err := read(bufio.NewReader(bytes.NewReader(contents)), "h")
		if err != nil {
			return
		}
		at := 0
		for _, h := range histories {
			for _, r := range append([]Record{{Kind: ProcessStarted, Name: magic, Term: uint64(h.Process.PID), At: h.Opened}}, h.Records...) {
				var b [recordSize]byte
				r.encode(&b)
				stored := contents[at : at+recordSize]
				if r.Kind != ProcessStarted && !bytes.Equal(b[8:32+len(r.Name)], stored[8:32+len(r.Name)]) || b[0] != stored[0] || b[1] != stored[1] {
					t.Fatalf("byte %d: %+v is not what stands there", at, r)
				}
				at += recordSize
			}
		}
		if left := len(contents) - at; left > recordSize || left > 0 && !histories[len(histories)-1].Torn {
			t.Fatalf("%d bytes are in no history", left)
		}
		if r, err := Analyse(histories, nil); err == nil && (r.Overlap < 0 || r.Count < len(r.Overlaps) || len(r.Overlaps) > MaxListed) {
			t.Fatalf("%+v", r)
		}
	})
}
