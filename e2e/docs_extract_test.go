package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documented is a command that a document has its reader type.
type documented struct {
	doc  string
	line int
	text string
	show []string // lines of its output that the document shows below it
}

func (d documented) String() string { return fmt.Sprintf("%s:%d: %s", d.doc, d.line, d.text) }

// programs begin commands: what is typed to something else is not looked for.
const programs = `shardmanager|\.bin/shardmanager|make|bash|curl|dig|nomad|consul|sudo|systemctl|journalctl|export|echo|npm|docker|git|ip|kill|go (?:run|test|tool|build|doc|vet)`

var (
	typedLine = regexp.MustCompile(`^(?:[A-Z_]+=\S+ )*(?:` + programs + `) +\S`)
	codeSpan  = regexp.MustCompile("`([^`]+)`")
	remark    = regexp.MustCompile(`\s+#\s.*$`)
)

// documentsTyped are those whose commands are run. What the tutorial has in blocks is TestTutorial's.
func documentsTyped(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob("../docs/*.md")
	if err != nil || len(docs) < 20 {
		t.Fatal(docs, err)
	}
	slices.Sort(docs)
	return append([]string{"../README.md", "../CONTRIBUTING.md"}, docs...)
}

// commandsOf lists the commands of all documents, each once for a document, in their order.
func commandsOf(t *testing.T, files []string) (list []documented) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, d := range commandsIn(filepath.Base(file), string(text)) {
			if !seen[d.text] {
				seen[d.text] = true
				list = append(list, d)
			}
		}
	}
	return list
}

// commandsIn finds what is typed in blocks of code, in indented lines and in code spans.
func commandsIn(doc, text string) (list []documented) {
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		switch line := lines[i]; {
		case strings.HasPrefix(line, "```"):
			end := i + 1
			for end < len(lines) && lines[end] != "```" {
				end++
			}
			if doc != "tutorial.md" {
				list = append(list, typedInBlock(doc, strings.TrimPrefix(line, "```"), i+2, lines[i+1:end])...)
			}
			i = end
		case strings.HasPrefix(line, "    "):
			list = appendTyped(list, doc, i+1, strings.TrimSpace(line))
		default:
			for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
				list = appendTyped(list, doc, i+1, strings.ReplaceAll(m[1], `\|`, "|")) // as tables write it
			}
		}
	}
	return list
}

func appendTyped(list []documented, doc string, line int, text string) []documented {
	if typedLine.MatchString(text) {
		list = append(list, documented{doc: doc, line: line, text: remark.ReplaceAllString(text, "")})
	}
	return list
}

// typedInBlock finds what is typed in a block: all of a shell script; else what follows a prompt, with what it printed; else lines that begin with a
// program.
func typedInBlock(doc, language string, at int, lines []string) (list []documented) {
	script := strings.Join(lines, "\n")
	switch {
	case language == "sh" && strings.Contains(script, "\nif "): // its lines are one
		return []documented{{doc: doc, line: at, text: script}}
	case language != "" && language != "sh":
		return nil
	}
	for i, line := range lines {
		typed, prompted := strings.CutPrefix(line, "$ ")
		switch {
		case prompted || language == "sh":
			list = append(list, documented{doc: doc, line: at + i, text: remark.ReplaceAllString(typed, "")})
		case strings.HasPrefix(lines[0], "$ ") && len(list) > 0:
			list[len(list)-1].show = append(list[len(list)-1].show, line)
		default:
			list = appendTyped(list, doc, at+i, line)
		}
	}
	return list
}

func TestCommandsAreFound(t *testing.T) {
	text := "Say `shardmanager moves`, not `moves`; | `go test -run 'a\\|b' ./x` |\n\n" +
		"    shardmanager drain a --wait   # by hand\n    callbacks := 1\n\n" +
		"```sh\nwhatever\n```\n```sh\nn=1\nif true; then echo; fi\n```\n```yaml\nmake: demo\n```\n" +
		"```\n$ curl -s host\nok: 1\n$ shardmanager a\n```\n```\nshardmanager b # c\nmore\n```\n"
	var got []string
	for _, d := range commandsIn("x.md", text) {
		got = append(got, fmt.Sprintf("%d %q %q", d.line, d.text, d.show))
	}
	want := []string{`1 "shardmanager moves" []`, `1 "go test -run 'a|b' ./x" []`, `3 "shardmanager drain a --wait" []`, `7 "whatever" []`,
		`10 "n=1\nif true; then echo; fi" []`, `17 "curl -s host" ["ok: 1"]`, `19 "shardmanager a" []`, `22 "shardmanager b" []`}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nexpected\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
