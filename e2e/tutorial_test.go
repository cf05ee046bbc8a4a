package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// block is a piece of code in a document, and what the comment before it says of its output.
type block struct {
	language, code string
	until          *regexp.Regexp // it is typed again and again until its output has this; nil: once
	shows          *regexp.Regexp // its output has this; nil: anything
}

var fenced = regexp.MustCompile("(?ms)(?:^<!-- (until|shows): ([^\n]*) -->\n)?^```(\\w*)\n(.*?)^```$")

func blocks(t *testing.T, file string) (list []block) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range fenced.FindAllStringSubmatch(string(text), -1) {
		b := block{language: m[3], code: m[4]}
		switch m[1] {
		case "until":
			b.until = regexp.MustCompile(m[2])
		case "shows":
			b.shows = regexp.MustCompile(m[2])
		}
		list = append(list, b)
	}
	return list
}

// The tutorial quotes the service as it is.
func TestTutorialQuotes(t *testing.T) {
	files, err := filepath.Glob("../examples/guestbook/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var sources []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, string(text))
	}
	quoted := 0
	for _, b := range blocks(t, "../docs/tutorial.md") {
		if b.language != "go" {
			continue
		}
		quoted++
		if !slices.ContainsFunc(sources, func(s string) bool { return strings.Contains(s, b.code) }) {
			t.Errorf("not in examples/guestbook:\n%s", b.code)
		}
	}
	if quoted < 5 {
		t.Errorf("%d quotations", quoted)
	}
}

// A user who types what the tutorial says sees what it says, on a network of his own, so that its ports are free.
func TestTutorial(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it takes root to make a network namespace, in which the ports of the tutorial are free")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("it takes the program ip (iproute2) to bring a network namespace up: ", err)
	}
	user := newTypist(t)
	user.types(block{code: "ip link set lo up"})
	home := t.TempDir()
	for _, b := range blocks(t, "../docs/tutorial.md") {
		if b.language == "sh" {
			b.code = strings.ReplaceAll(b.code, "/tmp/guestbook", filepath.Join(home, "g"))
			user.types(b)
		}
	}
}

// typist types commands into a shell in a network namespace, and reads what they print.
type typist struct {
	t     *testing.T
	in    io.Writer
	lines chan string
}

const (
	ended = "__done__"
	erred = "__failed__"
)

func newTypist(t *testing.T) *typist {
	t.Helper()
	shell := exec.Command("bash", "-E")
	shell.Dir = ".."
	shell.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Setpgid: true}
	in, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	shell.Stdout, shell.Stderr = write, write
	if err := shell.Start(); err != nil {
		t.Skip("no shell in a network namespace: ", err)
	}
	_ = write.Close() // the shell has it
	u := &typist{t: t, in: in, lines: make(chan string, 1000)}
	go func() {
		defer close(u.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			u.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) // whatever it started is in its group
		_ = shell.Wait()
		_ = out.Close()
	})
	_, err = fmt.Fprintf(in, "trap 'echo %s: $BASH_COMMAND' ERR\n", erred)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// types a block, again and again if it says until when, and fails the test if it prints something else, or a command of it failed.
func (u *typist) types(b block) {
	u.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		output, err := u.once(b.code)
		switch {
		case b.until != nil && b.until.MatchString(output) && err == nil, b.until == nil && err == nil && (b.shows == nil || b.shows.MatchString(output)):
			u.t.Logf("$ %s%s", b.code, output)
			return
		case b.until == nil || time.Now().After(deadline):
			u.t.Fatalf("$ %s%s\n%v; expected %v%v", b.code, output, err, b.until, b.shows)
		}
		time.Sleep(500 * time.Millisecond) // as a user would look again
	}
}

// once types lines, and returns what was printed until they were done.
func (u *typist) once(code string) (output string, err error) {
	if _, err := fmt.Fprintf(u.in, "%s\necho %s\n", code, ended); err != nil {
		return "", err
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case line, open := <-u.lines:
			switch {
			case !open:
				return output, errors.New("the shell has ended")
			case line == ended:
				return output, err
			case strings.HasPrefix(line, erred):
				err = errors.New(line)
			}
			output += line + "\n"
		case <-timeout.C:
			return output, fmt.Errorf("not done after %v", patience)
		}
	}
}
