package archtest

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// A place is named as `file:name` in the table of rules.
	namedPlace = regexp.MustCompile("`([A-Za-z0-9_./-]+\\.(?:go|pml)):([A-Za-z0-9_]+)`")
	ruleRow    = regexp.MustCompile(`(?m)^\| (R\d+) \|.*$`)
)

// TestRules checks that the table of the protocol's rules names every rule, and that every place it names exists.
func TestRules(t *testing.T) {
	all := loadTree(t)
	text, err := os.ReadFile(filepath.Join(all.root, "docs", "model", "rules.md"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, row := range ruleRow.FindAllStringSubmatch(string(text), -1) {
		found = append(found, row[1])
		places := namedPlace.FindAllStringSubmatch(row[0], -1)
		if !slices.ContainsFunc(places, func(p []string) bool { return strings.HasSuffix(p[1], "_test.go") }) {
			t.Errorf("%s: no test", row[1])
		}
		for _, place := range places {
			if err := all.has(place[1], place[2]); err != nil {
				t.Errorf("%s: %v", row[1], err)
			}
		}
	}
	var expected []string
	for n := 1; n <= 34; n++ {
		if n != 17 && n != 25 { // retired
			expected = append(expected, fmt.Sprintf("R%d", n))
		}
	}
	if !slices.Equal(found, expected) {
		t.Errorf("rules %v, expected %v", found, expected)
	}
}

// has looks for a function in a Go file, or for a word in a model.
func (t *tree) has(file, name string) error {
	if strings.HasSuffix(file, ".pml") {
		text, err := os.ReadFile(filepath.Join(t.root, "docs", "model", file))
		if err == nil && !regexp.MustCompile(`\b`+name+`\b`).Match(text) {
			err = fmt.Errorf("docs/model/%s: no %s", file, name)
		}
		return err
	}
	if p := t.packages[path.Dir(file)]; p != nil {
		for _, f := range p.files {
			if f.path == file && slices.ContainsFunc(f.syntax.Decls, func(d ast.Decl) bool {
				fn, ok := d.(*ast.FuncDecl)
				return ok && fn.Name.Name == name
			}) {
				return nil
			}
		}
	}
	return fmt.Errorf("%s: no function %s", file, name)
}
