package sdk

import (
	"errors"
	"fmt"
	"time"
)

// ErrNoShard is the cause of the *Error of a request whose key names no shard of a named key space: it was never created, or it was deleted.
var ErrNoShard = errors.New("the app has no shard of that name")

// missingPatience is how long a request waits for a shard of its key's name: the news of a shard comes after the answer to who created it.
const missingPatience = 2 * time.Second

// absent is the channel of when to give up, while a map has no shard of the key's name; nil: it has, or there is no map.
func (c *routed) absent(v *mapView) <-chan time.Time {
	if !v.lacks(c.key) {
		c.absence = nil
		return nil
	}
	if c.absence == nil {
		c.absence = time.NewTimer(missingPatience)
	}
	return c.absence.C
}

// lacks reports whether there is a map, without a shard of that name.
func (v *mapView) lacks(key string) bool {
	if v.m == nil {
		return false
	}
	_, ok := v.m.OfString(key)
	return !ok
}

// missing completes the error of a request that was given up while the map had no shard of its name.
func (e *Error) missing(v *mapView, key string, cause error) {
	e.Shard = key
	if e.Reason == "" {
		e.Reason = "not in map version " + v.m.Version.String()
	}
	if !errors.Is(e.Err, ErrNoShard) {
		e.Err = fmt.Errorf("%w: %w", ErrNoShard, cause)
	}
}
