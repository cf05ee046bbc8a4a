package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/shardmanager/shardmanager/sdk"
)

// storage is a directory that all servers share, a file for each shard. It stands for your database, and does the one thing that yours has to do,
// too: it keeps the highest term of each shard, and refuses whoever comes with a lower one.
type storage struct {
	directory string
	mu        sync.Mutex // flock is between processes; this is between goroutines
}

// contents of a file.
type contents struct {
	Term  uint64
	Pages map[string][]string // guests of each page, in the order in which they came
}

// errFenced: somebody owns the shard at a higher term.
var errFenced = errors.New("the shard has a newer owner")

// open raises the term of a shard, and then reads its pages.
func (s *storage) open(sh sdk.Shard) (pages map[string][]string, err error) {
	err = s.change(sh, func(c *contents) { pages = c.Pages })
	return pages, err
}

// sign writes a guest's name on a page, and returns all that are on it.
func (s *storage) sign(sh sdk.Shard, page, name string) (guests []string, err error) {
	err = s.change(sh, func(c *contents) {
		c.Pages[page] = append(c.Pages[page], name)
		guests = c.Pages[page]
	})
	return guests, err
}

// change reads a shard's file, checks the term, and writes it anew; all or nothing.
func (s *storage) change(sh sdk.Shard, do func(*contents)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	file := filepath.Join(s.directory, sh.ID)
	lock, err := os.OpenFile(file+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // gives the lock up
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	c := contents{Pages: map[string][]string{}}
	switch text, err := os.ReadFile(file); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(text, &c); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if sh.Term < c.Term {
		return fmt.Errorf("shard %s: %w: it is at term %d, this server at %d", sh.ID, errFenced, c.Term, sh.Term)
	}
	c.Term = sh.Term
	do(&c)
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
