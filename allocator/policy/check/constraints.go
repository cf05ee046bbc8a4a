package check

import (
	"errors"
	"fmt"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/policy/eligibility"
	"github.com/shardmanager/shardmanager/allocator/policy/statement"
	"github.com/shardmanager/shardmanager/internal/locality"
	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// constraints checks a list. entry says for which shards they hold; nil: for all of the app, or of all apps.
func (c *checker) constraints(in string, list []*pb.Constraint, entry *pb.ShardPolicy) {
	c.count(under(in, "constraints"), len(list), maxStatements)
	for i, item := range list {
		if c.Full() {
			return
		}
		at := under(in, fmt.Sprintf("constraints[%d]", i))
		if len(item.GetName()) > maxName {
			c.Add(at+".name", "expected at most %d bytes, not %d", maxName, len(item.GetName()))
		}
		switch k := item.GetKind().(type) {
		case *pb.Constraint_Spread:
			c.spread(at+".spread", k.Spread)
			c.satisfiable(at+".spread", k.Spread)
		case *pb.Constraint_Exclusion:
			c.exclusion(at+".exclusion", k.Exclusion, entry)
		case *pb.Constraint_Dependency:
			c.dependency(at+".dependency", k.Dependency, entry)
		case *pb.Constraint_Eligibility:
			c.eligibility(at+".eligibility.expression", k.Eligibility.GetExpression())
		case *pb.Constraint_Pin:
			c.pin(at+".pin", k.Pin, entry)
		default:
			c.Add(at, "expected one of spread, exclusion, dependency, eligibility and pin")
		}
	}
}

// spread checks what constraints and goals have in common.
func (c *checker) spread(at string, s *pb.Spread) {
	switch s.GetOver().(type) {
	case *pb.Spread_Domain, *pb.Spread_Label:
		c.over(at, statement.OverOf(s))
	default:
		c.Add(at, "expected domain or label")
	}
	switch k := s.GetLimit().(type) {
	case *pb.Spread_AtMost:
		c.number(at+".at_most", uint64(k.AtMost), 1, maxReplicas)
	case *pb.Spread_AtLeastDomains:
		c.number(at+".at_least_domains", uint64(k.AtLeastDomains), 1, maxReplicas)
	default:
		c.Add(at, "expected at_most or at_least_domains")
	}
}

// over checks one of two alternatives that is set.
func (c *checker) over(at string, o statement.Over) {
	switch {
	case o.Label == "" && o.Domain == pb.FaultDomain_FAULT_DOMAIN_UNSPECIFIED:
		c.Add(at, "expected domain: host, rack, zone or region, or label: the key of a label")
	case o.Label != "" && strings.TrimSpace(o.Label) != o.Label:
		c.Add(at+".label", "expected the key of a label, not %q", o.Label)
	}
}

// satisfiable refuses what no placement can do, as far as numbers are known.
func (c *checker) satisfiable(at string, s *pb.Spread) {
	o := statement.OverOf(s)
	domains := c.known.Domains[locality.Domain(o.Domain)]
	if o.Label != "" {
		domains = c.known.LabelValues[o.Label]
	}
	replicas := c.known.Replicas
	least, most := int(s.GetAtLeastDomains()), int(s.GetAtMost())
	switch {
	case least > 0 && replicas > 0 && least > replicas:
		c.Add(at+".at_least_domains", "%d domains cannot be reached: a shard has %d replicas", least, replicas)
	case least > 0 && domains > 0 && least > domains:
		c.Add(at+".at_least_domains", "%d domains cannot be reached: over %s there are %d", least, o, domains)
	case most > 0 && replicas > 0 && domains > 0 && most*domains < replicas:
		c.Add(at+".at_most", "%d in each of %d domains over %s are %d: a shard has %d replicas", most, domains, o, most*domains, replicas)
	}
}

func (c *checker) exclusion(at string, e *pb.Exclusion, entry *pb.ShardPolicy) {
	if e.GetOver() != nil {
		c.over(at, statement.OverOf(e))
	}
	c.target(at, statement.TargetOf(e), "excludes", entry)
	if c.known.App == "" && e.GetApp() == "" && e.GetShard() != "" {
		c.Add(at+".shard", "expected none without app in the cluster's defaults")
	}
}

func (c *checker) dependency(at string, d *pb.Dependency, entry *pb.ShardPolicy) {
	if d.GetOver() == nil {
		c.Add(at, "expected domain or label")
	} else {
		c.over(at, statement.OverOf(d))
	}
	own := d.GetApp() == "" || d.GetApp() == c.known.App
	if own && d.GetShard() == "" {
		c.Add(at, "%s depends on itself: expected another app, or a shard of it", statement.Owner(c.known.App))
		return
	}
	if own && c.known.App == "" {
		c.Add(at+".app", "expected an app in the cluster's defaults")
	}
	c.target(at, statement.TargetOf(d), "depends on", entry)
}

// target checks whom an exclusion or dependency names. verb is for statements about the very shard that they hold for.
func (c *checker) target(at string, t statement.Target, verb string, entry *pb.ShardPolicy) {
	if t.App != "" && !appName.MatchString(t.App) {
		c.Add(at+".app", "expected the name of an app, %s, not %q", appRule, t.App)
	}
	if t.Shard == "" {
		return
	}
	if !shard.ValidName(t.Shard) {
		c.Add(at+".shard", "expected a shard's id, %s, not %q", shard.NameRule, t.Shard)
	}
	own := c.known.App != "" && (t.App == "" || t.App == c.known.App)
	if own && (entry == nil || covers(entry, t.Shard)) {
		c.Add(at+".shard", "shard %s %s itself: say it in shards, of those that it holds for", t.Shard, verb)
	}
}

// eligibility compiles an expression, to see whether it can be.
func (c *checker) eligibility(at, expression string) {
	if c.env == nil {
		env, err := eligibility.NewEnv()
		if err != nil {
			c.Add(at, "%v", err)
			return
		}
		c.env = env
	}
	if _, err := c.env.Compile(statement.Owner(c.known.App), expression); err != nil {
		if !errors.Is(err, eligibility.ErrExpression) {
			c.Add(at, "%v", err)
			return
		}
		c.Add(at, "%s", strings.TrimPrefix(err.Error(), fmt.Sprintf("eligibility of %s: ", statement.Owner(c.known.App))))
	}
}

func (c *checker) pin(at string, p *pb.Pin, entry *pb.ShardPolicy) {
	switch {
	case c.known.App == "":
		c.Add(at, "expected none in the cluster's defaults")
	case len(p.GetServers()) > 0 && entry == nil:
		c.Add(at+".servers", "expected none here: they would get every shard of the app; pin shards in shards")
	}
	c.count(at+".servers", len(p.GetServers()), maxReplicas)
	seen := map[string]int{}
	for i, server := range p.GetServers() {
		path := fmt.Sprintf("%s.servers[%d]", at, i)
		before, twice := seen[server]
		switch {
		case server == "":
			c.Add(path, "expected the id of a server, not %q", server)
		case c.known.App != "" && !strings.HasSuffix(server, "."+c.known.App):
			c.Add(path, "expected the id of a server of the app, <agent>.%s, not %q", c.known.App, server)
		case twice:
			c.Add(path, "server %s is named already: %s", server, c.Where.Origin(fmt.Sprintf("%s.servers[%d]", at, before)))
		}
		seen[server] = i
	}
}

// covers reports whether an entry is about a shard.
func covers(entry *pb.ShardPolicy, shard string) bool {
	if entry.GetPrefix() != "" {
		return strings.HasPrefix(shard, entry.GetPrefix())
	}
	return entry.GetId() == shard
}
