// Package check finds what is wrong with a policy, statement by statement, with the place of each.
//
// Policy does the checks; it takes nothing for granted about a message but that it can be read. How statements get on with each other is for
// package policy to see. It is called by package policy and keeps no state.
package check

import (
	"errors"
	"fmt"
	"strings"

	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/locality"
)

// DefaultMaxBytes is the largest policy, in bytes of its file or of its message, where Known does not say otherwise.
const DefaultMaxBytes = 1 << 20

// Known is what a policy is checked against. What is not known is not checked.
type Known struct {
	// App that the policy is of; empty: the cluster's defaults.
	App string
	// Replicas of each shard; 0: not known.
	Replicas int
	// Metrics that earlier layers declare. `shards` and `primaries` are always known.
	Metrics []string
	// Partial: earlier layers are not known, and metrics that are declared nowhere may be theirs.
	Partial bool
	// Regions that there are; nil: not known.
	Regions []string
	// Domains is how many domains of each width there are; 0: not known.
	Domains map[locality.Domain]int
	// LabelValues is how many values each label has among the servers; 0: not known.
	LabelValues map[string]int
	// MaxBytes is the largest policy; 0: DefaultMaxBytes.
	MaxBytes int
}

// Origin is where a statement was made.
type Origin struct {
	place string // file:line, or whose policy it is
	path  string // field in the message
	app   string // whose layer; empty: the cluster's
}

// Of is the app whose policy the statement is in, and its field there; no app: it is in the cluster's defaults.
func (o Origin) Of() (app, field string) { return o.app, o.path }

// Under is the origin of a field of the statement.
func (o Origin) Under(field string) Origin {
	o.path = under(o.path, field)
	return o
}

// String is `file:line: field`, or `policy of app kv: field` where no file is known; empty for a default of this package.
func (o Origin) String() string {
	if o.path == "" {
		return o.place
	}
	return o.place + ": " + o.path
}

// Where finds the places of fields.
type Where struct {
	Document *config.Document // nil: not from a file
	Name     string           // of the file, or whose policy it is
	At       string           // field of the document that the policy is; empty: it is all of it
	App      string           // whose policy it is; empty: the cluster's
}

// place is the line of a field, or of the nearest field around it that is written.
func (w Where) place(path string) string {
	path = under(w.At, path)
	for w.Document != nil {
		if place, ok := w.Document.Place(path); ok {
			return place
		}
		if path == "" {
			break
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return w.Name
}

// Origin is where a field was written, or the nearest field around it.
func (w Where) Origin(path string) Origin {
	return Origin{place: w.place(path), path: under(w.At, path), app: w.App}
}

// maxProblems is how many problems of one policy are told.
const maxProblems = 20

// Problem is one thing that is wrong.
type Problem struct {
	At   Origin
	Text string
}

// Error is place, field and what is wrong there.
func (p *Problem) Error() string { return fmt.Sprintf("%s: %s", p.At, p.Text) }

// Problems gathers what is wrong.
type Problems struct {
	Where Where
	found []error
}

// Add notes a problem of a field.
func (p *Problems) Add(path, format string, args ...any) {
	if len(p.found) < maxProblems {
		p.found = append(p.found, &Problem{p.Where.Origin(path), fmt.Sprintf(format, args...)})
	}
}

// Full reports whether looking for more is of no use.
func (p *Problems) Full() bool { return len(p.found) >= maxProblems }

func under(at, path string) string {
	switch {
	case at == "":
		return path
	case path == "":
		return at
	}
	return at + "." + path
}

// Note notes a problem of a statement, unless it is the newest one again.
func (p *Problems) Note(at Origin, text string) {
	problem := &Problem{at, text}
	if n := len(p.found); n < maxProblems && (n == 0 || p.found[n-1].Error() != problem.Error()) {
		p.found = append(p.found, problem)
	}
}

// Err is all that was noted; nil: nothing.
func (p *Problems) Err() error { return errors.Join(p.found...) }

// Limit is the largest policy, in bytes.
func (k Known) Limit() int {
	if k.MaxBytes > 0 {
		return k.MaxBytes
	}
	return DefaultMaxBytes
}
