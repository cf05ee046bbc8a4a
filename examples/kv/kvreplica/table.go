package kvreplica

import (
	"errors"
	"slices"
)

const (
	// maxClients is how many clients' last requests are remembered per key; the one that wrote longest ago is forgotten first.
	maxClients = 8
	// maxKeys is how many keys a shard may have; writes to further ones are refused.
	maxKeys = 1 << 20
)

// RequestID names one write to a key; a client numbers them upwards.
type RequestID struct{ Client, Number uint64 }

// write is one increment as the primary carried it out: replicas repeat its effect, not its computation.
type write struct {
	sequence uint64 // counts the writes of the shard
	key      string
	value    int64 // after it
	request  RequestID
}

// table is the data of a shard, by key.
type table map[string]*record

type record struct {
	value   int64
	applied []applied // oldest first, one per client, at most maxClients
}

// applied is a request that was carried out, with its answer.
type applied struct {
	RequestID
	value int64
}

// ErrSuperseded says that a later request of the client was applied; this one never will be.
var ErrSuperseded = errors.New("a later request of the client was applied")

// find looks for a request among those applied: its answer, if it is the client's last.
func (r *record) find(id RequestID) (value int64, found bool, err error) {
	if r == nil {
		return 0, false, nil
	}
	for _, a := range r.applied {
		switch {
		case a.Client != id.Client:
		case a.Number == id.Number:
			return a.value, true, nil
		case a.Number > id.Number:
			return 0, false, ErrSuperseded
		}
	}
	return 0, false, nil
}

func (t table) value(key string) int64 {
	if r := t[key]; r != nil {
		return r.value
	}
	return 0
}

// apply carries a write out.
func (t table) apply(w write) {
	r := t[w.key]
	if r == nil {
		r = &record{}
		t[w.key] = r
	}
	r.value = w.value
	if i := slices.IndexFunc(r.applied, func(a applied) bool { return a.Client == w.request.Client }); i >= 0 {
		r.applied = slices.Delete(r.applied, i, i+1)
	} else if len(r.applied) == maxClients {
		r.applied = slices.Delete(r.applied, 0, 1)
	}
	r.applied = append(r.applied, applied{RequestID: w.request, value: w.value})
}

// clone copies everything.
func (t table) clone() table {
	c := make(table, len(t))
	for key, r := range t {
		c[key] = &record{value: r.value, applied: slices.Clone(r.applied)}
	}
	return c
}
