package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/shardmanager/shardmanager"

// sourceFile is one Go file of the tree.
type sourceFile struct {
	path      string // from the root, with slashes
	test      bool
	generated bool
	lines     int
	syntax    *ast.File
}

// pkg is one directory of Go files.
type pkg struct {
	path  string // from the root; `.` does not occur
	files []*sourceFile
}

// tree is every package of the module, by path.
type tree struct {
	root     string
	fileSet  *token.FileSet
	packages map[string]*pkg
}

// loadTree is the tree that the tests run in, parsed once; nobody changes it.
func loadTree(t testing.TB) *tree {
	t.Helper()
	all, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(all.packages) < 10 {
		t.Fatalf("only %d packages found below %s: the rules would hold of nothing", len(all.packages), all.root)
	}
	return all
}

// parsed reads the whole module. Modules below it (tools) and hidden directories are not part of it.
var parsed = sync.OnceValues(func() (*tree, error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		return nil, fmt.Errorf("not in the module: %w", err)
	}
	all := &tree{root: root, fileSet: token.NewFileSet(), packages: map[string]*pkg{}}
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || isModule(name)):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		return all.add(filepath.ToSlash(rel), string(content))
	})
	return all, err
})

func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// add takes in one file; tests of the rules call it with files of their own.
func (t *tree) add(name, content string) error {
	syntax, err := parser.ParseFile(t.fileSet, name, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(name)
	p := t.packages[dir]
	if p == nil {
		p = &pkg{path: dir}
		t.packages[dir] = p
	}
	p.files = append(p.files, &sourceFile{
		path: name, test: strings.HasSuffix(name, "_test.go"), generated: ast.IsGenerated(syntax), lines: strings.Count(content, "\n"), syntax: syntax,
	})
	return nil
}

// imaginary is a tree of the files given, path to content, for showing that a rule bites.
func imaginary(t *testing.T, files map[string]string) *tree {
	t.Helper()
	made := &tree{fileSet: token.NewFileSet(), packages: map[string]*pkg{}}
	for name, content := range files {
		if err := made.add(name, content); err != nil {
			t.Fatal(err)
		}
	}
	return made
}

// sorted lists the packages by path.
func (t *tree) sorted() []*pkg {
	var list []*pkg
	for _, p := range t.packages {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *pkg) int { return strings.Compare(a.path, b.path) })
	return list
}

// code lists a package's files that are no tests.
func (p *pkg) code() []*sourceFile {
	var list []*sourceFile
	for _, f := range p.files {
		if !f.test {
			list = append(list, f)
		}
	}
	return list
}

// imports lists the import paths of files, each once, in order.
func imports(files []*sourceFile) []string {
	var list []string
	for _, f := range files {
		for _, spec := range f.syntax.Imports {
			list = append(list, strings.Trim(spec.Path.Value, `"`))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// inModule cuts the module off an import path; false if the path is not of this module.
func inModule(importPath string) (string, bool) { return strings.CutPrefix(importPath, module+"/") }

// standard reports whether an import path is of the standard library.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// under reports whether a package is at a path or below it.
func under(p, top string) bool { return p == top || strings.HasPrefix(p, top+"/") }

// report fails the test with each violation.
func report(t *testing.T, violations []string) {
	t.Helper()
	for _, v := range violations {
		t.Error(v)
	}
}

// bites shows that a rule finds the one violation that a tree was made for.
func bites(t *testing.T, name string, violations []string, about string) {
	t.Helper()
	if len(violations) != 1 || !strings.Contains(violations[0], about) {
		t.Errorf("%s: found %q, want one violation about %q", name, violations, about)
	}
}
