package eligibility

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var fleet = []Server{
	{ID: "a1.kv", Host: "a1", Rack: "r1", Zone: "z1", Region: "eu-west", Labels: map[string]string{"tier": "gold"}, Capacity: map[string]int64{"cpu_milli": 8000}},
	{ID: "a2.kv", Host: "a2", Rack: "r1", Zone: "z2", Region: "eu-north", Labels: map[string]string{"tier": "iron", "old": ""}, Metadata: map[string]string{"kernel": "6.1"}},
	{ID: "b1.kv", Host: "b1", Region: "us-east", Metadata: map[string]string{"kernel": "5.4"}, Capacity: map[string]int64{"cpu_milli": 64000, "shards": 10}},
}

func environment(t testing.TB) *Env {
	t.Helper()
	env, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func compiled(t testing.TB, expression string) *Predicate {
	t.Helper()
	p, err := environment(t).Compile("app kv", expression)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func show(s Set, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteByte("-+"[b2i(s.Has(i))])
	}
	return b.String()
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestEligible(t *testing.T) {
	for expression, want := range map[string]string{
		`true`: "+++",
		`server.region in ["eu-west", "eu-north"]`:                                                  "++-",
		`server.region.startsWith("eu-")`:                                                           "++-",
		`has(server.labels.old)`:                                                                    "-+-",
		`"old" in server.labels`:                                                                    "-+-",
		`!("old" in server.labels)`:                                                                 "+-+",
		`server.labels[?"tier"].orValue("") != ""`:                                                  "++-",
		`server.?labels.tier.orValue("x") == "x"`:                                                   "", // server is no value by itself
		`server.labels.?tier.orValue("x") == "x"`:                                                   "--+",
		`server.id == "a1.kv" || server.rack == ""`:                                                 "+-+",
		`server.host.matches("^a[0-9]$") && server.zone != "z1"`:                                    "-+-",
		`server.capacity[?"cpu_milli"].orValue(0) > 10000`:                                          "--+",
		`server.metadata.exists(k, k == "kernel" && server.metadata[k] >= "6")`:                     "-+-",
		`server.labels.all(k, server.labels[k] != "")`:                                              "+-+",
		`size(server.capacity) + size(server.labels) == 2`:                                          "++" + "+",
		`.server.region == "us-east"`:                                                               "--+",
		`["us-east"].exists(server, server == "us-east")`:                                           "+++",
		`[{"labels": {"x": "y"}}].exists(server, server.labels.x == "y")`:                           "+++",
		`{server.region: server.zone} == {"eu-west": "z1"}`:                                         "+--",
		`[server.region, server.zone] == ["eu-west", "z1"]`:                                         "+--",
		`server.labels == {"tier": "gold"}`:                                                         "+--",
		`"gold" in server.labels.map(k, server.labels[k])`:                                          "+--",
		`(server.region == "us-east" ? {"tier": "gold"} : {"tier": ""})[?"tier"].orValue("") == ""`: "++-",
	} {
		p, err := environment(t).Compile("app kv", expression)
		if want == "" {
			if !errors.Is(err, ErrExpression) {
				t.Errorf("%s: compiled, %v", expression, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		for range 2 { // the second time from what was kept
			got, err := p.Eligible(t.Context(), fleet)
			if err != nil || show(got, 3) != want || got.Count() != strings.Count(want, "+") {
				t.Errorf("%s: got %s, %d, %v, want %s", expression, show(got, 3), got.Count(), err, want)
			}
		}
	}
}

func TestCompileErrors(t *testing.T) {
	for expression, want := range map[string]string{
		``:                            "expected a condition on server, not nothing",
		` `:                           "expected a condition on server, not nothing",
		`server.region`:               "expected a bool, not a value of type string",
		`1`:                           "expected a bool, not a value of type int",
		`dyn(true)`:                   "expected a bool, not a value of type dyn",
		`server.regoin == "eu"`:       "line 1, column 1: unknown field of server: expected id, host, rack, zone, region, labels, metadata or capacity",
		`server == server`:            "unknown field of server",
		`region == "eu"`:              "line 1, column 1: undeclared reference to 'region'",
		`true &&\nserver.region == 7`: "Syntax error",
		"true &&\nserver.region == 7": "line 2, column 15: found no matching overload for '_==_' applied to '(string, int)'",
		`server.labels.tier > 3`:      "found no matching overload",
		`server.region.matches("(")`:  "missing closing )",
		`server.region ==`:            "Syntax error",
		`"` + strings.Repeat("a", MaxExpressionBytes) + `" == ""`:        "expected at most 4096 bytes, not 4104",
		strings.Repeat("(", 2000) + "true" + strings.Repeat(")", 2000):   "recursion",
		strings.Repeat("!", 4000) + "true":                               "",
		strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + " == []": "recursion",
		"\xff\x00":            "line 1",
		`a; b; c; d; e; f; ~`: "more",
	} {
		_, err := environment(t).Compile("app kv", expression)
		if want == "" {
			continue // whatever it is, it is no panic
		}
		if !errors.Is(err, ErrExpression) || !strings.HasPrefix(err.Error(), "eligibility of app kv: expression: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60q: got %v, want %q", expression, err, want)
		}
	}
}

func TestNoValueForAServer(t *testing.T) {
	p := compiled(t, `server.labels.tier == "gold"`)
	got, err := p.Eligible(t.Context(), fleet)
	const want = "eligibility of app kv: no value for 1 of 3 servers, which are not eligible: server b1.kv: no such key: tier: ask with has() first"
	if !errors.Is(err, ErrEvaluation) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if show(got, 3) != "+--" {
		t.Errorf("got %s, want the first only", show(got, 3))
	}
	many := make([]Server, 100)
	_, err = p.Eligible(t.Context(), many)
	if err == nil || !strings.Contains(err.Error(), "100 of 100 servers") || strings.Count(err.Error(), "no such key") != maxNamed {
		t.Errorf("many: %v", err)
	}
	for expression, want := range map[string]string{
		`1 / size(server.labels) == 1`:                         "division by zero",
		`server.capacity.cpu_milli * 9223372036854775807 > 0`:  "overflow",
		`server.region.matches(server.rack)`:                   "missing closing",
		`int(server.region) == 0`:                              "",
		`timestamp(server.region) == timestamp(server.region)`: "",
	} {
		_, err := compiled(t, expression).Eligible(t.Context(), []Server{{ID: "a.kv", Rack: "(", Capacity: map[string]int64{"cpu_milli": 2}}})
		if !errors.Is(err, ErrEvaluation) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", expression, err, want)
		}
	}
}

// forever is more than a billion steps, in an expression of less than a kilobyte.
func forever() string {
	list := "[" + strings.Repeat("0,", 31) + "0]"
	e := "true"
	for i := range 6 {
		e = fmt.Sprintf("%s.all(x%d, %s)", list, i, e)
	}
	return e + ` && server.region != ""`
}

func TestCostLimit(t *testing.T) {
	labels := map[string]string{}
	for i := range 200 {
		labels[fmt.Sprint("l", i)] = "v"
	}
	for name, c := range map[string]struct {
		expression string
		server     Server
	}{
		"nested lists":    {forever(), fleet[0]},
		"a large map":     {`server.labels.all(a, server.labels.all(b, server.labels.all(c, a + b != c)))`, Server{ID: "a1.kv", Labels: labels}},
		"an endless text": {`server.region.matches("(a|aa|aaa)*b")`, Server{ID: "a1.kv", Region: strings.Repeat("a", 1<<20)}},
	} {
		got, err := compiled(t, c.expression).Eligible(t.Context(), []Server{c.server})
		const want = "eligibility of app kv: server a1.kv: cost limit: the expression costs more than 10000 for this server"
		if !errors.Is(err, ErrCost) || err.Error() != want || got.Count() > 0 {
			t.Errorf("%s: got %d servers, %v, want %s", name, got.Count(), err, want)
		}
	}
}

func TestInterrupt(t *testing.T) {
	why := errors.New("the round is over")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	got, err := compiled(t, `true`).Eligible(ctx, fleet)
	if !errors.Is(err, ErrInterrupted) || !errors.Is(err, why) || !strings.Contains(err.Error(), "app kv: server a1.kv") || got.Count() > 0 {
		t.Errorf("got %d servers, %v", got.Count(), err)
	}
	// What was kept needs no evaluation, and no time.
	p := compiled(t, `true`)
	if _, err := p.Eligible(t.Context(), fleet); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Eligible(ctx, fleet); err != nil || got.Count() != 3 {
		t.Errorf("kept: got %d servers, %v", got.Count(), err)
	}
}

// ending is a context that ends after it was asked once.
type ending struct {
	context.Context
	asked int
}

func (e *ending) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

func (e *ending) Err() error {
	if e.asked++; e.asked == 1 {
		return nil
	}
	return context.DeadlineExceeded
}

func TestInterruptInTheMiddle(t *testing.T) {
	long := "[" + strings.Repeat("0,", 300) + `0].all(x, x == 0)`
	if _, err := compiled(t, long).Eligible(&ending{Context: t.Context()}, fleet); !errors.Is(err, ErrInterrupted) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsRead(t *testing.T) {
	for expression, want := range map[string]reads{
		`true`:                         {},
		`server.region == server.zone`: {fields: []string{fieldRegion, fieldZone}},
		`has(server.labels.a)`:         {keys: []key{{fieldLabels, "a"}}},
		`"a" in server.labels`:         {keys: []key{{fieldLabels, "a"}}},
		`server.labels["b"] == "" && server.labels.a == ""`:   {keys: []key{{fieldLabels, "a"}, {fieldLabels, "b"}}},
		`server.metadata[?"a"].hasValue()`:                    {keys: []key{{fieldMetadata, "a"}}},
		`server.metadata.?a.hasValue()`:                       {keys: []key{{fieldMetadata, "a"}}},
		`server.capacity.m == 1 && size(server.capacity) > 0`: {fields: []string{fieldCapacity}},
		`server.labels[server.id] == ""`:                      {fields: []string{fieldID, fieldLabels}},
		`server.region.startsWith("eu")`:                      {fields: []string{fieldRegion}},
	} {
		got := compiled(t, expression).program.reads
		if !slices.Equal(got.fields, want.fields) || !slices.Equal(got.keys, want.keys) {
			t.Errorf("%s: got %+v, want %+v", expression, got, want)
		}
	}
}

// What is kept by what an expression reads is what evaluating each server alone gives.
func TestKeptAnswersAreThoseOfEachServer(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	servers := randomFleet(random, 300)
	for _, expression := range []string{
		`server.region == "r1"`, `has(server.labels.a) && server.labels.a == "1"`, `server.labels[?"a"] == server.metadata[?"b"]`,
		`server.labels.exists(k, server.labels[k] == "2")`, `server.capacity[?"m"].orValue(0) > 1 && server.zone != server.rack`,
		`"b" in server.metadata && size(server.metadata) > 1`, `server.labels.a == "1"`, `(has(server.labels.b) ? server.labels : server.metadata)[?"a"].orValue("") == "1"`,
		`server.labels.exists(k, k == "b")`, `has(server.labels.a) && !has(server.labels.b)`, `has(server.capacity.m) && server.capacity.m == 3`,
		`server.id.endsWith("7")`, `["a", "b"].exists(k, k in server.labels)`, `server.labels.?a.hasValue()`,
	} {
		shared := compiled(t, expression)
		got, err := shared.Eligible(t.Context(), servers)
		if err != nil && !errors.Is(err, ErrEvaluation) {
			t.Fatal(err)
		}
		for i := range servers {
			alone, err := compiledBy(t, shared, expression).Eligible(t.Context(), servers[i:i+1])
			if err != nil && !errors.Is(err, ErrEvaluation) {
				t.Fatal(err)
			}
			if alone.Has(0) != got.Has(i) {
				t.Errorf("%s: server %+v: got %t together, %t alone", expression, servers[i], got.Has(i), alone.Has(0))
			}
		}
	}
}

// compiledBy is the same expression with nothing kept.
func compiledBy(t *testing.T, p *Predicate, expression string) *Predicate {
	t.Helper()
	return &Predicate{subject: "app kv", program: &program{text: expression, code: p.program.code, reads: p.program.reads, answers: map[string]answer{}}}
}

func randomFleet(random *rand.Rand, n int) []Server {
	pick := func(s string) string { return fmt.Sprint(s, random.IntN(3)) }
	texts := func() map[string]string {
		m := map[string]string{}
		for _, name := range []string{"a", "b", "c"} {
			if random.IntN(2) == 0 {
				m[name] = fmt.Sprint(random.IntN(3))
			}
		}
		return m
	}
	servers := make([]Server, n)
	for i := range servers {
		servers[i] = Server{ID: fmt.Sprint("s", i), Host: fmt.Sprint("h", i), Rack: pick("r"), Zone: pick("r"), Region: pick("r"), Labels: texts(), Metadata: texts()}
		if random.IntN(2) == 0 {
			servers[i].Capacity = map[string]int64{"m": random.Int64N(4)}
		}
	}
	return servers
}

func TestLimitsOfWhatIsKept(t *testing.T) {
	env := environment(t)
	for i := range maxCompiled + 1 {
		env.compiled[fmt.Sprint(i)] = nil
	}
	p, err := env.Compile("app kv", `server.id != ""`)
	if err != nil || len(env.compiled) != 1 {
		t.Fatalf("%d expressions kept, %v", len(env.compiled), err)
	}
	for i := range maxAnswers {
		p.program.keep(fmt.Sprint(i), answer{})
	}
	if _, err := p.Eligible(t.Context(), fleet); err != nil || len(p.program.answers) != 3 {
		t.Errorf("%d answers kept, %v", len(p.program.answers), err)
	}
	again, err := env.Compile("app other", `server.id != ""`)
	if err != nil || again.program != p.program || again.subject != "app other" {
		t.Errorf("compiled twice: %v, %v", again, err)
	}
}

func TestSet(t *testing.T) {
	a, b := Set{words: []uint64{0b110, 1}}, Set{words: []uint64{0b011, 1}}
	both := a.And(b)
	if !both.Has(1) || both.Has(0) || both.Has(2) || !both.Has(64) || both.Has(128) || both.Has(-1) || both.Count() != 2 {
		t.Errorf("got %b", both.words)
	}
}

func FuzzExpression(f *testing.F) {
	for _, seed := range []string{`true`, `server.labels.tier == "x"`, `[1,2].all(x, x > 0)`, forever(), `server.region.matches(server.zone)`, `{"a": 1}.b == 2`, `1/0 == 1`} {
		f.Add(seed)
	}
	env := environment(f)
	f.Fuzz(func(t *testing.T, expression string) {
		p, err := env.Compile("app kv", expression)
		if err != nil {
			if !errors.Is(err, ErrExpression) {
				t.Errorf("%q: %v", expression, err)
			}
			return
		}
		_, err = p.Eligible(t.Context(), fleet)
		if err != nil && !errors.Is(err, ErrCost) && !errors.Is(err, ErrEvaluation) {
			t.Errorf("%q: %v", expression, err)
		}
	})
}

// 10 000 servers in 5 regions, with 4 labels each: what a round of placement asks.
func BenchmarkEligible(b *testing.B) {
	servers := make([]Server, 10_000)
	for i := range servers {
		servers[i] = Server{
			ID: fmt.Sprintf("agent%d.kv", i), Host: fmt.Sprint("host", i), Rack: fmt.Sprint("rack", i/20), Zone: fmt.Sprint("zone", i%15), Region: fmt.Sprint("region", i%5),
			Labels:   map[string]string{"tier": fmt.Sprint("t", i%3), "pool": fmt.Sprint("p", i%7), "os": "linux", "gen": fmt.Sprint(i % 4)},
			Capacity: map[string]int64{"cpu_milli": int64(8000 * (1 + i%3)), "memory_bytes": 1 << 36},
		}
	}
	for name, expression := range map[string]string{
		"region": `server.region in ["region1", "region2"]`,
		"labels": `has(server.labels.tier) && server.labels.tier == "t1" && server.labels.pool != "p3"`,
		"whole":  `server.labels.exists(k, server.labels[k] == "t1")`,
		"every":  `server.id != "agent7.kv" && server.capacity.cpu_milli > 8000`,
	} {
		b.Run(name+"/first", func(b *testing.B) {
			p := compiled(b, expression)
			for b.Loop() {
				clear(p.program.answers)
				if _, err := p.Eligible(b.Context(), servers); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/again", func(b *testing.B) {
			p := compiled(b, expression)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Eligible(b.Context(), servers); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("compile", func(b *testing.B) {
		env := environment(b)
		for b.Loop() {
			clear(env.compiled)
			if _, err := env.Compile("app kv", `server.region in ["region1", "region2"]`); err != nil {
				b.Fatal(err)
			}
		}
	})
}
