package shard

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// App names a sharded application.
type App string

// ID names a shard within its app.
type ID string

// Index is the position of a shard in the order of its app's ids, from 0.
type Index uint32

// ServerID names a server, `<agent>.<app>`.
type ServerID string

// MakeServerID joins the name of an agent and an app.
func MakeServerID(agent string, app App) ServerID { return ServerID(agent + "." + string(app)) }

// App is the app of a server: what follows the last dot.
func (id ServerID) App() App { return App(id[strings.LastIndexByte(string(id), '.')+1:]) }

// Incarnation is one life of a server: from one registration to its end. One that ended never returns (PROTOCOL, root rule). Only
// equality means anything; 0 means none.
type Incarnation uint64

// String writes the incarnation as 16 hexadecimal digits, as logs and state files do.
func (i Incarnation) String() string { return fmt.Sprintf("%016x", uint64(i)) }

// Term is the fencing token of a shard: it only grows, and every grant of the primary role has a new one. The upper 24 bits are the
// generation of the stored state, so a restore never takes terms back (PROTOCOL R14). 0 means none.
type Term uint64

const generationShift = 40

// MostGeneration is the highest generation that fits into terms.
const MostGeneration = uint64(1)<<(64-generationShift) - 1

// FirstTerm is the term before any grant in a generation.
func FirstTerm(generation uint64) Term { return Term(generation << generationShift) }

// Generation is the generation in which t was granted.
func (t Term) Generation() uint64 { return uint64(t) >> generationShift }

// Next is the term after t, never below the generation's first.
func (t Term) Next(generation uint64) Term { return max(t, FirstTerm(generation)) + 1 }

// MoveID numbers the durable decisions about one shard; every command carries the number of the decision behind it (PROTOCOL R27).
type MoveID uint64

// Order is the order of commands for one shard: term first, then move.
type Order struct {
	Term Term
	Move MoveID
}

// Compare is negative if o comes before p.
func (o Order) Compare(p Order) int {
	if c := cmp.Compare(o.Term, p.Term); c != 0 {
		return c
	}
	return cmp.Compare(o.Move, p.Move)
}

// String writes the order as `term/move`.
func (o Order) String() string {
	return strconv.FormatUint(uint64(o.Term), 10) + "/" + strconv.FormatUint(uint64(o.Move), 10)
}

// Epoch names one leadership: the generation of the stored state, then the ModifyIndex of the lock's acquire.
type Epoch struct {
	Generation uint64
	Index      uint64
}

// Compare is negative if e is older than f.
func (e Epoch) Compare(f Epoch) int {
	if c := cmp.Compare(e.Generation, f.Generation); c != 0 {
		return c
	}
	return cmp.Compare(e.Index, f.Index)
}

// String writes the epoch as `generation.index`.
func (e Epoch) String() string { return fmt.Sprintf("%d.%d", e.Generation, e.Index) }

// Version orders shard maps: by epoch, then counter (PROTOCOL R23).
type Version struct {
	Epoch   Epoch
	Counter uint64
}

// Compare is negative if v is older than w.
func (v Version) Compare(w Version) int {
	if c := v.Epoch.Compare(w.Epoch); c != 0 {
		return c
	}
	return cmp.Compare(v.Counter, w.Counter)
}

// String writes the version as `generation.index.counter`.
func (v Version) String() string { return fmt.Sprintf("%s.%d", v.Epoch, v.Counter) }

// Role of a replica. The zero value is no role.
type Role uint8

// Roles.
const (
	Primary Role = iota + 1
	Secondary
)

// Phase is what a server may do for a shard.
type Phase uint8

// Phases; the numbers are those of the wire.
const (
	// None holds nothing and remembers the highest order only.
	None Phase = iota + 1
	// Prepared executes only what the source of its move forwards, after Activate.
	Prepared
	// Serving executes as primary while the lease is valid.
	Serving
	// Forwarding executes nothing more: it holds, then forwards to the target of the move.
	Forwarding
	// Following is a secondary: it serves reads while the lease is valid.
	Following
)

// String names the phase.
func (p Phase) String() string {
	switch p {
	case None:
		return "none"
	case Prepared:
		return "prepared"
	case Serving:
		return "primary"
	case Forwarding:
		return "forwarding"
	case Following:
		return "secondary"
	}
	return "phase-" + strconv.Itoa(int(p))
}

// Held is one shard that a server holds, or only remembers (phase None).
type Held struct {
	Shard     ID
	Phase     Phase
	Term      Term  // 0 in phase None; of a secondary: at which it was added
	Max       Order // nothing at or below it is newly taken
	Peer      Peer  // target in Forwarding, source in Prepared
	Activated bool  // the application was activated at Term
}

// Peer names the other server of a move.
type Peer struct {
	Server      ServerID
	Incarnation Incarnation
	DataAddress string // host:port
}

// Member is one secondary of a shard, as its primary has to know it.
type Member struct {
	Peer
	InSync bool // false: to be brought up to date
}

// Locality is where a server runs, widest fault domain first; empty parts are unknown.
type Locality struct {
	Region, Zone, Rack, Host string
}

// Server is one application process as others see it.
type Server struct {
	ID           ServerID
	App          App
	Agent        string
	Incarnation  Incarnation
	Locality     Locality
	DataAddress  string // host:port of the application
	AgentAddress string // host:port of the agent
	Version      string
	Capacity     map[string]int64 // per metric, fixed point; never modified
	Labels       map[string]string
}

// Equal reports whether nothing of two servers differs.
func (s Server) Equal(o Server) bool {
	return s.ID == o.ID && s.App == o.App && s.Agent == o.Agent && s.Incarnation == o.Incarnation && s.Locality == o.Locality &&
		s.DataAddress == o.DataAddress && s.AgentAddress == o.AgentAddress && s.Version == o.Version &&
		maps.Equal(s.Capacity, o.Capacity) && maps.Equal(s.Labels, o.Labels)
}

// SortedKeys returns the keys of m in order: the cores iterate over maps in no other way.
func SortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := slices.AppendSeq(make([]K, 0, len(m)), maps.Keys(m))
	slices.Sort(keys)
	return keys
}
