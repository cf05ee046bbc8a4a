package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strings"
	"testing"
)

// Budgets, in lines unless said otherwise (STYLE §2). Generated code is aside; members of closed sums are no types of their own.
const (
	maxFunction    = 70
	maxFunctionP95 = 50
	maxFile        = 400
	hardFile       = 600 // no exception goes beyond
	maxTestFile    = 800
	maxPackage     = 2000
	maxTypes       = 12 // exported, a package

	// slack is how many percent an exception of lines may allow beyond what is used: enough for a fix, not for a feature.
	slack = 10
)

// exception allows one thing more than its budget.
type exception struct {
	allowed int
	why     string
}

// measure is the size of everything that has a budget, by name.
func measure(t *tree) (sizes, budgets map[string]int) {
	sizes, budgets = map[string]int{}, map[string]int{}
	note := func(name string, size, budget int) { sizes[name], budgets[name] = size, budget }
	for _, p := range t.sorted() {
		lines, types := 0, 0
		sums := sumMembers(p)
		for _, f := range p.files {
			if f.generated {
				continue
			}
			budget := maxTestFile
			if !f.test {
				budget = maxFile
				lines += f.lines
				types += exportedTypes(f, sums)
			}
			note("file "+f.path, f.lines, budget)
			for name, size := range functions(t.fileSet, f) {
				note("func "+p.path+"."+name, size, maxFunction)
			}
		}
		note("package "+p.path, lines, maxPackage)
		note("types of "+p.path, types, maxTypes)
	}
	return sizes, budgets
}

// functions is the length of each function that is no test: tables of cases may be long.
func functions(fileSet *token.FileSet, f *sourceFile) map[string]int {
	sizes := map[string]int{}
	for _, d := range f.syntax.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil || f.test {
			continue
		}
		name := fn.Name.Name
		if fn.Recv != nil && len(fn.Recv.List) == 1 {
			name = receiver(fn.Recv.List[0].Type) + "." + name
		}
		sizes[name] = fileSet.Position(fn.End()).Line - fileSet.Position(fn.Pos()).Line + 1
	}
	return sizes
}

// receiver is the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

// sumMembers are a package's types with a marker method, `func (T) isSum() {}`.
func sumMembers(p *pkg) map[string]bool {
	members := map[string]bool{}
	for _, f := range p.files {
		for _, d := range f.syntax.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && fn.Recv != nil && fn.Body != nil && len(fn.Body.List) == 0 && strings.HasPrefix(fn.Name.Name, "is") {
				members[receiver(fn.Recv.List[0].Type)] = true
			}
		}
	}
	return members
}

func exportedTypes(f *sourceFile, sums map[string]bool) int {
	n := 0
	for _, d := range f.syntax.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.TYPE {
			continue
		}
		for _, s := range decl.Specs {
			if spec, ok := s.(*ast.TypeSpec); ok && spec.Name.IsExported() && !sums[spec.Name.Name] {
				n++
			}
		}
	}
	return n
}

func budgetViolations(sizes, budgets map[string]int, allowed map[string]exception) []string {
	var bad []string
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		limit := budgets[name]
		if e, ok := allowed[name]; ok {
			limit = e.allowed
		}
		if sizes[name] > limit {
			bad = append(bad, fmt.Sprintf("%s: %d, at most %d: split it", name, sizes[name], limit))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(allowed)) {
		size, ok := sizes[name]
		e := allowed[name]
		switch {
		case !ok || size <= budgets[name]:
			bad = append(bad, fmt.Sprintf("%s: needs its exception no more: remove it", name))
		case strings.HasPrefix(name, "types ") && e.allowed > size, e.allowed > size+size*slack/100:
			bad = append(bad, fmt.Sprintf("%s: %d now, %d allowed: lower its exception", name, size, e.allowed))
		case strings.HasPrefix(name, "file ") && budgets[name] == maxFile && e.allowed > hardFile:
			bad = append(bad, fmt.Sprintf("%s: no file of code may have more than %d lines", name, hardFile))
		case e.why == "":
			bad = append(bad, fmt.Sprintf("%s: an exception without a reason", name))
		}
	}
	return bad
}

func TestBudgets(t *testing.T) {
	sizes, budgets := measure(loadTree(t))
	report(t, budgetViolations(sizes, budgets, exceptions))
	var lengths []int
	for name, size := range sizes {
		if strings.HasPrefix(name, "func ") {
			lengths = append(lengths, size)
		}
	}
	slices.Sort(lengths)
	if len(lengths) < 100 {
		t.Fatalf("only %d functions measured", len(lengths))
	}
	if p95 := lengths[len(lengths)*95/100]; p95 > maxFunctionP95 {
		t.Errorf("95 %% of %d functions have up to %d lines, at most %d is the aim", len(lengths), p95, maxFunctionP95)
	}
}

func TestBudgetsBite(t *testing.T) {
	long := "package a\n\nfunc F() {\n" + strings.Repeat("\t_ = 0\n", maxFunction-1) + "}\n"
	method := "package a\n\ntype T[K any] struct{}\n\nfunc (t *T[K]) F() {\n" + strings.Repeat("\t_ = 0\n", maxFunction-1) + "}\n"
	types := "package a\n" + strings.Repeat("\ntype T%d struct{}\n", maxTypes+1)
	for i := range maxTypes + 1 {
		types = strings.Replace(types, "%d", fmt.Sprint(i), 1)
	}
	sum := types + "\nfunc (T0) isSum() {}\n"
	generated := "// Code generated by hand. DO NOT EDIT.\n\n" + long
	for name, c := range map[string]struct {
		file, content, about string // no about: no violation
		allowed              map[string]exception
	}{
		"function":             {"a/a.go", long, "func a.F: 71", nil},
		"method":               {"a/a.go", method, "func a.T.F: 71", nil},
		"test's function":      {"a/a_test.go", long, "", nil},
		"generated":            {"a/a.go", generated, "", nil},
		"file":                 {"a/a.go", "package a\n" + strings.Repeat("\n", maxFile), "file a/a.go: 401", nil},
		"test file":            {"a/a_test.go", "package a\n" + strings.Repeat("\n", maxTestFile), "file a/a_test.go: 801", nil},
		"types":                {"a/a.go", types, "types of a: 13", nil},
		"types, one of a sum":  {"a/a.go", sum, "", nil},
		"excepted":             {"a/a.go", long, "", map[string]exception{"func a.F": {75, "because"}}},
		"excepted, grown":      {"a/a.go", long, "at most 70", map[string]exception{"func a.F": {70, "because"}}},
		"excepted, for nought": {"a/a.go", "package a\n", "remove it", map[string]exception{"func a.F": {75, "because"}}},
		"excepted, too much":   {"a/a.go", long, "lower its exception", map[string]exception{"func a.F": {200, "because"}}},
		"excepted, no reason":  {"a/a.go", long, "without a reason", map[string]exception{"func a.F": {75, ""}}},
		"excepted, beyond all": {"a/a.go", "package a\n" + strings.Repeat("\n", hardFile-10), "may have more than 600", map[string]exception{"file a/a.go": {hardFile + 10, "because"}}},
	} {
		sizes, budgets := measure(imaginary(t, map[string]string{c.file: c.content}))
		found := budgetViolations(sizes, budgets, c.allowed)
		if c.about != "" {
			bites(t, name, found, c.about)
		} else if len(found) > 0 {
			t.Errorf("%s: found %q, want nothing", name, found)
		}
	}
}
