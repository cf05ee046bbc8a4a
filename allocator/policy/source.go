package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/policy/check"
	"github.com/shardmanager/shardmanager/allocator/policy/statement"
	"github.com/shardmanager/shardmanager/internal/config"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// DefaultMaxBytes is the largest policy, in bytes of its file or of its message, where Known does not say otherwise.
const DefaultMaxBytes = check.DefaultMaxBytes

// Known is what a policy is checked against, and Origin where a statement was made.
type (
	Known   = check.Known
	Origin  = check.Origin
	Problem = check.Problem
)

// Placed is a statement and where it was made. The statement is never modified.
type Placed[T any] struct {
	Value T
	From  Origin
}

// Source is one layer of a policy. It is sound, has all defaults filled in, and never changes.
type Source struct {
	app     string // empty: the cluster's defaults
	written *pb.Policy

	metrics     []Placed[*pb.Metric]
	constraints []Placed[*pb.Constraint]
	goals       []goal
	moves       *pb.MoveCaps
	group       string
	where       check.Where
	at          string // path of this layer in the message: `shards[3]`, or empty

	overrides *overrides
}

// Parse reads a policy from the contents of a YAML or JSON file (docs/policy.md) and checks it. The error tells all that is wrong, up to a
// limit, each with file, line and field. Contents beyond the limit of bytes are refused unread, with config.ErrTooLarge.
func Parse(file string, contents []byte, known Known) (*Source, error) {
	p := &pb.Policy{}
	document, err := config.ParseMessage(file, contents, known.Limit(), p, "a policy")
	if err != nil {
		return nil, err
	}
	return build(p, check.Where{Document: document, Name: file, App: known.App}, known)
}

// New checks a policy that came as a message, of which it makes a copy. Errors name the app, or the cluster, and the field.
func New(p *pb.Policy, known Known) (*Source, error) {
	return newAt(p, check.Where{Name: "policy of " + statement.Owner(known.App), App: known.App}, known)
}

func newAt(p *pb.Policy, w check.Where, known Known) (*Source, error) {
	name := w.Origin("")
	if size := proto.Size(p); size > known.Limit() {
		return nil, fmt.Errorf("%s: %w: expected at most %d bytes, not %d", name, config.ErrTooLarge, known.Limit(), size)
	}
	written := &pb.Policy{}
	proto.Merge(written, p)
	return build(written, w, known)
}

// Policy is a copy of the policy as it was written, without defaults.
func (s *Source) Policy() *pb.Policy {
	p := &pb.Policy{}
	proto.Merge(p, s.written)
	return p
}

// Metrics are the names of the metrics that the layer declares, in order.
func (s *Source) Metrics() []string {
	var names []string
	for _, m := range s.metrics {
		names = append(names, m.Value.GetName())
	}
	return names
}

// Marshal writes a policy as JSON that Parse reads back to an equal message.
func Marshal(p *pb.Policy) ([]byte, error) {
	compact, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	var indented bytes.Buffer // protojson's own white space differs between builds, on purpose
	if err := json.Indent(&indented, compact, "", "  "); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	indented.WriteByte('\n')
	return indented.Bytes(), nil
}

// build makes the source of a message that nobody else has.
func build(written *pb.Policy, w check.Where, known Known) (*Source, error) {
	p := &check.Problems{Where: w}
	check.Policy(written, known, p)
	if err := p.Err(); err != nil {
		return nil, err
	}
	filled := &pb.Policy{}
	proto.Merge(filled, written)
	statement.Fill(filled, known.App)
	s := &Source{app: known.App, written: written, moves: filled.GetMoves(), group: filled.GetGroup(), where: w}
	for i, m := range filled.GetMetrics() {
		s.metrics = append(s.metrics, Placed[*pb.Metric]{m, w.Origin(fmt.Sprintf("metrics[%d]", i))})
	}
	s.constraints, s.goals = placed(filled.GetConstraints(), filled.GetGoals(), w, "")
	s.overrides = newOverrides(s, filled.GetShards(), p)
	s.together(newComposition(s.app).with(s), known, p)
	if err := p.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// placed gives statements their places; at is the path of what they are in.
func placed(constraints []*pb.Constraint, goals []*pb.Goal, w check.Where, at string) (c []Placed[*pb.Constraint], g []goal) {
	for i, item := range constraints {
		c = append(c, Placed[*pb.Constraint]{item, w.Origin(under(at, fmt.Sprintf("constraints[%d]", i)))})
	}
	for i, item := range goals {
		g = append(g, goal{Placed[*pb.Goal]{item, w.Origin(under(at, fmt.Sprintf("goals[%d]", i)))}, statement.SubjectOf(item)})
	}
	return c, g
}

// together notes statements that clash: of the layer itself, which is the last one of a composition, and of each entry of shards with what else
// holds for its shards.
func (s *Source) together(own *composition, known Known, p *check.Problems) {
	together(p, own, known)
	if p.Err() != nil {
		return // each entry would say the same again
	}
	// In this order an entry comes after all prefixes of it, and those that are still open are a stack.
	type open struct {
		key  shardsKey
		what *composition
	}
	stack := []open{{shardsKey{prefix: true}, own}}
	for _, i := range s.overrides.ordered() {
		if p.Full() {
			return
		}
		key := s.overrides.keys[i]
		for top := stack[len(stack)-1].key; !top.prefix || !strings.HasPrefix(key.text, top.text); top = stack[len(stack)-1].key {
			stack = stack[:len(stack)-1]
		}
		with := stack[len(stack)-1].what.with(s.overrides.list[i])
		together(p, with, known)
		stack = append(stack, open{key, with})
	}
}

// together notes the conflicts of the newest layer, and pins that there are not enough replicas for.
func together(p *check.Problems, c *composition, known Known) {
	for _, conflict := range c.conflicts {
		p.Note(conflict.Later, conflict.text())
	}
	pins(p, c.effective.Constraints, known)
}

// pins notes pins that there are not enough replicas for.
func pins(p *check.Problems, constraints []Placed[*pb.Constraint], known Known) {
	servers := map[string]bool{}
	for _, item := range constraints {
		for _, server := range item.Value.GetPin().GetServers() {
			servers[server] = true
		}
		if known.Replicas > 0 && len(servers) > known.Replicas {
			p.Note(item.From.Under("pin"), fmt.Sprintf("with what is pinned before, pinned to %d servers: a shard has %d replicas", len(servers), known.Replicas))
			return
		}
	}
}

func under(at, path string) string {
	if at == "" {
		return path
	}
	return at + "." + path
}
