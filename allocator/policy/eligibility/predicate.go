package eligibility

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/interpreter"
)

// Errors of Eligible, for errors.Is.
var (
	// ErrCost: an evaluation cost more than MaxCost.
	ErrCost = errors.New("cost limit")
	// ErrInterrupted: the context ended first.
	ErrInterrupted = errors.New("interrupted")
	// ErrEvaluation: the expression has no value for a server, for instance because a label is missing.
	ErrEvaluation = errors.New("no value")
)

// EvaluationError is ErrEvaluation, and for whom.
type EvaluationError struct {
	Servers []int // positions of those for which there is no value
	text    string
}

// Error says how many they are and names the first.
func (e *EvaluationError) Error() string { return e.text }

// Unwrap makes it an ErrEvaluation.
func (e *EvaluationError) Unwrap() error { return ErrEvaluation }

const (
	// maxAnswers is how many answers are kept for one expression; when they are that many, all are forgotten.
	maxAnswers = 1 << 16
	// maxNamed is how many servers that failed are named.
	maxNamed = 3
)

// Names of what an expression sees.
const (
	fieldID       = "server.id"
	fieldHost     = "server.host"
	fieldRack     = "server.rack"
	fieldZone     = "server.zone"
	fieldRegion   = "server.region"
	fieldLabels   = "server.labels"
	fieldMetadata = "server.metadata"
	fieldCapacity = "server.capacity"
)

// Server is a server as expressions see it. Nothing of it is modified or kept.
type Server struct {
	ID, Host, Rack, Zone, Region string
	Labels, Metadata             map[string]string
	Capacity                     map[string]int64 // per metric, in its fixed-point unit
}

// ResolveName implements interpreter.Activation.
func (s *Server) ResolveName(name string) (any, bool) {
	switch plain(name) {
	case fieldID:
		return s.ID, true
	case fieldHost:
		return s.Host, true
	case fieldRack:
		return s.Rack, true
	case fieldZone:
		return s.Zone, true
	case fieldRegion:
		return s.Region, true
	case fieldLabels:
		return s.Labels, true
	case fieldMetadata:
		return s.Metadata, true
	case fieldCapacity:
		return s.Capacity, true
	}
	return nil, false
}

// Parent implements interpreter.Activation: there is none.
func (s *Server) Parent() interpreter.Activation { return nil }

// Set is a set of positions in a list of servers.
type Set struct{ words []uint64 }

// Has reports whether position i is in the set; false beyond the list.
func (s Set) Has(i int) bool {
	return i >= 0 && i/64 < len(s.words) && s.words[i/64]&(1<<(i%64)) != 0
}

// Count is how many positions are in the set.
func (s Set) Count() int {
	n := 0
	for _, word := range s.words {
		n += bits.OnesCount64(word)
	}
	return n
}

// Words are the bits of the set, by position; they must not be changed.
func (s Set) Words() []uint64 { return s.words }

// And keeps what is in both sets, of one list.
func (s Set) And(other Set) Set {
	both := Set{words: make([]uint64, min(len(s.words), len(other.words)))}
	for i := range both.words {
		both.words[i] = s.words[i] & other.words[i]
	}
	return both
}

// Predicate is a compiled expression with the name of whom it is for. It is for one goroutine, with its Env.
type Predicate struct {
	subject string
	program *program
}

// Expression is what was compiled.
func (p *Predicate) Expression() string { return p.program.text }

type answer struct {
	eligible bool
	failed   error // ErrEvaluation
}

// Eligible evaluates the expression for each server, and gives the positions of those for which it is true.
//
// Servers for which it has no value are not in the set, and the error is ErrEvaluation: it says how many they are and names the first. The
// set is sound nevertheless. An evaluation that is too expensive is ErrCost, a context that ends ErrInterrupted: then the set is empty.
func (p *Predicate) Eligible(ctx context.Context, servers []Server) (Set, error) {
	set := Set{words: make([]uint64, (len(servers)+63)/64)}
	var failures []string
	var failed []int
	var buffer []byte
	for i := range servers {
		buffer = p.program.reads.appendKey(buffer[:0], &servers[i])
		found, known := p.program.answers[string(buffer)]
		if !known {
			var err error
			if found, err = p.program.evaluate(ctx, &servers[i]); err != nil {
				return Set{}, fmt.Errorf("eligibility of %s: server %s: %w", p.subject, servers[i].ID, err)
			}
			p.program.keep(string(buffer), found)
		}
		switch {
		case found.eligible:
			set.words[i/64] |= 1 << (i % 64)
		case found.failed != nil:
			if failed = append(failed, i); len(failed) <= maxNamed {
				failures = append(failures, fmt.Sprintf("server %s: %v", servers[i].ID, found.failed))
			}
		}
	}
	if len(failed) > 0 {
		return set, &EvaluationError{Servers: failed, text: fmt.Sprintf("eligibility of %s: %v for %d of %d servers, which are not eligible: %s",
			p.subject, ErrEvaluation, len(failed), len(servers), strings.Join(failures, "; "))}
	}
	return set, nil
}

func (p *program) keep(key string, a answer) {
	if len(p.answers) >= maxAnswers {
		clear(p.answers)
	}
	p.answers[key] = a
}

// evaluate is the answer for one server. The error is ErrCost or ErrInterrupted.
func (p *program) evaluate(ctx context.Context, s *Server) (a answer, err error) {
	defer func() { // the interpreter is foreign and its input is anybody's
		if cause := recover(); cause != nil {
			a, err = answer{failed: fmt.Errorf("%v", cause)}, nil
		}
	}()
	if cause := context.Cause(ctx); cause != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrInterrupted, cause)
	}
	value, _, err := p.code.ContextEval(ctx, s)
	var cancelled interpreter.EvalCancelledError
	switch {
	case err == nil:
	case errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded:
		return answer{}, fmt.Errorf("%w: the expression costs more than %d for this server", ErrCost, MaxCost)
	case errors.As(err, &cancelled) || errors.Is(err, interpreter.InterruptError{}) || context.Cause(ctx) != nil:
		return answer{}, fmt.Errorf("%w: %w", ErrInterrupted, errors.Join(context.Cause(ctx), err))
	default:
		return answer{failed: hinted(err)}, nil
	}
	eligible, ok := value.Value().(bool)
	if !ok {
		return answer{failed: fmt.Errorf("expected a bool, not a value of type %s", value.Type().TypeName())}, nil
	}
	return answer{eligible: eligible}, nil
}

// hinted says what helps against the commonest failure.
func hinted(err error) error {
	if strings.Contains(err.Error(), "no such key") {
		return fmt.Errorf("%w: ask with has() first", err)
	}
	return err
}

var _ cel.Activation = (*Server)(nil)
