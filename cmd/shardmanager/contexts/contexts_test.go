package contexts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The nearest word counts: flags, then variables, then the file's own; a name that is not there suggests one that is.
func TestWhoseWordCounts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	const text = "current: prod\ncontexts:\n- name: prod\n  admin: [p1:7440, p2:7440]\n- {name: test, admin: ['t:7440'], socket: 'unix:///t.sock'}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name                       string
		flag, context              string
		admin, variable, contexts  string
		want, wantFrom, wantFailed string
	}{
		{name: "current", want: "p1:7440,p2:7440", wantFrom: "prod"},
		{name: "variable of the context", variable: "test", want: "t:7440", wantFrom: "test"},
		{name: "variable of the address", admin: "a:1", variable: "test", want: "a:1"},
		{name: "flag of the context", context: "test", admin: "a:1", variable: "prod", want: "t:7440", wantFrom: "test"},
		{name: "flag of the address", flag: "f:1", context: "test", admin: "a:1", want: "f:1"},
		{name: "no file", contexts: "/does/not/exist"},
		{name: "an address needs no file", contexts: "/dev/null/x", admin: "a:1", want: "a:1"},
		{name: "unknown flag", flag: "f:1", context: "prd", wantFailed: `--context: there is no context "prd" in ` + file + "; did you mean prod?; see `shardmanager context list`"},
		{name: "unknown variable", variable: "tset", wantFailed: "SHARDMANAGER_CONTEXT: there is no context \"tset\" in " + file + "; did you mean test?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("SHARDMANAGER_ADMIN", c.admin)
			t.Setenv(nameVariable, c.variable)
			t.Setenv(fileVariable, file)
			if c.contexts != "" {
				t.Setenv(fileVariable, c.contexts)
			}
			choice := Choice{c.context}
			got, from, err := choice.Value(Admin(c.flag))
			if c.wantFailed != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantFailed) {
					t.Fatalf("got %v, want %s", err, c.wantFailed)
				}
				return
			}
			if err != nil || got != c.want || from != c.wantFrom {
				t.Errorf("got %q from %q (%v), want %q from %q", got, from, err, c.want, c.wantFrom)
			}
		})
	}
}

func TestStrict(t *testing.T) {
	for text, want := range map[string]string{
		"contexts:\n- name: a\n  adimn: [x:1]\n":               "config.yaml:3: contexts[0].adimn: unknown field; did you mean admin?",
		"contexts:\n- name: a\n  admin: [x]\n":                 `config.yaml:3: contexts[0].admin[0]: expected host:port, not "x"`,
		"contexts:\n- name: a\n  socket: /run/x\n":             "config.yaml:3: contexts[0].socket: expected unix:///path",
		"contexts:\n- name: a\n- name: a\n":                    "config.yaml:3: contexts[1].name: a: there is another one",
		"contexts:\n- admin: ['x:1']\n":                        "config.yaml:2: contexts[0].name: expected 1 to 63",
		"current: prdouction\ncontexts:\n- name: production\n": "config.yaml:1: current: there is no context prdouction; did you mean production?",
		"- a\n": "config.yaml:1: expected contexts, not a list",
	} {
		file := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := read(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// Nobody else may read the file, nothing is left beside it, and a link to it stays one.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real", "x.yaml"), filepath.Join(dir, "config.yaml")
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("contexts: [{name: a, admin: ['x:1']}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	before, err := read(link)
	if err != nil {
		t.Fatal(err)
	}
	before.Current = "a"
	if err := write(link, before); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || string(text) != "current: a\ncontexts:\n  - name: a\n    admin:\n      - x:1\n" {
		t.Errorf("got %q (%v)", text, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", info.Mode(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v now (%v)", info.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}
