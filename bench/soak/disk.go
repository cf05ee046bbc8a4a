package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// diskSize of a small disk, in bytes: states need kilobytes.
const diskSize = 4 << 20

// small lists whose states are on small disks, which can be filled.
var small = []string{"node-1", "node-4", "allocator-1", "allocator-2"}

// disk is a file system of its own for a state directory.
type disk struct{ path string }

// mountDisks gives some processes a disk. That takes root: without, no disk is filled.
func (c *cluster) mountDisks() error {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range small {
		d := &disk{path: filepath.Join(c.cfg.dir, "state", name)}
		if err := os.MkdirAll(d.path, 0o755); err != nil {
			return err
		}
		err := syscall.Mount("tmpfs", d.path, "tmpfs", 0, fmt.Sprintf("size=%d", diskSize))
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
			return nil // root in a container that may not
		}
		if err != nil {
			return fmt.Errorf("mount %s: %w", d.path, err)
		}
		c.disks[name] = d
	}
	return nil
}

func (d *disk) filler() string { return filepath.Join(d.path, "filler") }

// fill takes all the room that is left.
func (d *disk) fill() error {
	file, err := os.Create(d.filler())
	if err != nil {
		return err
	}
	block := make([]byte, 4096)
	for err == nil {
		_, err = file.Write(block)
	}
	if errors.Is(err, syscall.ENOSPC) {
		err = nil
	}
	return errors.Join(err, file.Close())
}

// free gives it back.
func (d *disk) free() error {
	if err := os.Remove(d.filler()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *disk) unmount() error { return syscall.Unmount(d.path, syscall.MNT_DETACH) }
