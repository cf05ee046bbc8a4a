package embedded

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// FuzzNumber: a number is refused, or the eight bytes that it is.
func FuzzNumber(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeNumber(b)
		if (err == nil) != (len(b) == 8) || err == nil && !bytes.Equal(binary.BigEndian.AppendUint64(nil, n), b) {
			t.Fatalf("%x is %d, %v", b, n, err)
		}
	})
}
