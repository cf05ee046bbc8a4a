// Package ownership watches who executes what for which shard, and says where the promises of Shard Manager, or the application's half of
// them, were broken:
//
//   - two servers that were primary of one shard at the same instant;
//   - terms that went back, and writes that storage took from an older term than one that had been activated;
//   - operations and answers outside a lease;
//   - callbacks of one shard that overlapped, or came in an order that sdk.Handler does not allow;
//   - acknowledged writes that a later read did not find.
//
// A Checker has a Server for every process: an sdk.Observer for its Host, a wrapper for its callbacks, and probes that the application may call
// itself, where its storage takes a write (Stored) or where an answer leaves that no guard has seen (Served). Violations tells what was found,
// each with the history of its shard: terms, servers, times.
//
// Package virtual makes all the calls but the probes. Instants are nanoseconds of time.Now in one process, best in virtual time: a busy machine
// is then no reason for anything. The package decides nothing; it is told.
package ownership

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxHistory is how many of the last events of a shard a history has; older ones are forgotten.
	maxHistory = 60
	// maxViolations is how many are kept; what comes after them is counted only.
	maxViolations = 50
)

// Checker collects what the servers of one app did. It is safe for concurrent use.
type Checker struct {
	mu         sync.Mutex
	began      time.Time
	servers    []*Server
	shards     map[string]*shardState
	violations []Violation
	more       int
	operations int
}

// New makes a Checker whose histories count from now.
func New() *Checker { return &Checker{began: time.Now(), shards: map[string]*shardState{}} }

// Violation is one broken rule.
type Violation struct {
	Shard string
	// At is when it was seen, since the Checker was made.
	At time.Duration
	// What says which rule, by whom, at which terms.
	What string
	// History is what happened to the shard before, a line each, the oldest first.
	History []string
}

// String writes the violation and its history for people.
func (v Violation) String() string {
	return fmt.Sprintf("%s: shard %s: %s\n\t%s", v.At, v.Shard, v.What, strings.Join(v.History, "\n\t"))
}

// shardState is what is known of one shard.
type shardState struct {
	id        string
	history   []string
	activated uint64 // highest term at which a server with a lease was activated
	by        string // that server
	claims    []claim
	register  register
}

func (c *Checker) shard(id string) *shardState {
	s := c.shards[id]
	if s == nil {
		s = &shardState{id: id, register: newRegister()}
		c.shards[id] = s
	}
	return s
}

// note adds a line to the history of a shard. The caller holds mu.
func (c *Checker) note(id, format string, args ...any) {
	s := c.shard(id)
	s.history = append(s.history, fmt.Sprintf("%-12s %s", c.since(), fmt.Sprintf(format, args...)))
	if len(s.history) > maxHistory {
		s.history = slices.Delete(s.history, 0, 1)
	}
}

func (c *Checker) since() time.Duration { return time.Since(c.began).Round(time.Microsecond) }

// Note adds a line to the history of a shard: a decision of the leader, a fault.
func (c *Checker) Note(shard, line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note(shard, "%s", line)
}

// NoteAll adds a line to every shard's history.
func (c *Checker) NoteAll(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.shards {
		c.note(id, "%s", line)
	}
}

// violate notes a violation. The caller holds mu.
func (c *Checker) violate(id, format string, args ...any) {
	if len(c.violations) == maxViolations {
		c.more++
		return
	}
	v := Violation{Shard: id, At: c.since(), What: fmt.Sprintf(format, args...), History: slices.Clone(c.shard(id).history)}
	c.violations = append(c.violations, v)
}

// Violate notes a violation that whoever drives the test found himself.
func (c *Checker) Violate(shard, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.violate(shard, "%s", what)
}

// Operations is how many operations of primaries passed their final check of the lease.
func (c *Checker) Operations() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.operations
}

// Violations are all that were found so far, by time.
func (c *Checker) Violations() []Violation {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := slices.Clone(c.violations)
	for _, s := range c.shards {
		found = append(found, c.twoPrimaries(s)...)
	}
	slices.SortStableFunc(found, func(a, b Violation) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Shard, b.Shard)) })
	if c.more > 0 {
		found = append(found, Violation{Shard: "*", At: c.since(), What: fmt.Sprintf("%d more violations", c.more)})
	}
	return found
}

// History is what happened to a shard, a line each, the oldest first; at most the last 60.
func (c *Checker) History(shard string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.shard(shard).history)
}
