package ledger

import (
	"slices"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// published is what the watchers of an app's map know, and what they are to learn at the end of the step.
type published struct {
	version shard.Version
	entries []entry
	servers map[shard.ServerID]shard.Server

	changedServers map[shard.ServerID]struct{}
	changedShards  []shard.Entry
	changedNames   []shard.Named
}

type entry struct {
	server *server // nil: no primary
	term   shard.Term
	others []*server // secondaries that may be read; never changed in place
}

func (e entry) equal(f entry) bool {
	return e.server == f.server && e.term == f.term && slices.Equal(e.others, f.others)
}

// nextVersion numbers the maps of all apps together, so that an app that is deleted and created again goes on above its old maps.
func (l *Ledger) nextVersion() shard.Version {
	l.maps++
	return shard.Version{Epoch: l.epoch, Counter: l.maps}
}

// publishWhole makes the first map of an app under this leader, from the durable rows (PROTOCOL R23).
func (l *Ledger) publishWhole(a *app) {
	p := &a.published
	*p = published{
		version: l.nextVersion(), entries: make([]entry, len(a.rows)),
		servers: map[shard.ServerID]shard.Server{}, changedServers: map[shard.ServerID]struct{}{},
	}
	var servers []shard.Server
	for _, id := range l.order {
		if s := l.servers[id]; s.info.App == a.spec.Name && s.listed() {
			p.servers[id] = s.info
			servers = append(servers, s.info)
		}
	}
	var entries []shard.Entry
	for i := range a.rows {
		if e := l.entryOf(a, shard.Index(i)).among(p.servers); e.server != nil || len(e.others) > 0 {
			p.entries[i] = e
			e.name(1)
			entries = append(entries, e.public(shard.Index(i)))
		}
	}
	m, err := a.wholeMap(servers, entries)
	if err != nil {
		l.trace(Decision{What: "map not published", App: a.spec.Name, Why: err.Error()})
		return
	}
	l.out.Publish = append(l.out.Publish, Publication{App: a.spec.Name, Snapshot: m})
}

// wholeMap builds a map of an app at its present version; shards that are being deleted are not in it.
func (a *app) wholeMap(servers []shard.Server, entries []shard.Entry) (*shard.Map, error) {
	if !a.spec.Space.Named {
		return shard.NewMap(a.spec.Name, a.published.version, a.spec.Space.Hash, servers, entries)
	}
	ids := make([]shard.ID, len(a.rows))
	for i := range a.rows {
		if !a.rows[i].Deleting {
			ids[i] = a.rows[i].ID
		}
	}
	return shard.NewNamedMap(a.spec.Name, a.published.version, shard.NewNames(ids), servers, entries)
}

// entryOf is what a durable row says to routers; a server whose address nobody knows is none.
func (l *Ledger) entryOf(a *app, at shard.Index) entry {
	row := &a.rows[at]
	if row.Deleting {
		return entry{}
	}
	e := entry{server: l.addressed(a, row.Primary), others: l.readable(a, row)}
	if e.server != nil {
		e.term = row.PrimaryTerm
	}
	return e
}

// addressed is the server of an incarnation, if watchers of the app know or may know its address.
func (l *Ledger) addressed(a *app, o Owner) *server {
	s := l.servers[o.Server]
	if o.Incarnation == 0 || s == nil || s.info.ID == "" || s.info.App != a.spec.Name {
		return nil
	}
	return s
}

// readable lists the servers with a secondary that may be read.
func (l *Ledger) readable(a *app, row *Row) []*server {
	var list []*server
	for i := range row.Secondaries {
		if s := l.addressed(a, row.Secondaries[i].Owner); s != nil && row.Secondaries[i].State == InSync {
			list = append(list, s)
		}
	}
	return list
}

// name counts an entry in, or out of, the servers that it names.
func (e entry) name(by int) {
	if e.server != nil {
		e.server.named += by
	}
	for _, s := range e.others {
		s.named += by
	}
}

// among leaves out servers that watchers do not know.
func (e entry) among(known map[shard.ServerID]shard.Server) entry {
	unknown := func(s *server) bool {
		_, ok := known[s.id]
		return !ok
	}
	if e.server != nil && unknown(e.server) {
		e.server, e.term = nil, 0
	}
	e.others = slices.DeleteFunc(e.others, unknown)
	return e
}

func (e entry) public(at shard.Index) shard.Entry {
	out := shard.Entry{Index: at, Term: e.term}
	if e.server != nil {
		out.Primary = e.server.id
	}
	for _, s := range e.others {
		out.Secondaries = append(out.Secondaries, s.id)
	}
	return out
}

// listed reports whether watchers should know the server.
func (s *server) listed() bool {
	if s.info.ID == "" {
		return false
	}
	if s.key != nil || s.named > 0 {
		return true
	}
	for _, f := range s.lives {
		if f.stream != 0 {
			return true
		}
	}
	return false
}

// serverChanged marks a server whose properties or presence changed.
func (l *Ledger) serverChanged(s *server) {
	if s.info.ID == "" && s.key != nil {
		s.info = s.key.Server
	}
	if a := l.apps[s.info.App]; a != nil && a.published.changedServers != nil {
		a.published.changedServers[s.id] = struct{}{}
	}
}

// publishShard tells watchers who serves a shard, if that is news.
func (l *Ledger) publishShard(a *app, at shard.Index) { l.publishEntry(a, at, l.entryOf(a, at)) }

// publishSecondaries tells watchers whom to read; a new primary is published once it serves.
func (l *Ledger) publishSecondaries(a *app, at shard.Index) {
	e := a.published.entries[at]
	if !a.rows[at].Deleting {
		e.others = l.readable(a, &a.rows[at])
		l.publishEntry(a, at, e)
	}
}

func (l *Ledger) publishEntry(a *app, at shard.Index, now entry) {
	p := &a.published
	was := p.entries[at]
	if was.equal(now) {
		return
	}
	p.entries[at] = now
	was.name(-1)
	now.name(1)
	for _, s := range append([]*server{was.server}, was.others...) {
		if s != nil {
			l.serverChanged(s)
		}
	}
	for _, s := range append([]*server{now.server}, now.others...) {
		if s == nil {
			continue
		}
		if _, ok := p.servers[s.id]; !ok {
			l.serverChanged(s)
		}
	}
	p.changedShards = append(p.changedShards, now.public(at))
}

// publishChanges makes one delta of what changed in an app during the step.
func (l *Ledger) publishChanges() {
	for _, name := range shard.SortedKeys(l.apps) {
		a := l.apps[name]
		p := &a.published
		if len(p.changedServers)+len(p.changedShards)+len(p.changedNames) == 0 {
			continue
		}
		d := shard.Delta{App: name, Base: p.version, Shards: p.changedShards, Names: p.changedNames}
		for _, id := range shard.SortedKeys(p.changedServers) {
			old, was := p.servers[id]
			s := l.servers[id]
			switch {
			case s != nil && s.listed() && was && old.Equal(s.info):
			case s != nil && s.listed():
				p.servers[id] = s.info
				d.Servers = append(d.Servers, s.info)
			case was:
				delete(p.servers, id)
				d.Removed = append(d.Removed, id)
			}
		}
		clear(p.changedServers)
		p.changedShards, p.changedNames = nil, nil
		if len(d.Servers)+len(d.Removed)+len(d.Shards)+len(d.Names) == 0 {
			continue
		}
		p.version = l.nextVersion()
		d.Version = p.version
		l.out.Publish = append(l.out.Publish, Publication{App: name, Delta: &d})
	}
}
