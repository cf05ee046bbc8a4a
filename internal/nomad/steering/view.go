// Package steering decides what Nomad and the leader are told, of what Nomad does and what was approved (ADR 70). It is pure: a view in, orders out.
//
// A drain of a node and a deployment become requests for planned events; an allocation is stopped once all its servers are READY; a piece is finished once
// its allocation has ended and another one serves in its place. Nothing is remembered: ids of requests follow from Nomad's ids, servers carry the id of
// their allocation in their name, and so a controller that restarts, or a second one, decides alike. Orders repeat until the view shows their effect, and
// do no harm twice. Called by internal/nomad/controller, which makes the view and carries the orders out.
//
// Invariants, each with a test:
//   - an allocation is stopped only while all its servers are READY, as they live now;
//   - a deployment is promoted only when its canaries serve, and whom that stops is READY;
//   - what is asked for is finished or taken back once Nomad's own plan is over.
package steering

import (
	"time"

	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// View is what is known at one moment. It may be a little old.
type View struct {
	Now         time.Time
	Nodes       []Node       // that are drained; others do no harm
	Deployments []Deployment // that are active: running or paused
	Allocations []Allocation // of those nodes and deployments, and of the servers in open events
	Servers     []Server     // that live
	Events      []event.Event
}

// Node is a client of Nomad.
type Node struct {
	ID, Name string
	Drain    *Drain // nil: none
}

// Drain is that of a node.
type Drain struct {
	Started        time.Time
	Deadline       time.Time // when Nomad stops what is left; zero: never
	Forced         bool      // Nomad stops everything at once
	KeepSystemJobs bool
}

// Allocation is a group of a job on a node.
type Allocation struct {
	ID, Namespace, Job, Group, Name, Node string
	Version                               uint64 // of the job
	State                                 State
	Placed                                time.Time // by Nomad
	Healthy                               bool      // as Nomad judges it, for a deployment or migration
	Next                                  string    // id of what was placed in its stead; empty: nothing
}

// State is how far an allocation is.
type State uint8

// States of an allocation.
const (
	Live     State = iota + 1 // pending or running, and to stay
	Stopping                  // to be stopped
	Ended
)

// Deployment is a new version of a job on its way.
type Deployment struct {
	ID, Namespace, Job string
	Version            uint64
	Paused             bool
	Groups             map[string]Group
}

// Group is one of a deployment.
type Group struct {
	Wanted   int      // canaries
	Canaries []string // ids of those that were placed
	Promoted bool
}

// Server is one that is registered.
type Server struct {
	ID          shard.ServerID
	Incarnation shard.Incarnation
	Attached    bool
}

// Settings are the pace.
type Settings struct {
	Duration time.Duration // how long a server may be down
	// The deadline of a drain whose servers cannot be spared yet is put off, by Step when less than Margin is left, until Patience after its start; 0: never.
	Patience, Step, Margin time.Duration
}

// Plan is what is to be done.
type Plan struct {
	Orders []Order
	Notes  []string // what is held, and why; for people
	Busy   bool     // something is under way

	HeldDrains, HeldDeployments int // how many wait for approval, or for what they did to be over
}

// Order is one thing to be done.
//
//sumtype:decl
type Order interface{ isOrder() }

// Orders.
type (
	// Request asks the leader.
	Request struct{ event.Request }
	// Finish says that the piece with a server is over.
	Finish struct {
		Event  string
		Server shard.ServerID
	}
	// Cancel takes an event back.
	Cancel struct{ Event string }
	// Stop stops an allocation; Nomad places another one.
	Stop struct{ Namespace, Allocation string }
	// Pause pauses a deployment.
	Pause struct{ Namespace, Deployment string }
	// Resume lets it go on.
	Resume struct{ Namespace, Deployment string }
	// Promote promotes its canaries.
	Promote struct{ Namespace, Deployment string }
	// PutOff sets the deadline of a drain to so long from now.
	PutOff struct {
		Node           string
		Left           time.Duration
		KeepSystemJobs bool
	}
)

func (Request) isOrder() {}
func (Finish) isOrder()  {}
func (Cancel) isOrder()  {}
func (Stop) isOrder()    {}
func (Pause) isOrder()   {}
func (Resume) isOrder()  {}
func (Promote) isOrder() {}
func (PutOff) isOrder()  {}
