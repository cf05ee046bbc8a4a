package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sources checks commands that build, test and measure this tree, without doing so: that what they name is there.
type sources struct {
	t      *testing.T
	makes  string            // the Makefile
	tested map[string]string // test files of a package, by its directory
}

func newSources(t *testing.T) *sources {
	t.Helper()
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	return &sources{t: t, makes: string(makefile), tested: map[string]string{}}
}

// check says what is wrong with a command; applies: it is one of these.
func (s *sources) check(command string) (applies bool, err error) {
	words := typedWords(command)
	for len(words) > 0 && regexp.MustCompile(`^[A-Z_]+=`).MatchString(words[0]) {
		words = words[1:]
	}
	switch {
	case strings.ContainsAny(command, "&;$<>") && !strings.Contains(command, "'^$'"): // of a shell: not ours
		return false, nil
	case words[0] == "make":
		return true, s.target(words[1:])
	case words[0] == "go" && words[1] == "run":
		return true, s.program(words[2], words[3:])
	case words[0] == "go" && words[1] == "test":
		return s.test(words[2:])
	case words[0] == "go" && words[1] == "vet":
		return true, s.directory(words[2])
	}
	return false, nil
}

var oneWord = regexp.MustCompile(`'[^']*'|\S+`)

func typedWords(command string) []string {
	words := oneWord.FindAllString(command, -1)
	for i := range words {
		words[i] = strings.Trim(words[i], "'")
	}
	return words
}

// target is one of make's, with variables that the Makefile uses. What it would do is worked out, not done.
func (s *sources) target(words []string) error {
	for _, w := range words {
		if name, _, ok := strings.Cut(w, "="); ok && !strings.Contains(s.makes, "$("+name+")") {
			return fmt.Errorf("the Makefile uses no %s", name)
		}
	}
	dry := exec.CommandContext(s.t.Context(), "make", append([]string{"-n"}, words...)...)
	dry.Dir, dry.Env = "..", append(os.Environ(), "LC_ALL=C")
	if out, err := dry.CombinedOutput(); err != nil {
		return fmt.Errorf("make -n: %w: %s", err, out)
	}
	return nil
}

// program is a benchmark, with flags that its source declares.
func (s *sources) program(path string, words []string) error {
	files, err := filepath.Glob(filepath.Join("..", path, "*.go"))
	if err != nil || len(files) == 0 {
		return errors.Join(err, fmt.Errorf("%s is no package", path))
	}
	code := s.read(files)
	for _, w := range words {
		if flag, _, _ := strings.Cut(w, "="); strings.HasPrefix(flag, "-") && !regexp.MustCompile(`\bflag\.[A-Z]\w*\([^"\n]*"`+regexp.QuoteMeta(flag[1:])+`"`).MatchString(code) {
			return fmt.Errorf("%s has no %s", path, flag)
		}
	}
	return nil
}

func (s *sources) read(files []string) string {
	var code strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		code.Write(text)
	}
	return code.String()
}

func (s *sources) directory(path string) error {
	info, err := os.Stat(filepath.Join("..", strings.TrimSuffix(path, "/...")))
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no directory", path)
	}
	return err
}

// test is of packages that are there, and picks at least one test or benchmark of them.
func (s *sources) test(words []string) (applies bool, err error) {
	var patterns []picks
	var flags []string
	code := ""
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case strings.HasPrefix(w, "./"):
			if err := s.directory(w); err != nil {
				return true, err
			}
			code += s.testsOf(w)
		case w == "-run" && words[i+1] != "^$":
			patterns = append(patterns, picks{"Test|Fuzz|Example", words[i+1]})
			i++
		case w == "-bench":
			patterns = append(patterns, picks{"Benchmark", words[i+1]})
			i++
		default:
			flags = append(flags, w)
		}
	}
	if code == "" {
		return false, nil
	}
	for _, p := range patterns {
		if !p.any(code) {
			return true, fmt.Errorf("no %s matches %s", p.kind, p.pattern)
		}
	}
	for _, f := range flags { // of the package under test: its own
		if known := regexp.MustCompile(`^-(v|p|run|bench(time|mem)?|count|timeout|artifacts|race)$`); strings.HasPrefix(f, "-") && !known.MatchString(f) &&
			!strings.Contains(code, `"`+strings.TrimPrefix(f, "-")+`"`) {
			return true, fmt.Errorf("go test has no %s", f)
		}
	}
	return true, nil
}

// picks is a pattern for the names of functions of a kind.
type picks struct{ kind, pattern string }

func (p picks) any(code string) bool {
	for _, m := range regexp.MustCompile(`(?m)^func ((?:`+p.kind+`)\w*)\(`).FindAllStringSubmatch(code, -1) {
		if regexp.MustCompile(p.pattern).MatchString(m[1]) {
			return true
		}
	}
	return false
}

// testsOf are the test files of a package, or of a whole subtree.
func (s *sources) testsOf(path string) string {
	if code, ok := s.tested[path]; ok {
		return code
	}
	pattern := filepath.Join("..", path, "*_test.go")
	if tree, ok := strings.CutSuffix(path, "/..."); ok {
		pattern = filepath.Join("..", tree, "*_test.go")
	}
	files, err := filepath.Glob(pattern)
	if err != nil {
		s.t.Fatal(err)
	}
	s.tested[path] = s.read(files)
	return s.tested[path]
}

func TestSourcesAreChecked(t *testing.T) {
	s := newSources(t)
	for command, wrong := range map[string]string{
		"make sim SEEDS=1":                              "",
		"make nonsense":                                 "No rule",
		"make sim SEEDZ=1":                              "uses no SEEDZ",
		"go run ./bench/placement -case churn":          "",
		"go run ./bench/placement -caze churn":          "has no -caze",
		"go run ./bench/nowhere":                        "is no package",
		"go test -run '^$' -bench Step -benchmem ./sdk": "no Benchmark matches Step",
		"go test -run Nonsense ./sdk":                   "matches Nonsense",
		"go test -benchmm ./sdk":                        "has no -benchmm",
		"go test ./nowhere":                             "no such file",
		"go test ./internal/sim/mutation":               "",
		"X=1 go test ./e2e -run 'Sources|Nothing' -v":   "",
		"go vet ./nowhere/...":                          "no such file",
	} {
		applies, err := s.check(command)
		if !applies || (err == nil) != (wrong == "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %t, %v; expected %q", command, applies, err, wrong)
		}
	}
	for _, command := range []string{"shardmanager moves", "make build && rm x", "go test -race", "nomad job run"} {
		if applies, err := s.check(command); applies {
			t.Errorf("%s: %v", command, err)
		}
	}
}
