package ledger

import (
	"maps"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// published is what the watchers of an app's map know, and what they are to learn at the end of the step.
type published struct {
	version shard.Version
	entries []entry
	servers map[shard.ServerID]shard.Server

	changedServers map[shard.ServerID]struct{}
	changedShards  []shard.Entry
}

type entry struct {
	server *server // nil: no primary
	term   shard.Term
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
		if e := l.entryOf(a, shard.Index(i)); e.Primary != "" {
			s := l.servers[e.Primary]
			s.named++
			p.entries[i] = entry{s, e.Term}
			entries = append(entries, e)
		}
	}
	m, err := shard.NewMap(a.spec.Name, p.version, a.spec.Space, servers, entries)
	if err != nil {
		l.trace(Decision{What: "map not published", App: a.spec.Name, Why: err.Error()})
		return
	}
	l.out.Publish = append(l.out.Publish, Publication{App: a.spec.Name, Snapshot: m})
}

// entryOf is what a durable row says to routers; a primary whose address nobody knows is none.
func (l *Ledger) entryOf(a *app, at shard.Index) shard.Entry {
	row := &a.rows[at]
	e := shard.Entry{Index: at}
	if row.Primary.Incarnation == 0 {
		return e
	}
	if _, ok := a.published.servers[row.Primary.Server]; !ok {
		return e
	}
	e.Primary, e.Term = row.Primary.Server, row.PrimaryTerm
	return e
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

func sameServer(a, b shard.Server) bool {
	return a.ID == b.ID && a.App == b.App && a.Agent == b.Agent && a.Incarnation == b.Incarnation && a.Locality == b.Locality &&
		a.DataAddress == b.DataAddress && a.AgentAddress == b.AgentAddress && a.Version == b.Version &&
		maps.Equal(a.Capacity, b.Capacity) && maps.Equal(a.Labels, b.Labels)
}

// publishShard tells watchers who serves a shard, if that is news.
func (l *Ledger) publishShard(a *app, at shard.Index) {
	p := &a.published
	row := &a.rows[at]
	s := l.servers[row.Primary.Server]
	if row.Primary.Incarnation == 0 || s == nil || s.info.ID == "" {
		s = nil
	}
	was := p.entries[at]
	now := entry{s, row.PrimaryTerm}
	if s == nil {
		now.term = 0
	}
	if was == now {
		return
	}
	p.entries[at] = now
	e := shard.Entry{Index: at, Term: now.term}
	if was.server != nil {
		was.server.named--
		l.serverChanged(was.server)
	}
	if s != nil {
		e.Primary = s.id
		s.named++
		if _, ok := p.servers[s.id]; !ok {
			l.serverChanged(s)
		}
	}
	p.changedShards = append(p.changedShards, e)
}

// publishChanges makes one delta of what changed in an app during the step.
func (l *Ledger) publishChanges() {
	for _, name := range shard.SortedKeys(l.apps) {
		a := l.apps[name]
		p := &a.published
		if len(p.changedServers)+len(p.changedShards) == 0 {
			continue
		}
		d := shard.Delta{App: name, Base: p.version, Shards: p.changedShards}
		for _, id := range shard.SortedKeys(p.changedServers) {
			old, was := p.servers[id]
			s := l.servers[id]
			switch {
			case s != nil && s.listed() && was && sameServer(old, s.info):
			case s != nil && s.listed():
				p.servers[id] = s.info
				d.Servers = append(d.Servers, s.info)
			case was:
				delete(p.servers, id)
				d.Removed = append(d.Removed, id)
			}
		}
		clear(p.changedServers)
		p.changedShards = nil
		if len(d.Servers)+len(d.Removed)+len(d.Shards) == 0 {
			continue
		}
		p.version = l.nextVersion()
		d.Version = p.version
		l.out.Publish = append(l.out.Publish, Publication{App: name, Delta: &d})
	}
}
