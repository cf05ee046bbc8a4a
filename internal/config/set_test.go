package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/shardmanager/shardmanager/internal/config"
)

type settings struct {
	Name          string           `yaml:"name"`
	LeaseValidity time.Duration    `yaml:"lease_validity"`
	LeaseInterval time.Duration    `yaml:"lease_interval"`
	Allocators    []string         `yaml:"allocators"`
	Capacity      map[string]int64 `yaml:"capacity"`
	Verbose       bool             `yaml:"verbose"`
	Inhibit       config.Tristate  `yaml:"inhibit"`
	Limit         int              `yaml:"limit"`
	Part          float64          `yaml:"part"`
	inner         int
}

func defaults() settings { return settings{Name: "default", LeaseValidity: 6 * time.Second, inner: 1} }

// load reads file contents, an environment and flags into settings.
func load(t *testing.T, contents string, environ, args []string) (settings, *config.Set, error) {
	t.Helper()
	path := ""
	if contents != "" {
		path = filepath.Join(t.TempDir(), "file.yaml")
		if err := os.WriteFile(path, []byte(contents), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := defaults()
	set, err := config.New(&got)
	if err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	help := map[string]config.Help{}
	for _, key := range set.Keys() {
		help[key] = config.Help{Text: "x"}
	}
	set.AddFlags(flags, help)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	err = set.Load(path, environ)
	if err != nil && path != "" {
		err = errors.New(strings.ReplaceAll(err.Error(), path, "file.yaml"))
	}
	return got, set, err
}

func TestFlagOverEnvironmentOverFile(t *testing.T) {
	file := "name: file\nlease_validity: 1s\nlease_interval: 100ms\nlimit: 1\npart: 1\n"
	env := []string{"SHARDMANAGER_NAME=env", "SHARDMANAGER_LEASE_VALIDITY=2s", "SHARDMANAGER_ALLOCATORS=a:1, b:2", "SHARDMANAGER_OTHER=x", "PATH=/"}
	args := []string{"--name=flag", "--capacity", "shards=100,cpu=2", "--verbose", "--part", "0.25"}
	got, _, err := load(t, file, env, args)
	if err != nil {
		t.Fatal(err)
	}
	want := settings{
		Name: "flag", LeaseValidity: 2 * time.Second, LeaseInterval: 100 * time.Millisecond, Allocators: []string{"a:1", "b:2"},
		Capacity: map[string]int64{"shards": 100, "cpu": 2}, Verbose: true, Limit: 1, Part: 0.25, inner: 1,
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(settings{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFileForms(t *testing.T) {
	for name, file := range map[string]string{
		"flat":   "lease_validity: 9s\nlease_interval: 3s\nallocators: [a:1, 'b:2']\ncapacity: {shards: 7}\n",
		"nested": "lease:\n  validity: 9s\n  interval: 3s\nallocators: a:1, b:2\ncapacity:\n  shards: 7\n",
		"json":   `{"lease": {"validity": "9s", "interval": "3s"}, "allocators": ["a:1", "b:2"], "capacity": {"shards": 7}}`,
	} {
		got, _, err := load(t, file, nil, nil)
		want := settings{
			Name: "default", LeaseValidity: 9 * time.Second, LeaseInterval: 3 * time.Second, Allocators: []string{"a:1", "b:2"},
			Capacity: map[string]int64{"shards": 7}, inner: 1,
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(settings{})); diff != "" || err != nil {
			t.Errorf("%s: %v\n-want +got:\n%s", name, err, diff)
		}
	}
	for name, file := range map[string]string{"empty": "\n", "comment": "# nothing\n", "no settings": "{}"} {
		if got, _, err := load(t, file, nil, nil); err != nil || got.Name != "default" {
			t.Errorf("%s: %+v, %v, want the defaults", name, got, err)
		}
	}
}

func TestErrorsNameThePlace(t *testing.T) {
	for _, test := range []struct {
		name, file string
		env, args  []string
		want       []string
	}{
		{name: "unknown", file: "name: a\nnmae: b\n", want: []string{"file.yaml:2: nmae: unknown field; did you mean name?"}},
		{name: "unknown nested", file: "name: a\nlease:\n  interval: 1s\n  validty: 1s\n", want: []string{"file.yaml:4: lease.validty: unknown field; did you mean validity?"}},
		{name: "unknown, nothing like it", file: "zzzzzzzzzz: 1\n", want: []string{"file.yaml:1: zzzzzzzzzz: unknown field; expected one of allocators, capacity, "}},
		{name: "wrong type", file: "name: 5\n", want: []string{"file.yaml:1: name: expected a string, not the number 5"}},
		{name: "mapping for a scalar", file: "\nname: {a: b}\n", want: []string{"file.yaml:2: name: expected a string, not a mapping"}},
		{name: "scalar for a group", file: "lease: 6s\n", want: []string{"file.yaml:1: lease: unknown field"}},
		{name: "duration", file: "lease:\n  validity: 6\n", want: []string{"file.yaml:2: lease.validity: expected a duration such as 500ms, 6s or 2m, not the number 6"}},
		{name: "duration unit", file: "lease_validity: 6 secs\n", want: []string{`file.yaml:1: lease_validity: expected a duration such as 500ms, 6s or 2m, not "6 secs"`}},
		{name: "nothing", file: "name:\n", want: []string{"file.yaml:1: name: expected a string, not nothing"}},
		{name: "tristate", file: "inhibit: maybe\n", want: []string{`file.yaml:1: inhibit: expected auto, true or false, not "maybe"`}},
		{name: "bool", file: "verbose: maybe\n", want: []string{`file.yaml:1: verbose: expected true or false, not "maybe"`}},
		{name: "int", file: "limit: 1.5\n", want: []string{"file.yaml:1: limit: expected a whole number, not the number 1.5"}},
		{name: "part", file: "part: half\n", want: []string{`file.yaml:1: part: expected a number such as 0.5, not "half"`}},
		{name: "not a number", args: []string{"--part=NaN"}, want: []string{`--part: part: expected a number such as 0.5, not "NaN"`}},
		{name: "list item", file: "allocators:\n  - a:1\n  - 5\n", want: []string{"file.yaml:3: allocators: expected a list of strings, not the number 5"}},
		{name: "map item", file: "capacity:\n  shards: 1\n  cpu: many\n", want: []string{`file.yaml:3: capacity: expected names with whole numbers, such as shards=100, not "many"`}},
		{name: "duplicate", file: "name: a\nlimit: 1\nname: b\n", want: []string{"file.yaml:3: name: duplicate, already set in line 1"}},
		{name: "duplicate by nesting", file: "lease_validity: 1s\nlease: {validity: 2s}\n", want: []string{"file.yaml:2: lease.validity: duplicate, already set in file.yaml:1"}},
		{name: "no mapping", file: "- a\n", want: []string{"file.yaml:1: expected settings such as `name: value`, not a list"}},
		{name: "syntax", file: "name: a\n b: c\n", want: []string{"file.yaml:2: expected YAML or JSON: mapping values are not allowed"}},
		{name: "two documents", file: "name: a\n---\nname: b\n", want: []string{"expected one document, found another"}},
		{name: "alias", file: "name: &x a\nallocators: *x\n", want: []string{"file.yaml:2: allocators: expected a list of strings, not an alias"}},
		{name: "environment", env: []string{"SHARDMANAGER_LEASE_VALIDITY=6x"}, want: []string{`SHARDMANAGER_LEASE_VALIDITY: lease_validity: expected a duration such as 500ms, 6s or 2m, not "6x"`}},
		{name: "flag", args: []string{"--limit", "ten"}, want: []string{`--limit: limit: expected a whole number, not "ten"`}},
		{name: "all at once", file: "a: 1\nlimit: x\n", args: []string{"--verbose=2"}, want: []string{"file.yaml:1: a:", "file.yaml:2: limit:", "--verbose: verbose:"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := load(t, test.file, test.env, test.args)
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", fmt.Sprint(err), want)
				}
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	var s settings
	set, err := config.New(&s)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "none.yaml")
	if err := set.Load(path, nil); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want one that names %s", err, path)
	}
	if err := os.WriteFile(path, make([]byte, config.MaxFileBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := set.Load(path, nil); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a file that is too large: got %v", err)
	}
}

func TestExplain(t *testing.T) {
	_, set, err := load(t, "name: a\nlease: {interval: 1s}\n", []string{"SHARDMANAGER_LIMIT=3"}, []string{"--allocators=a"})
	if err != nil {
		t.Fatal(err)
	}
	got := set.Explain(errors.Join(
		errors.New("allocator: lease_interval: expected less"), errors.New("limit: 3: expected less"),
		errors.New("allocators[0]: expected host:port"), errors.New("capacity.shards: expected more"), errors.New("something else"),
	)).Error()
	for i, want := range []string{
		"file.yaml:2: allocator: lease_interval: expected less", "SHARDMANAGER_LIMIT: limit: 3: expected less",
		"--allocators: allocators[0]: expected host:port",
		"capacity.shards: expected more (set it by --capacity, SHARDMANAGER_CAPACITY or capacity in the file)", "something else",
	} {
		if line := strings.Split(got, "\n")[i]; !strings.HasSuffix(line, want) {
			t.Errorf("line %d: got %q, want %q", i, line, want)
		}
	}
	if set.Explain(nil) != nil {
		t.Error("an error explained out of nothing")
	}
}

func TestNewRefusesWhatCannotBeSet(t *testing.T) {
	if _, err := config.New(settings{}); err == nil {
		t.Error("a struct that cannot be changed was accepted")
	}
	if _, err := config.New(&struct {
		C chan int `yaml:"c"`
	}{}); err == nil {
		t.Error("a channel was accepted")
	}
	a, b := settings{}, settings{}
	if _, err := config.New(&a, &b); err == nil {
		t.Error("two fields of one key were accepted")
	}
}

// A tristate is written as people write it: as a word or as YAML's own true and false.
func TestTristate(t *testing.T) {
	for file, want := range map[string]config.Tristate{"inhibit: auto\n": config.Auto, "inhibit: true\n": config.True, "inhibit: false\n": config.False, "inhibit: \"true\"\n": config.True} {
		if got, _, err := load(t, "name: a\n"+file, nil, nil); err != nil || got.Inhibit != want {
			t.Errorf("%q: got %q, %v", file, got.Inhibit, err)
		}
	}
}
