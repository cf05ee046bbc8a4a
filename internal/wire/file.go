package wire

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
)

// WriteFile replaces a state file by the stored form of a message, as ReplaceFile does.
func WriteFile(path string, m proto.Message) error {
	value, err := Encode(m)
	if err != nil {
		return fmt.Errorf("write state: %s: %w", path, err)
	}
	if err := ReplaceFile(path, value); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// ReplaceFile replaces a file, which only its owner can read: after a crash at any moment it is either the old one or the new one, whole, and once
// it returned, the new one. The directory must exist.
func ReplaceFile(path string, value []byte) error {
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := fill(temp, value); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", path, err), os.Remove(temp.Name()))
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", path, err), os.Remove(temp.Name()))
	}
	if err := syncDirectory(dir); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func fill(f *os.File, value []byte) error {
	if _, err := f.Write(value); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReadFile reads a state file into a message; found is false if there is none. The error of a damaged file wraps ErrCorrupt: the caller
// moves it aside with MoveAside and goes on as if there were none.
func ReadFile(path string, m proto.Message) (found bool, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read state: %w", err)
	}
	if info.Size() > MaxDecoded {
		return false, fmt.Errorf("read state: %s: %w", path, corrupt(m, "%d bytes: at most %d are possible", info.Size(), MaxDecoded))
	}
	value, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("read state: %w", err)
	}
	if err := Decode(value, m); err != nil {
		return false, fmt.Errorf("read state: %s: %w", path, err)
	}
	return true, nil
}

// MoveAside renames a corrupt file to `<path>.corrupt-<unix seconds>`, for a person to look at.
func MoveAside(path string) (newPath string, err error) {
	newPath = path + ".corrupt-" + strconv.FormatInt(time.Now().Unix(), 10)
	if err := os.Rename(path, newPath); err != nil {
		return "", fmt.Errorf("move corrupt state aside: %w", err)
	}
	return newPath, nil
}
