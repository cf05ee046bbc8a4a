package ledger

import (
	"cmp"
	"slices"
	"time"

	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/allocator/timing"
	"github.com/shardmanager/shardmanager/internal/progress"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// server is everything known about one server id.
type server struct {
	id      shard.ServerID
	info    shard.Server // as map watchers see it
	key     *Registration
	keyRead bool   // key is what a consistent read showed; false: not read yet
	create  uint64 // highest create index seen: an earlier key is old news
	lives   map[shard.Incarnation]*life
	drain   bool // by an operator, durably

	reading   bool // a ReadRegistration is under way
	wantRead  bool
	readAt    shard.Instant // not before
	readFails int

	greetings []*stream // hellos that wait for the key

	named int // published entries that name it
}

// life is one incarnation of a server. Once over it stays over (the root rule).
type life struct {
	Owner
	server *server
	app    shard.App

	stream  StreamID      // the present, welcomed stream; 0: none
	heard   shard.Instant // last renewal or hello
	renewed bool          // heard is a renewal under this leader
	hung    bool          // its agent says that the application does not pull
	reset   bool          // its stream broke
	drain   bool          // asked for by its agent
	work    event.Work    // that a planned event takes
	// replicates: its application has ChangeRole and UpdateMembership.
	replicates bool
	clock      timing.ClockCheck
	transfers  []progress.Transfer // state that it was receiving at its last renewal

	granted     shard.Instant // last grant
	rest        shard.Instant // no rest lease is out after this; zero: there was none
	restEnd     shard.Instant // end of the rest as granted, for the answers to renewals
	resting     bool          // its agent is away with a rest lease
	restLength  time.Duration // as recorded; 0: no record
	restRemoved bool          // its removal is staged

	suspicion suspicion
	cleared   shard.Instant // when the last one ended

	fencing  bool // decided; nothing is granted any more
	silenced bool // fenced because it was silent
	ownWord  bool // fenced because its agent said that it ended
	counted  bool // its fence counts towards a probation
	reread   bool // the key was not as known: decide again after a read
	fencedAt shard.Instant
	session  string // that the key to be deleted with the fence names; empty: none
	conflict bool   // another incarnation took its key while it was attached: no proof that it ended
	over     bool
	why      string  // fenced or over
	askers   []Reply // to operators who wait until the fence is durable

	unknown  map[shard.ID]unknown     // shards that it holds and its app does not have
	refs     map[shard.Index]struct{} // shards whose durable or staged row names it
	owned    int                      // durable rows with it as primary
	seconded int                      // durable rows with it as a secondary
	moves    int                      // open moves, durable or staged, from or to it

	loose bool // it may serve without anybody's word

	alone *call // of a suspect, and no other suspect's beside it (PROTOCOL R30); nil, or over: none

	told     int // shards left, as last told to a draining server
	toldSome bool
}

// attached reports whether it has a stream that commands can be sent on.
func (f *life) attached() bool { return f != nil && f.stream != 0 }

// gone reports whether it can execute nothing any more. Nobody at all is gone too.
func (f *life) gone() bool { return f == nil || f.over }

func (f *life) whyGone() string {
	if f == nil {
		return "there is none"
	}
	return f.why
}

func (f *life) draining() bool { return f.drain || f.server.drain }

// leaves reports whether it is to be left, or its primaries are; nil, or one that is over: no.
func (f *life) leaves() bool { return f != nil && !f.over && (f.draining() || f.work != event.Nothing) }

func (f *life) alive() bool { return !f.over && !f.fencing }

func (f *life) peer() shard.Peer {
	return shard.Peer{Server: f.Server, Incarnation: f.Incarnation, DataAddress: f.server.info.DataAddress}
}

// accepts reports whether shards may be granted to it now.
func (l *Ledger) accepts(f *life) bool {
	if !l.takes(f) {
		return false
	}
	left, _ := l.onProbation(f)
	return left == 0
}

// takes reports whether nothing but a probation keeps shards from it.
func (l *Ledger) takes(f *life) bool {
	return f.attached() && f.alive() && !f.resting && !f.leaves() && !f.suspicion.suspect && !l.unable(f)
}

// unable reports whether its application lacks the callbacks that its app's replication needs.
func (l *Ledger) unable(f *life) bool {
	a := l.apps[f.app]
	return a != nil && a.spec.Replication.Secondaries() && !f.replicates
}

func (l *Ledger) server(id shard.ServerID) *server {
	s, ok := l.servers[id]
	if !ok {
		s = &server{id: id, lives: map[shard.Incarnation]*life{}}
		l.servers[id] = s
		at, _ := slices.BinarySearch(l.order, id)
		l.order = slices.Insert(l.order, at, id)
	}
	return s
}

// life returns an incarnation, made if it was not known. A loaded row or a key names it.
func (l *Ledger) life(app shard.App, o Owner) *life {
	if o.Incarnation == 0 {
		return nil
	}
	s := l.server(o.Server)
	f, ok := s.lives[o.Incarnation]
	if !ok {
		f = &life{Owner: o, server: s, app: app, heard: l.now, refs: map[shard.Index]struct{}{}, loose: l.mayServeOn(app)}
		s.lives[o.Incarnation] = f
	}
	return f
}

// known returns an incarnation that a row names; nil for the zero owner. Whoever a durable or staged row names is never forgotten.
func (l *Ledger) known(o Owner) *life {
	if o.Incarnation == 0 {
		return nil
	}
	if s := l.servers[o.Server]; s != nil {
		return s.lives[o.Incarnation]
	}
	return nil
}

// current is the incarnation in the key; nil: none.
func (s *server) current() *life {
	if s.key == nil {
		return nil
	}
	return s.lives[s.key.Server.Incarnation]
}

// present is the incarnation to work with: the attached one, which may have lost its key and is vouched for all the same (PROTOCOL R13),
// else the one in the key, else one that rows still name; nil: none.
func (s *server) present() *life {
	var attached, named *life
	for _, f := range s.lives {
		switch {
		case f.attached() && f.alive() && (attached == nil || f.Incarnation < attached.Incarnation):
			attached = f
		case !f.over && len(f.refs) > 0 && (named == nil || f.Incarnation < named.Incarnation):
			named = f
		}
	}
	if attached != nil {
		return attached
	}
	if f := s.current(); f != nil {
		return f
	}
	return named
}

// all lists the incarnations in the order of their numbers.
func (s *server) all() []*life {
	list := make([]*life, 0, len(s.lives))
	for _, f := range s.lives {
		list = append(list, f)
	}
	if len(list) > 1 {
		slices.SortFunc(list, func(a, b *life) int { return cmp.Compare(a.Incarnation, b.Incarnation) })
	}
	return list
}

// wantKey makes the ledger read a key.
func (l *Ledger) wantKey(s *server) {
	s.wantRead = true
	l.readKey(s)
}

func (l *Ledger) readKey(s *server) {
	if !s.wantRead || s.reading || !s.readAt.Passed(l.now) {
		return
	}
	s.wantRead, s.reading = false, true
	l.out.Reads = append(l.out.Reads, ReadRegistration{Server: s.id})
}

// registrationsSeen takes news of keys, which may be old: whatever differs is read.
func (l *Ledger) registrationsSeen(ev RegistrationsSeen) {
	seen := make(map[shard.ServerID]struct{}, len(ev.Keys))
	for _, k := range ev.Keys {
		seen[k.Server.ID] = struct{}{}
		s := l.server(k.Server.ID)
		if k.Create > s.create || s.key == nil && k.Create == s.create {
			l.wantKey(s)
		}
	}
	for _, id := range l.order {
		if _, ok := seen[id]; !ok && l.servers[id].key != nil {
			l.wantKey(l.servers[id])
		}
	}
}

// registrationRead takes a key, read consistently.
func (l *Ledger) registrationRead(ev RegistrationRead) {
	s := l.server(ev.Server)
	s.reading = false
	if ev.Err != "" {
		s.readFails++
		s.wantRead, s.readAt = true, l.now.Add(timing.Backoff(s.readFails))
		return
	}
	s.readFails = 0
	if ev.Found && ev.Key.Create < s.create {
		l.wantKey(s)
		return
	}
	l.keyIs(s, ev.Found, ev.Key)
	l.answerHellos(s, ev.Asked)
	for _, f := range s.all() {
		if f.reread {
			f.reread = false
			l.queueFence(f)
		}
	}
	l.forget(s)
}

// keyIs notes what a key holds now. An incarnation that is not in it any more, while another is, has ended if the agent in the key says so: it
// dropped everything before it registered the next (PROTOCOL R11). Else that is another host's agent, and the old one may live: it is fenced.
func (l *Ledger) keyIs(s *server, found bool, key Registration) {
	s.keyRead = true
	if !found {
		if s.key != nil {
			s.key = nil
			l.serverChanged(s)
		}
		return
	}
	s.key, s.create = &key, key.Create
	f := l.life(key.Server.App, Owner{Server: s.id, Incarnation: key.Server.Incarnation})
	if !f.attached() {
		l.describe(s, key.Server)
	}
	for _, o := range s.all() {
		o.loose = o.loose && !slices.Contains(key.Ended, o.Incarnation)
		if o == f || o.over || o.conflict {
			continue
		}
		if o.attached() && !l.silent(o, l.s.Interval*3/2) {
			// It renews here although another holds its key: not its successor, then, but an impostor (PROTOCOL R26).
			o.conflict = true
			l.fence(o, "another incarnation, "+key.Server.Incarnation.String()+", holds its key")
			continue
		}
		if len(o.refs) > 0 && !slices.Contains(key.Ended, o.Incarnation) {
			o.conflict = true
			l.fence(o, "incarnation "+key.Server.Incarnation.String()+" is registered, whose agent did not end this one")
			continue
		}
		l.end4ever(o, "a newer incarnation, "+key.Server.Incarnation.String()+", is registered")
	}
}

// describe notes the addresses and properties of a server.
func (l *Ledger) describe(s *server, info shard.Server) {
	s.info = info
	l.serverChanged(s)
}

// forget drops what nobody will ask for again.
func (l *Ledger) forget(s *server) {
	for _, f := range s.all() {
		if f.over && !f.loose && len(f.refs) == 0 && f.stream == 0 && f != s.current() {
			delete(s.lives, f.Incarnation)
		}
	}
	if len(s.lives) > 0 || s.key != nil || s.named > 0 || s.drain || s.reading || s.wantRead || l.greeting(s) {
		return
	}
	l.serverChanged(s)
	delete(l.servers, s.id)
	if at, ok := slices.BinarySearch(l.order, s.id); ok {
		l.order = slices.Delete(l.order, at, at+1)
	}
}
