package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"
)

// ErrCorrupt marks stored bytes that are not what was written: whoever reads them moves them aside or asks a person, and never guesses.
var ErrCorrupt = errors.New("corrupt value")

// MaxDecoded is the most a stored value may hold, decompressed: a map of the largest app takes a fifth of it.
const MaxDecoded = 64 << 20

const (
	formatZstd  = 1 // the only format so far
	windowBytes = 512 << 10
	sumBytes    = crc32.Size
)

// Encode makes the stored form of a message: format byte, zstd, CRC32C. Equal messages have equal forms.
func Encode(m proto.Message) ([]byte, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", nameOf(m), err)
	}
	if len(raw) > MaxDecoded {
		return nil, fmt.Errorf("encode %s: %d bytes: a stored value may have at most %d", nameOf(m), len(raw), MaxDecoded)
	}
	encoder, err := encoderOnce()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", nameOf(m), err)
	}
	out := make([]byte, 1, 1+sumBytes+len(raw)/2)
	out[0] = formatZstd
	out = encoder.EncodeAll(raw, out)
	return binary.BigEndian.AppendUint32(out, checksum(out)), nil
}

// Decode reads the stored form of a message into m. What is wrong with the bytes is told by an error that wraps ErrCorrupt; m is then
// undefined.
func Decode(b []byte, m proto.Message) error {
	switch {
	case len(b) == 0:
		return corrupt(m, "empty")
	case b[0] != formatZstd:
		return corrupt(m, "unknown format %d: written by a newer version?", b[0])
	case len(b) < 1+sumBytes:
		return corrupt(m, "truncated: %d bytes", len(b))
	}
	body, sum := b[:len(b)-sumBytes], binary.BigEndian.Uint32(b[len(b)-sumBytes:])
	if got := checksum(body); got != sum {
		return corrupt(m, "checksum %08x instead of %08x: damaged or truncated", got, sum)
	}
	decoder, err := decoderOnce()
	if err != nil {
		return fmt.Errorf("decode %s: %w", nameOf(m), err)
	}
	raw, err := decoder.DecodeAll(body[1:], nil)
	if err != nil {
		return corrupt(m, "decompression: %v", err)
	}
	if err := proto.Unmarshal(raw, m); err != nil {
		return corrupt(m, "no message of this kind: %v", err)
	}
	return nil
}

func corrupt(m proto.Message, format string, args ...any) error {
	return fmt.Errorf("decode %s: %w: %s", nameOf(m), ErrCorrupt, fmt.Sprintf(format, args...))
}

func nameOf(m proto.Message) string { return string(m.ProtoReflect().Descriptor().Name()) }

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// The coders hold no state between calls and are safe for concurrent use; each costs megabytes, so a process makes one of each, when it
// first needs it.
var (
	encoderOnce = sync.OnceValues(func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(windowBytes),
			zstd.WithEncoderCRC(false))
	})
	decoderOnce = sync.OnceValues(func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(MaxDecoded))
	})
)
