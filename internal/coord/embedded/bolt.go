package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

const (
	// minFileBytes is the smallest useful limit of the file: bbolt needs room to copy what it changes.
	minFileBytes = 1 << 20
	// lockPatience is how long Open waits for another process to let go of the file.
	lockPatience = time.Second
	fileMode     = 0o600
	// layout is the number of this layout of buckets; another one is refused.
	layout = 1
)

// Buckets: `keys` maps a key to a StoreEntry, `sessions` an id to the CreateSessionRequest that made it, both in wire's stored form, which
// carries a checksum; `meta` holds the layout and the index.
var (
	bucketKeys     = []byte("keys")
	bucketSessions = []byte("sessions")
	bucketMeta     = []byte("meta")
	keyLayout      = []byte("layout")
	keyIndex       = []byte("index")
)

// file is the state in one bbolt file.
type file struct {
	path string
	db   *bbolt.DB
}

// openFile opens and locks the file. A new one comes into being whole: a crash before that leaves nothing under its name.
func openFile(cfg Config) (*file, error) {
	if _, err := os.Stat(cfg.Path); errors.Is(err, os.ErrNotExist) {
		if err := createFile(cfg.Path); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	if err := checkSize(cfg.Path); err != nil {
		return nil, err
	}
	db, err := openBolt(cfg.Path, &bbolt.Options{Timeout: lockPatience, FreelistType: bbolt.FreelistMapType, MaxSize: cfg.MaxBytes})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("%s: in use by %s: end that process, or give this one another directory", cfg.Path, holderOfFile(cfg.Path))
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%w: run as the owner of the file, or give another directory", err)
	case err != nil:
		return nil, damaged(cfg.Path, err)
	}
	return &file{path: cfg.Path, db: db}, nil
}

// createFile makes an empty store beside its place and links it there. If another process was faster, its file stays.
func createFile(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }() // only the name goes: the linked file stays
	if err := temp.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(temp.Name(), fileMode, &bbolt.Options{Timeout: lockPatience})
	if err != nil {
		return fmt.Errorf("%s: create: %w", path, err)
	}
	if err := errors.Join(db.Update(lay), db.Close()); err != nil {
		return fmt.Errorf("%s: create: %w", path, err)
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func lay(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bucketKeys, bucketSessions, bucketMeta} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(bucketMeta)
	return errors.Join(meta.Put(keyLayout, encodeNumber(layout)), meta.Put(keyIndex, encodeNumber(0)))
}

// commit writes a change in one bbolt transaction, synced to the disk.
func (f *file) commit(c *change) error {
	err := guarded(func() error { return f.db.Update(func(tx *bbolt.Tx) error { return put(tx, c) }) })
	if err == nil {
		return nil
	}
	// bbolt answers errors of its last step, too, when the new root may be there already: what can be read back decides.
	if kept, readErr := f.index(); readErr == nil && kept == uint64(c.index) {
		return fmt.Errorf("%s: %w: written, but not known to be on the disk: %w", f.path, coord.ErrUnknown, err)
	}
	if isFull(err) {
		return fmt.Errorf("%s: %w: make room on the disk or raise the limit: %w", f.path, coord.ErrFull, err)
	}
	return fmt.Errorf("%s: %w: %w", f.path, coord.ErrUnavailable, err)
}

// index reads the index that the file stands at.
func (f *file) index() (index uint64, err error) {
	err = guarded(func() error {
		return f.db.View(func(tx *bbolt.Tx) (err error) {
			index, err = decodeNumber(tx.Bucket(bucketMeta).Get(keyIndex))
			return err
		})
	})
	return index, err
}

// isFull recognises the ways in which room runs out.
func isFull(err error) bool {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, berrors.ErrMaxSizeReached} {
		if errors.Is(err, full) {
			return true
		}
	}
	return false
}

func put(tx *bbolt.Tx, c *change) error {
	keys, sessions := tx.Bucket(bucketKeys), tx.Bucket(bucketSessions)
	for key, entry := range c.entries {
		if entry == nil {
			if err := keys.Delete([]byte(key)); err != nil {
				return err
			}
			continue
		}
		if err := putMessage(keys, key, entryToProto(*entry)); err != nil {
			return err
		}
	}
	for id, s := range c.sessions {
		if s == nil {
			if err := sessions.Delete([]byte(id)); err != nil {
				return err
			}
			continue
		}
		if err := putMessage(sessions, string(id), specToProto(s.spec)); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMeta).Put(keyIndex, encodeNumber(uint64(c.index)))
}

func putMessage(bucket *bbolt.Bucket, key string, m proto.Message) error {
	value, err := wire.Encode(m)
	if err != nil {
		return err
	}
	return bucket.Put([]byte(key), value)
}

func (f *file) close() error { return f.db.Close() }

func encodeNumber(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func decodeNumber(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("expected a number of 8 bytes, not %d", len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

func entryToProto(e coord.Entry) *pb.StoreEntry {
	return &pb.StoreEntry{
		Key: e.Key, Value: e.Value, CreateIndex: uint64(e.Create), ModifyIndex: uint64(e.Modify), Session: string(e.Session),
	}
}

func entryFromProto(e *pb.StoreEntry) coord.Entry {
	return coord.Entry{
		Key: e.GetKey(), Value: e.GetValue(), Create: coord.Index(e.GetCreateIndex()), Modify: coord.Index(e.GetModifyIndex()),
		Session: coord.SessionID(e.GetSession()),
	}
}

func specToProto(s coord.SessionSpec) *pb.CreateSessionRequest {
	return &pb.CreateSessionRequest{Name: s.Name, TtlMs: s.TTL.Milliseconds(), Behavior: pb.SessionBehavior(s.Behavior)}
}

func specFromProto(s *pb.CreateSessionRequest) coord.SessionSpec {
	return coord.SessionSpec{
		Name: s.GetName(), TTL: time.Duration(s.GetTtlMs()) * time.Millisecond, Behavior: coord.Behavior(s.GetBehavior()),
	}
}
