// Package statefile keeps what an allocator must remember over its own death: the session that a later life may end (PROTOCOL R26).
//
// Called by the allocator's shell. The directory is locked for the life of the process.
package statefile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// bootIDFile names the present boot of the machine.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// File remembers this allocator's session across its own death. The directory is locked for the life of the process, so nobody else
// with this state lives on the same boot: that is what allows the old session to be destroyed (PROTOCOL R26).
type File struct {
	path    string
	lock    *os.File
	cluster string
	name    string
	boot    string
	// Session of an earlier life that may be destroyed; empty: none.
	Old coord.SessionID
}

// Open locks the directory and reads the file. A corrupt file is moved aside: moved says where to, for the log.
func Open(dir, cluster, name string) (s *File, moved string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, "", fmt.Errorf("state_dir: %w", err)
	}
	boot, err := os.ReadFile(bootIDFile)
	if err != nil {
		return nil, "", fmt.Errorf("state: boot id: %w", err)
	}
	lock, err := lockDirectory(dir)
	if err != nil {
		return nil, "", err
	}
	s = &File{
		path: filepath.Join(dir, "allocator.state"), lock: lock, cluster: cluster, name: name, boot: string(bytes.TrimSpace(boot)),
	}
	moved, err = s.read()
	if err != nil {
		return nil, "", errors.Join(err, s.Close())
	}
	return s, moved, nil
}

func lockDirectory(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644) // close-on-exec, as all files of package os
	if err != nil {
		return nil, fmt.Errorf("state_dir: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("state_dir: %s: in use by another allocator (%w): give each a directory of its own", dir, err), f.Close())
	}
	return f, nil
}

func (s *File) read() (moved string, err error) {
	record := new(pb.AllocatorState)
	_, err = wire.ReadFile(s.path, record)
	if errors.Is(err, wire.ErrCorrupt) {
		aside, moveErr := wire.MoveAside(s.path)
		return aside, moveErr // without it, the old session ends by itself
	}
	if err != nil {
		return "", err
	}
	if record.Cluster != "" && (record.Cluster != s.cluster || record.Allocator != s.name) {
		return "", fmt.Errorf("state_dir: %s: belongs to allocator %s of cluster %s, not to %s of %s: give each a directory of its own",
			s.path, record.Allocator, record.Cluster, s.name, s.cluster)
	}
	if record.BootId == s.boot { // of another boot, its owner might live on another machine: that session ends by itself
		s.Old = coord.SessionID(record.Session)
	}
	return "", nil
}

// Remember writes down a session before anything is held by it.
func (s *File) Remember(session coord.SessionID) error {
	return wire.WriteFile(s.path, &pb.AllocatorState{Cluster: s.cluster, Allocator: s.name, Session: string(session), BootId: s.boot})
}

// EndOld destroys the session of an earlier life.
func (s *File) EndOld(ctx context.Context, sessions coord.Sessions) error {
	if s.Old == "" {
		return nil
	}
	if err := sessions.DestroySession(ctx, s.Old); err != nil {
		return fmt.Errorf("end session of an earlier life: %w", err)
	}
	s.Old = ""
	return nil
}

// Close gives the directory up.
func (s *File) Close() error { return s.lock.Close() }
