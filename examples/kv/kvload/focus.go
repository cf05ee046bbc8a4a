package kvload

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"sync/atomic"
)

// Focus is a part of the load that goes to few shards. It is read from a file every second, as JSON, and so shifts while the generator
// runs; without the file every key is as likely as every other.
type Focus struct {
	Share  float64  `json:"share"`  // of the requests, 0 to 1
	Shards []uint32 `json:"shards"` // by index
}

func (f Focus) validate() error {
	if f.Share < 0 || f.Share > 1 {
		return fmt.Errorf("focus: share %v: expected 0 to 1", f.Share)
	}
	return nil
}

// readFocus reads the file; there need be none.
func readFocus(path string) (Focus, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Focus{}, nil
	}
	if err != nil {
		return Focus{}, fmt.Errorf("focus: %w", err)
	}
	var f Focus
	if err := json.Unmarshal(text, &f); err != nil {
		return Focus{}, fmt.Errorf("focus: %s: %w", path, err)
	}
	return f, f.validate()
}

// keyChoice draws keys: a share of the draws from those in focus, the rest from all.
type keyChoice struct {
	all   int
	focus atomic.Pointer[focused]
}

// focused is a Focus with the keys that it means, by their positions.
type focused struct {
	Focus
	keys []int
}

// shift changes the focus. Shards without a key change nothing.
func (c *keyChoice) shift(f Focus, keys []keyState) {
	if before := c.focus.Load(); before != nil && before.Share == f.Share && slices.Equal(before.Shards, f.Shards) {
		return
	}
	next := &focused{Focus: f}
	for i := range keys {
		if slices.Contains(f.Shards, keys[i].shard) {
			next.keys = append(next.keys, i)
		}
	}
	c.focus.Store(next)
}

// draw is the position of a key.
func (c *keyChoice) draw() int {
	if f := c.focus.Load(); f != nil && len(f.keys) > 0 && rand.Float64() < f.Share {
		return f.keys[rand.IntN(len(f.keys))]
	}
	return rand.IntN(c.all)
}
