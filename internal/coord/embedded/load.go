package embedded

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// ErrDamaged marks a file that cannot be read whole. It is left as it is.
var ErrDamaged = errors.New("damaged store file")

func damaged(path string, cause error) error {
	return fmt.Errorf("%s: %w, left untouched: restore it from a copy; if its contents may be lost, stop every agent and application, move "+
		"the file away, and start again with an empty store: %w", path, ErrDamaged, cause)
}

// checkSize refuses an empty file before bbolt takes it for a new one: a store that starts empty takes terms back.
func checkSize(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: expected a regular file", path)
	}
	if info.Size() == 0 {
		return damaged(path, errors.New("the file is empty"))
	}
	return nil
}

// guarded runs fn and turns a panic, or an access beyond the end of a truncated file, into an error: bbolt meets damage with either.
func guarded(fn func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(before)
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("unreadable: %v", cause)
		}
	}()
	return fn()
}

// openBolt is bbolt.Open for a file that may be damaged.
func openBolt(path string, options *bbolt.Options) (db *bbolt.DB, err error) {
	var opened *os.File
	options.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		opened = f
		return f, err
	}
	err = guarded(func() (err error) {
		db, err = bbolt.Open(path, fileMode, options)
		return err
	})
	if err != nil && opened != nil {
		_ = opened.Close() // after a panic bbolt does not; twice does no harm
	}
	return db, err
}

// load reads and checks everything.
func (f *file) load() (*state, error) {
	s := newState()
	err := guarded(func() error { return f.db.View(func(tx *bbolt.Tx) error { return f.read(tx, s) }) })
	if err != nil {
		return nil, damaged(f.path, err)
	}
	return s, nil
}

func (f *file) read(tx *bbolt.Tx, s *state) error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	if info.Size() < tx.Size() {
		return fmt.Errorf("truncated: %d bytes instead of %d", info.Size(), tx.Size())
	}
	keys, sessions, meta := tx.Bucket(bucketKeys), tx.Bucket(bucketSessions), tx.Bucket(bucketMeta)
	if keys == nil || sessions == nil || meta == nil {
		return errors.New("no store of this kind: a bucket is missing")
	}
	found, err := decodeNumber(meta.Get(keyLayout))
	if err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	if found != layout {
		return fmt.Errorf("layout %d, expected %d: written by another version of this program?", found, layout)
	}
	index, err := decodeNumber(meta.Get(keyIndex))
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	s.index = coord.Index(index)
	return errors.Join(readSessions(sessions, s), readKeys(keys, s))
}

func readKeys(bucket *bbolt.Bucket, s *state) error {
	return bucket.ForEach(func(key, value []byte) error {
		var stored pb.StoreEntry
		if err := decode(key, value, &stored); err != nil {
			return err
		}
		entry := entryFromProto(&stored)
		switch {
		case entry.Key != string(key):
			return fmt.Errorf("key %q holds the entry of %q", key, entry.Key)
		case entry.Create == 0 || entry.Create > entry.Modify || entry.Modify > s.index:
			return fmt.Errorf("key %q: created at %d and modified at %d in a store at %d", key, entry.Create, entry.Modify, s.index)
		case entry.Session != "" && s.sessions[entry.Session] == nil:
			return fmt.Errorf("key %q: held by session %s, which does not exist", key, entry.Session)
		}
		s.keys = append(s.keys, entry.Key)
		s.entries[entry.Key] = &entry
		return nil
	})
}

func readSessions(bucket *bbolt.Bucket, s *state) error {
	return bucket.ForEach(func(id, value []byte) error {
		var stored pb.CreateSessionRequest
		if err := decode(id, value, &stored); err != nil {
			return err
		}
		spec := specFromProto(&stored)
		if err := checkSpec(spec); err != nil {
			return fmt.Errorf("session %q: %w", id, err)
		}
		s.sessions[coord.SessionID(id)] = &session{spec: spec}
		return nil
	})
}

func decode(key, value []byte, m proto.Message) error {
	if err := wire.Decode(value, m); err != nil {
		return fmt.Errorf("key %q: %w", key, err)
	}
	return nil
}
