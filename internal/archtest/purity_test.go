package archtest

import (
	"fmt"
	"go/ast"
	"slices"
	"testing"
)

// corePackages are pure: they take values and return values (DESIGN §4), so that a failing seed is one bug, on a laptop, in milliseconds.
var corePackages = []string{"internal/invariant", "internal/shard", "internal/load", "internal/locality", "internal/latency", "allocator/placement/wyrand", "allocator/placement/problem", "allocator/placement/lanes", "allocator/placement/summit", "allocator/placement/pairs", "allocator/placement/layout", "allocator/placement/assignment", "allocator/placement/engine", "allocator/placement/waves", "allocator/placement/ejection", "allocator/placement/promotions", "allocator/placement/terms", "allocator/placement/share", "allocator/placement/goals", "allocator/placement/field", "allocator/placement", "allocator/placement/tally", "allocator/placement/explain", "allocator/simulation", "allocator/maintenance/event", "allocator/maintenance/caps", "allocator/capacity", "allocator/scaling", "allocator/spec", "allocator/message", "allocator/purpose", "allocator/wish", "allocator/timing", "allocator/report", "allocator/evidence", "allocator/row", "allocator/maintenance", "allocator/probation", "allocator/ledger", "internal/nomad/steering", "internal/record", "agent/retry", "agent/receiver", "agent/roster"}

// coreImports is all of the standard library that a core may use. Anything with a clock, I/O, a lock, a log or randomness is missing.
var coreImports = []string{
	"bytes", "cmp", "container/heap", "errors", "fmt", "iter", "maps", "math", "math/bits", "regexp", "slices", "sort", "strconv", "strings", "time", "unicode",
}

// coreForeign is what else a core may use.
var coreForeign = map[string]string{
	"github.com/cespare/xxhash/v2": "the hash of the key space, a pure function",
}

// clockNames are what package time has beside values: a core gets the time as an argument.
var clockNames = []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}

func purityViolations(t *tree) []string {
	var bad []string
	for _, name := range corePackages {
		p := t.packages[name]
		if p == nil {
			continue
		}
		for _, imported := range imports(p.code()) {
			_, ours := inModule(imported)
			if !ours && coreForeign[imported] == "" && !slices.Contains(coreImports, imported) {
				bad = append(bad, fmt.Sprintf("%s imports %s: a core has no clock, I/O, lock, log or randomness", name, imported))
			}
		}
		for _, f := range p.code() {
			bad = append(bad, impureSyntax(t, f)...)
		}
	}
	return bad
}

// impureSyntax finds goroutines, channels and readings of the clock.
func impureSyntax(t *tree, f *sourceFile) []string {
	var bad []string
	at := func(n ast.Node, what string) {
		bad = append(bad, fmt.Sprintf("%s: %s: a core is a function of its arguments", t.fileSet.Position(n.Pos()), what))
	}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			at(n, "starts a goroutine")
		case *ast.ChanType:
			at(n, "has a channel")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clockNames, n.Sel.Name) {
				at(n, "reads the clock by time."+n.Sel.Name)
			}
		}
		return true
	})
	return bad
}

func TestCoresArePure(t *testing.T) {
	all := loadTree(t)
	for _, name := range corePackages {
		if all.packages[name] == nil {
			t.Errorf("core %s is missing: the rule would hold of nothing", name)
		}
	}
	report(t, purityViolations(all))
}

func TestPurityBites(t *testing.T) {
	for name, c := range map[string]struct{ content, about string }{
		"I/O":       {"package a\n\nimport _ \"os\"\n", "imports os"},
		"lock":      {"package a\n\nimport _ \"sync\"\n", "imports sync"},
		"foreign":   {"package a\n\nimport _ \"github.com/rs/zerolog\"\n", "imports github.com/rs/zerolog"},
		"clock":     {"package a\n\nimport \"time\"\n\nfunc f() time.Time { return time.Now() }\n", "time.Now"},
		"goroutine": {"package a\n\nfunc f() { go f() }\n", "starts a goroutine"},
		"channel":   {"package a\n\nfunc f(chan int) {}\n", "has a channel"},
	} {
		bites(t, name, purityViolations(imaginary(t, map[string]string{"agent/roster/a.go": c.content})), c.about)
	}
}

// initViolations finds functions that run before main: what happens is started by somebody (STYLE §2).
func initViolations(t *tree) []string {
	var bad []string
	for _, p := range t.sorted() {
		for _, f := range p.files {
			if f.generated {
				continue
			}
			for _, d := range f.syntax.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					bad = append(bad, fmt.Sprintf("%s: init: nothing happens before main", t.fileSet.Position(fn.Pos())))
				}
			}
		}
	}
	return bad
}

func TestNoInit(t *testing.T) {
	report(t, initViolations(loadTree(t)))
	bites(t, "init", initViolations(imaginary(t, map[string]string{"sdk/a.go": "package sdk\n\nfunc init() {}\n"})), "nothing happens before main")
}
