package snapshot

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/shardmanager/shardmanager/internal/coord"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

const (
	// maxRecord is the largest record that is read: an entry at the store's limits.
	maxRecord = coord.MaxValueBytes + coord.MaxKeyBytes + 4<<10
	// maxContents bounds all keys and values of a file.
	maxContents = 4 << 30
)

// ErrDamaged marks a file that is not what was written.
var ErrDamaged = errors.New("damaged")

// Snapshot is a file's contents, whose checksum was good.
type Snapshot struct {
	Header  *pb.SnapshotHeader
	Entries []coord.Entry
	Sum     []byte // SHA-256
}

// Read reads a file whole. Errors about its contents wrap ErrDamaged, but for a format that this version does not know.
func Read(r io.Reader) (*Snapshot, error) {
	packed, err := gzip.NewReader(r)
	if err != nil {
		return nil, damaged("not a snapshot: %v", err)
	}
	in := &contents{from: bufio.NewReader(packed), sum: sha256.New()}
	start := make([]byte, len(magic))
	if _, err := io.ReadFull(in, start); err != nil || !bytes.Equal(start, []byte(magic)) {
		return nil, damaged("not a snapshot: it does not begin as one")
	}
	s := new(Snapshot)
	for read := uint64(0); ; {
		before := in.sum.Sum(nil)
		record := new(pb.SnapshotRecord)
		if err := (protodelim.UnmarshalOptions{MaxSize: maxRecord}).UnmarshalFrom(in, record); err != nil {
			return nil, damaged("after %d entries: %v", len(s.Entries), err)
		}
		switch body := record.GetRecord().(type) {
		case *pb.SnapshotRecord_Header:
			if s.Header != nil {
				return nil, damaged("two headers")
			}
			if s.Header = body.Header; s.Header.GetFormat() != format {
				return nil, fmt.Errorf("snapshot: format %d: this version of shardmanager reads format %d: use a newer one", s.Header.GetFormat(), format)
			}
		case *pb.SnapshotRecord_Entry:
			e := body.Entry
			if read += uint64(len(e.GetKey()) + len(e.GetValue())); read > maxContents {
				return nil, damaged("more than %d bytes of keys and values", maxContents)
			}
			if err := s.add(e); err != nil {
				return nil, err
			}
		case *pb.SnapshotRecord_Trailer:
			s.Sum = body.Trailer.GetSha256()
			return s, s.end(body.Trailer, before, in.from)
		default:
			return nil, damaged("after %d entries: a record of no known kind", len(s.Entries))
		}
	}
}

func (s *Snapshot) add(e *pb.SnapshotEntry) error {
	if s.Header == nil {
		return damaged("no header")
	}
	if n := len(s.Entries); n > 0 && s.Entries[n-1].Key >= e.GetKey() {
		return damaged("key %q comes after %q", e.GetKey(), s.Entries[n-1].Key)
	}
	s.Entries = append(s.Entries, coord.Entry{
		Key: e.GetKey(), Value: e.GetValue(), Create: coord.Index(e.GetCreateIndex()), Modify: coord.Index(e.GetModifyIndex()), Session: coord.SessionID(e.GetSession()),
	})
	return nil
}

// end checks that everything was read, and as it was written.
func (s *Snapshot) end(t *pb.SnapshotTrailer, sum []byte, rest io.Reader) error {
	switch n, err := io.Copy(io.Discard, io.LimitReader(rest, 1)); { // to the end, where gzip compares its own checksum
	case s.Header == nil:
		return damaged("no header")
	case !bytes.Equal(sum, t.GetSha256()):
		return damaged("SHA-256 is %x, %x was written", sum, t.GetSha256())
	case t.GetEntries() != uint64(len(s.Entries)):
		return damaged("%d entries, %d were written", len(s.Entries), t.GetEntries())
	case err != nil:
		return damaged("%v", err)
	case n > 0:
		return damaged("something comes after its end")
	}
	return nil
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("snapshot: %w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// contents are bytes that are summed as they are read.
type contents struct {
	from *bufio.Reader
	sum  hash.Hash
}

func (c *contents) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	_, _ = c.sum.Write(p[:n]) // never fails
	return n, err
}

func (c *contents) ReadByte() (byte, error) {
	b, err := c.from.ReadByte()
	if err == nil {
		_, _ = c.sum.Write([]byte{b}) // never fails
	}
	return b, err
}
