package dev

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
)

// writeJSON writes a file that programs read at any moment: it appears whole.
func writeJSON(path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// clearFile removes such a file, if there is one.
func clearFile(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
