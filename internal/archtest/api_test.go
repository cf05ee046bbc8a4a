package archtest

import (
	"bufio"
	"bytes"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// publicPackages are what users import; what they show must be theirs, another library's, or of the wire, which is public too.
var publicPackages = []string{"sdk", "sdk/statestream", "sdk/sdktest", "sdk/sdktest/ownership", "sdk/sdktest/virtual"}

// api walks what the exported names of a package lead to.
type api struct {
	seen map[types.Type]bool
	bad  []string
}

func (a *api) hidden(p *types.Package) bool {
	if p == nil {
		return false
	}
	name, ours := inModule(p.Path())
	if !ours {
		return false
	}
	return !under(name, "sdk") && !under(name, "proto")
}

// see follows a type as far as users of it can.
func (a *api) see(t types.Type, way string) {
	if t == nil || a.seen[t] {
		return
	}
	a.seen[t] = true
	switch t := t.(type) {
	case *types.Alias:
		a.named(t.Obj(), way)
		a.see(types.Unalias(t), way)
	case *types.Named:
		if a.named(t.Obj(), way) {
			a.seeNamed(t, way)
		}
	case *types.Pointer:
		a.see(t.Elem(), way)
	case *types.Slice:
		a.see(t.Elem(), way)
	case *types.Array:
		a.see(t.Elem(), way)
	case *types.Chan:
		a.see(t.Elem(), way)
	case *types.Map:
		a.see(t.Key(), way)
		a.see(t.Elem(), way)
	case *types.Struct:
		for f := range t.Fields() {
			if f.Exported() {
				a.see(f.Type(), way+"."+f.Name())
			}
		}
	case *types.Interface:
		for m := range t.ExplicitMethods() {
			if m.Exported() {
				a.see(m.Type(), way+"."+m.Name())
			}
		}
		for e := range t.EmbeddedTypes() {
			a.see(e, way)
		}
	case *types.Signature:
		a.tuple(t.Params(), way)
		a.tuple(t.Results(), way)
	}
}

func (a *api) tuple(t *types.Tuple, way string) {
	for v := range t.Variables() {
		a.see(v.Type(), way)
	}
}

// named notes a type that users cannot name, and reports whether to look into it.
func (a *api) named(o *types.TypeName, way string) bool {
	if a.hidden(o.Pkg()) {
		a.bad = append(a.bad, fmt.Sprintf("%s shows %s.%s, which users cannot name", way, o.Pkg().Path(), o.Name()))
		return false
	}
	if o.Pkg() == nil {
		return false
	}
	name, ours := inModule(o.Pkg().Path())
	return ours && !under(name, "proto") // what others show is theirs, and the wire shows itself
}

func (a *api) seeNamed(t *types.Named, way string) {
	for m := range t.Methods() {
		if m.Exported() {
			a.see(m.Type(), way+"."+m.Name())
		}
	}
	for arg := range t.TypeArgs().Types() {
		a.see(arg, way)
	}
	a.see(t.Underlying(), way)
}

func apiViolations(p *types.Package) []string {
	a := &api{seen: map[types.Type]bool{}}
	for _, name := range p.Scope().Names() {
		if o := p.Scope().Lookup(name); o.Exported() {
			a.see(o.Type(), p.Name()+"."+name)
		}
	}
	return a.bad
}

func TestPublicAPI(t *testing.T) {
	exported := exportFiles(t)
	imported := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		file, ok := exported[path]
		if !ok {
			return nil, fmt.Errorf("no export data for %s", path)
		}
		return os.Open(file)
	})
	for _, name := range publicPackages {
		p, err := imported.Import(module + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Scope().Names()) < 3 {
			t.Errorf("%s has %d names: the rule would hold of nothing", name, len(p.Scope().Names()))
		}
		report(t, apiViolations(p))
	}
	// The rule bites: a package inside shows inner types, of course.
	inner, err := imported.Import(module + "/internal/mapfeed")
	if err != nil {
		t.Fatal(err)
	}
	found := strings.Join(apiViolations(inner), "\n")
	for _, want := range []string{"mapfeed.Update", "internal/shard.Map", "internal/shard.App"} {
		if !strings.Contains(found, want) {
			t.Errorf("the rule did not find %s in package mapfeed:\n%s", want, found)
		}
	}
}

// exportFiles is where the compiler's export data of the public packages and all that they import lies.
func exportFiles(t *testing.T) map[string]string {
	t.Helper()
	args := []string{"list", "-deps", "-export", "-f", "{{.ImportPath}}\t{{.Export}}"}
	for _, name := range publicPackages {
		args = append(args, module+"/"+name)
	}
	command := exec.CommandContext(t.Context(), "go", args...)
	var problem bytes.Buffer
	command.Stderr = &problem
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, problem.String())
	}
	files := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if path, file, ok := strings.Cut(lines.Text(), "\t"); ok && file != "" {
			files[path] = file
		}
	}
	return files
}
