package allocator

import (
	"context"
	"slices"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// registrations decodes watched servers' keys, each only once.
type registrations struct {
	keys  storage.Keys
	known map[string]known
}

type known struct {
	modify coord.Index
	key    ledger.Registration
	err    error
}

// read returns what can be read; a key that cannot be is reported to the ledger when it asks for it.
func (r *registrations) read(entries []coord.Entry) []ledger.Registration {
	now := make(map[string]known, len(entries))
	out := make([]ledger.Registration, 0, len(entries))
	for _, e := range entries {
		k, ok := r.known[e.Key]
		if !ok || k.modify != e.Modify {
			k.modify = e.Modify
			k.key, k.err = r.keys.Registration(serverOf(r.keys, e.Key), e)
		}
		k.key.Session = string(e.Session)
		now[e.Key] = k
		if k.err == nil {
			out = append(out, k.key)
		}
	}
	r.known = now
	return out
}

func serverOf(keys storage.Keys, key string) shard.ServerID {
	return shard.ServerID(strings.TrimPrefix(key, keys.Servers()))
}

// readServers reads servers' keys consistently; the instants are read before the reads are sent.
func (t *tenure) readServers(work context.Context, ids []shard.ServerID) []ledger.RegistrationRead {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) > singleReads {
		return t.readAllServers(work, ids)
	}
	answers := make([]ledger.RegistrationRead, len(ids))
	for i, id := range ids {
		call, cancel := context.WithTimeout(work, callTimeout)
		asked := t.a.clock()
		entry, found, err := t.a.store.Get(call, t.a.keys.Server(id))
		cancel()
		answers[i] = t.answer(id, asked, entry, found, err)
	}
	return answers
}

func (t *tenure) readAllServers(work context.Context, ids []shard.ServerID) []ledger.RegistrationRead {
	call, cancel := context.WithTimeout(work, loadTimeout)
	defer cancel()
	asked := t.a.clock()
	entries, err := t.a.store.List(call, t.a.keys.Servers())
	byID := make(map[shard.ServerID]coord.Entry, len(entries))
	for _, e := range entries {
		byID[serverOf(t.a.keys, e.Key)] = e
	}
	answers := make([]ledger.RegistrationRead, len(ids))
	for i, id := range ids {
		entry, found := byID[id]
		answers[i] = t.answer(id, asked, entry, found, err)
	}
	return answers
}

func (t *tenure) answer(id shard.ServerID, asked shard.Instant, entry coord.Entry, found bool, err error) ledger.RegistrationRead {
	answer := ledger.RegistrationRead{Server: id, Asked: asked, Found: found}
	if err == nil && found {
		answer.Key, err = t.a.keys.Registration(id, entry)
	}
	if err != nil {
		return ledger.RegistrationRead{Server: id, Asked: asked, Err: err.Error()}
	}
	return answer
}
