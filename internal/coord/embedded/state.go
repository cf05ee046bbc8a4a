package embedded

import (
	"bytes"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// state is what the store holds. Entries are replaced, never modified.
type state struct {
	index    coord.Index
	keys     []string // of entries, in order
	entries  map[string]*coord.Entry
	sessions map[coord.SessionID]*session
}

type session struct {
	spec coord.SessionSpec
	// ends is when the session ends unless renewed.
	ends shard.Instant
	// over: it was not renewed in time; the change that removes it is under way or was refused by a full disk and is tried again.
	over bool
}

// grace is how long a session lasts without renewal (coord's package comment).
func (s *session) grace() time.Duration { return 2 * s.spec.TTL }

func newState() *state {
	return &state{entries: map[string]*coord.Entry{}, sessions: map[coord.SessionID]*session{}}
}

// change is one commit: what becomes of each key and session it touches; nil means that it goes.
type change struct {
	index    coord.Index
	entries  map[string]*coord.Entry
	sessions map[coord.SessionID]*session
}

func newChange() *change {
	return &change{entries: map[string]*coord.Entry{}, sessions: map[coord.SessionID]*session{}}
}

func (c *change) empty() bool { return len(c.entries) == 0 && len(c.sessions) == 0 }

// apply makes a committed change visible.
func (s *state) apply(c *change) {
	s.index = c.index
	for key, entry := range c.entries {
		at, there := slices.BinarySearch(s.keys, key)
		switch {
		case entry == nil && there:
			s.keys = slices.Delete(s.keys, at, at+1)
			delete(s.entries, key)
		case entry != nil:
			if !there {
				s.keys = slices.Insert(s.keys, at, key)
			}
			s.entries[key] = entry
		}
	}
	for id, changed := range c.sessions {
		if changed == nil {
			delete(s.sessions, id)
		} else {
			s.sessions[id] = changed
		}
	}
}

// staged is a change under construction: reads see what was staged before.
type staged struct {
	*state
	*change
}

func (s staged) entry(key string) (*coord.Entry, bool) {
	if entry, ok := s.change.entries[key]; ok {
		return entry, entry != nil
	}
	entry, ok := s.state.entries[key]
	return entry, ok
}

// write stages a value for a key, held by a session or by nobody.
func (s staged) write(key string, value []byte, holder coord.SessionID) {
	next := s.state.index + 1
	created := next
	if before, ok := s.entry(key); ok {
		created = before.Create
	}
	s.change.entries[key] = &coord.Entry{Key: key, Value: bytes.Clone(value), Create: created, Modify: next, Session: holder}
}

func (s staged) remove(key string) {
	if _, ok := s.entry(key); ok {
		s.change.entries[key] = nil
	}
}

// end stages the end of a session and what becomes of its keys. Values stay as they are.
func (s staged) end(id coord.SessionID) {
	ending, ok := s.state.sessions[id]
	if !ok {
		return
	}
	s.change.sessions[id] = nil
	for key, entry := range s.state.entries {
		if entry.Session != id {
			continue
		}
		if ending.spec.Behavior == coord.DeleteKeys {
			s.remove(key)
		} else {
			s.write(key, entry.Value, "")
		}
	}
}

// alive says whether a session may still take keys.
func (s staged) alive(id coord.SessionID) bool {
	found, ok := s.state.sessions[id]
	return ok && !found.over
}

func cloneEntry(e *coord.Entry) coord.Entry {
	copied := *e
	copied.Value = bytes.Clone(e.Value)
	return copied
}
