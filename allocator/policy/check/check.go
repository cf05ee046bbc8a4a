package check

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/shardmanager/shardmanager/allocator/placement"
	"github.com/shardmanager/shardmanager/allocator/policy/eligibility"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Limits; docs/policy.md and policy.proto tell them.
const (
	maxMetrics    = 64
	maxStatements = 256 // constraints, and goals, of the layer or of one entry of shards
	maxShards     = 10_000
	maxMoves      = 1 << 20
	maxName       = 63
	maxText       = 253 // bytes of any text that is not an expression
	maxRegions    = 16
	maxReplicas   = 1 << 10
	maxTier       = 16
	maxWeight     = 1_000_000
	maxPercent    = 100
	maxTolerance  = 1000
	maxRatio      = 1_000_000_000_000
	maxPrice      = 1_000_000_000_000
	maxPairs      = 4096
)

var (
	appName    = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)
	metricName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
)

const (
	appRule    = "1 to 63 of a-z, 0-9 and -, starting with a letter and not ending with -"
	metricRule = "1 to 63 of a-z, 0-9 and _, starting with a letter"
)

// checker checks each statement by itself.
type checker struct {
	*Problems
	known   Known
	metrics map[string]int // those of this layer: position; others -1
	regions map[string]bool
	env     *eligibility.Env // nil until there is an expression
}

// Policy finds what is wrong with a policy statement by statement.
func Policy(policy *pb.Policy, known Known, p *Problems) {
	c := newChecker(known, known.Metrics, p)
	if known.App != "" && !appName.MatchString(known.App) {
		c.Add("", "app %q: expected %s", known.App, appRule)
	}
	if c.texts(policy.ProtoReflect(), ""); len(c.found) > 0 {
		return // what follows takes texts and enumerations for sound
	}
	c.count("metrics", len(policy.GetMetrics()), maxMetrics)
	c.count("shards", len(policy.GetShards()), maxShards)
	c.declared(policy.GetMetrics())
	if m := policy.GetMoves(); m != nil {
		c.moves("moves.app", m.App)
		c.moves("moves.server", m.Server)
		c.moves("moves.shard", m.Shard)
	}
	if known.App == "" && policy.GetGroup() != "" {
		c.Add("group", "expected none in the cluster's defaults, not %q", policy.GetGroup())
	}
	if known.App == "" && len(policy.GetShards()) > 0 {
		c.Add("shards", "expected none in the cluster's defaults")
	}
	c.constraints("", policy.GetConstraints(), nil)
	c.goals("", policy.GetGoals())
	for i, entry := range policy.GetShards() {
		if c.Full() {
			return
		}
		c.entry(fmt.Sprintf("shards[%d]", i), entry)
	}
}

// Constraint finds what no placement can do of a constraint that was checked before less was known.
func Constraint(item *pb.Constraint, from Origin, known Known, p *Problems) {
	if s := item.GetSpread(); s != nil {
		checkerAt(from, known, nil, p).satisfiable(from.path+".spread", s)
	}
}

// Goal finds metrics and regions that are not there in a goal that was checked before less was known. Known.Metrics are all that are declared.
func Goal(item *pb.Goal, from Origin, known Known, p *Problems) {
	checkerAt(from, known, known.Metrics, p).kind(from.path, item)
}

// checkerAt is a checker whose problems are at a place.
func checkerAt(from Origin, known Known, metrics []string, p *Problems) *checker {
	p.Where = Where{Name: from.place, App: from.app}
	return newChecker(known, metrics, p)
}

func newChecker(known Known, metrics []string, p *Problems) *checker {
	c := &checker{Problems: p, known: known, metrics: map[string]int{placement.MetricShards: -1, placement.MetricPrimaries: -1}, regions: map[string]bool{}}
	for _, name := range metrics {
		c.metrics[name] = -1
	}
	for _, name := range known.Regions {
		c.regions[name] = true
	}
	return c
}

func (c *checker) entry(at string, entry *pb.ShardPolicy) {
	switch k := entry.GetShards().(type) {
	case *pb.ShardPolicy_Id:
		if !shard.ValidName(k.Id) {
			c.Add(at+".id", "expected a shard's id, %s, not %q", shard.NameRule, k.Id)
		}
	case *pb.ShardPolicy_Prefix:
		if !shard.ValidName(k.Prefix) {
			c.Add(at+".prefix", "expected the beginning of shards' ids, %s, not %q", shard.NameRule, k.Prefix)
		}
	default:
		c.Add(at, "expected id or prefix")
	}
	c.moves(at+".moves", entry.Moves)
	c.constraints(at, entry.GetConstraints(), entry)
	c.goals(at, entry.GetGoals())
}

func (c *checker) declared(metrics []*pb.Metric) {
	for i, m := range metrics {
		at := fmt.Sprintf("metrics[%d].name", i)
		before, twice := c.metrics[m.GetName()]
		switch {
		case !metricName.MatchString(m.GetName()):
			c.Add(at, "expected %s, not %q", metricRule, m.GetName())
		case twice && before >= 0:
			c.Add(at, "metric %s is declared already: %s", m.GetName(), c.Where.Origin(fmt.Sprintf("metrics[%d].name", before)))
		default:
			c.metrics[m.GetName()] = i
		}
	}
}

func (c *checker) moves(at string, n *uint32) {
	if n != nil {
		c.number(at, uint64(*n), 1, maxMoves)
	}
}

func (c *checker) number(at string, n, least, most uint64) {
	if n < least || n > most {
		c.Add(at, "expected %d to %d, not %d", least, most, n)
	}
}

func (c *checker) count(at string, n, most int) {
	if n > most {
		c.Add(at, "expected at most %d, not %d", most, n)
	}
}

func (c *checker) metric(at, name string) {
	if _, ok := c.metrics[name]; !ok && !(c.known.Partial && metricName.MatchString(name)) {
		c.Add(at, "unknown metric %q: declare it in metrics", name)
	}
}

// region checks the name of a region, against those that there are if they are known.
func (c *checker) region(at, name string) {
	switch {
	case name == "":
		c.Add(at, "expected the name of a region, not %q", name)
	case c.known.Regions != nil && !c.regions[name]:
		c.Add(at, "unknown region %q: there are %s", name, strings.Join(c.known.Regions, ", "))
	}
}

// texts checks all strings and enumerations of a message: what can be shown on a line, and has a meaning.
func (c *checker) texts(m protoreflect.Message, path string) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		at := under(path, string(field.Name()))
		switch {
		case field.IsMap():
			value.Map().Range(func(key protoreflect.MapKey, _ protoreflect.Value) bool {
				c.text(at, key.String(), maxText)
				return !c.Full()
			})
		case field.IsList():
			for i := range value.List().Len() {
				c.value(field, value.List().Get(i), fmt.Sprintf("%s[%d]", at, i))
			}
		default:
			c.value(field, value, at)
		}
		return !c.Full()
	})
}

func (c *checker) value(field protoreflect.FieldDescriptor, value protoreflect.Value, at string) {
	switch field.Kind() {
	case protoreflect.MessageKind:
		c.texts(value.Message(), at)
	case protoreflect.StringKind:
		most := maxText
		if field.Name() == "expression" {
			most = eligibility.MaxExpressionBytes
		}
		c.text(at, value.String(), most)
	case protoreflect.EnumKind:
		if field.Enum().Values().ByNumber(value.Enum()) == nil {
			c.Add(at, "unknown number %d of a %s", value.Enum(), field.Enum().Name())
		}
	default:
	}
}

func (c *checker) text(at, text string, most int) {
	if len(text) > most {
		c.Add(at, "expected at most %d bytes, not %d", most, len(text))
		return
	}
	for i, letter := range text {
		if letter == unicode.ReplacementChar || !unicode.IsPrint(letter) && letter != '\n' && letter != '\t' {
			c.Add(at, "expected text, not the character %U at byte %d", letter, i+1)
			return
		}
	}
}
