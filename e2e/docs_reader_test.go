package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// reader types what documents say into shells, against one running cluster.
type reader struct {
	t    *testing.T
	dir  string            // where commands are typed
	env  []string          // of every shell
	here map[string]string // what stands for whom in documents, and is somebody in this cluster
	kept []*typing         // daemons of the present document

	hooked     string // the admin listener of an allocator that has webhooks
	agentAdmin string // the admin listener of an agent that a document starts
}

// typedPatience is for one command; those that wait for shards to move take the longest.
const typedPatience = 4 * time.Minute

// typing is a command line that runs.
type typing struct {
	cmd  *exec.Cmd
	done chan error

	mu   sync.Mutex
	out  bytes.Buffer
	want *regexp.Regexp // nil: nothing
	seen chan struct{}  // closed once the output has it
}

// Write implements io.Writer.
func (p *typing) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.Write(b)
	if p.want != nil && p.want.Match(p.out.Bytes()) {
		p.want = nil
		close(p.seen)
	}
	return len(b), nil
}

func (p *typing) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// begin starts a command line in a process group of its own.
func (r *reader) begin(line, until string) *typing {
	r.t.Helper()
	p := &typing{cmd: exec.Command("bash", "-c", line), done: make(chan error, 1), seen: make(chan struct{})}
	if until != "" {
		p.want = regexp.MustCompile(until)
	}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = r.dir, r.env, p, p, &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	return p
}

// end waits until a command has ended by itself, or kills it; -1: it did not.
func (p *typing) end(ctx context.Context) (code int) {
	ctx, cancel := context.WithTimeout(ctx, typedPatience)
	defer cancel()
	select {
	case err := <-p.done:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return -1
		}
		return p.cmd.ProcessState.ExitCode()
	case <-ctx.Done():
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
		return -1
	}
}

// interrupt is Ctrl-C once the output has what is waited for.
func (p *typing) interrupt(ctx context.Context) (code int, ok bool) {
	ok = p.shown(ctx)
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGINT)
	return p.end(ctx), ok
}

// shown waits until the output has what is waited for; false: it ended before, or takes too long.
func (p *typing) shown(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, typedPatience)
	defer cancel()
	select {
	case <-p.seen:
		return true
	case err := <-p.done:
		p.done <- err
	case <-ctx.Done():
	}
	return false
}

// must types a line of the test's own, which has to go well, and returns what it printed.
func (r *reader) must(line string) string {
	r.t.Helper()
	p := r.begin(line, "")
	if code := p.end(r.t.Context()); code != 0 {
		r.t.Fatalf("$ %s: exit code %d\n%s", line, code, p.output())
	}
	return strings.TrimSpace(p.output())
}

// asks reads what a line of the test's own prints, as JSON.
func (r *reader) asks(line string, answer any) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.must(line)), answer); err != nil {
		r.t.Fatalf("$ %s: %v", line, err)
	}
}

// awaits types a line of the test's own until it goes well.
func (r *reader) awaits(line string) {
	r.t.Helper()
	line = r.fill(line)
	await(r.t, line, func() error {
		p := r.begin(line, "")
		if code := p.end(r.t.Context()); code != 0 {
			return fmt.Errorf("exit code %d: %s", code, p.output())
		}
		return nil
	})
}

// write makes a file where commands are typed.
func (r *reader) write(name, content string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o755); err != nil {
		r.t.Fatal(err)
	}
}

// recipe is what has to be known of a command to run it. Most have none: they are typed as they are, with names of this cluster.
type recipe struct {
	as            string // what is typed instead
	before, after func()
	exits         []int  // nil: 0
	shows         string // its output has this
	until         string // it goes on until it is interrupted, which happens once its output has this
	races         string // its output has this where its time was over: it is prepared for, and typed, again
	keeps         string // a daemon, which runs until the end of its document; it is up once its output has this
}

// types runs a command as a reader would.
func (r *reader) types(d documented, rc recipe) {
	t := r.t
	t.Helper()
	line, p, code, ok := r.runs(d, rc)
	for range racesMost {
		if rc.races == "" || code == 0 || !strings.Contains(p.output(), rc.races) {
			break
		}
		rc.after()
		line, p, code, ok = r.runs(d, rc)
	}
	if !ok || !rc.permits(code) || rc.shows != "" && !regexp.MustCompile(rc.shows).MatchString(p.output()) {
		t.Errorf("%s\n$ %s\n%s\nexit code %d, expected %v, and output that matches %q", d, line, p.output(), code, rc.exits, rc.shows+rc.until+rc.keeps)
	}
	for _, line := range d.show {
		if label := label(line); label != "" && !strings.Contains("\n"+p.output(), "\n"+label) {
			t.Errorf("%s shows a line that begins with %q, which is not printed:\n%s", d, label, p.output())
		}
	}
	if rc.after != nil {
		rc.after()
	}
}

// racesMost is how often a command is typed again whose time was over.
const racesMost = 4

// runs prepares for a command and runs it once, to its end or until it is up.
func (r *reader) runs(d documented, rc recipe) (line string, p *typing, code int, ok bool) {
	r.t.Helper()
	if rc.before != nil {
		rc.before()
	}
	line = r.fill(cmp.Or(rc.as, d.text))
	began := time.Now()
	p, ok = r.begin(line, rc.until+rc.keeps), true
	switch {
	case rc.keeps != "":
		if ok = p.shown(r.t.Context()); ok {
			r.kept = append(r.kept, p)
		}
	case rc.until != "":
		code, ok = p.interrupt(r.t.Context())
	default:
		code = p.end(r.t.Context())
	}
	r.t.Logf("%s\n$ %s  (%d, %.1f s)\n%s", d, line, code, time.Since(began).Seconds(), firstLines(p.output()))
	return line, p, code, ok
}

// permits reports whether an exit code is one that the document promises.
func (rc recipe) permits(code int) bool {
	if rc.exits == nil {
		return code == 0
	}
	for _, e := range rc.exits {
		if code == e {
			return true
		}
	}
	return false
}

// closes ends the daemons of a document, which is Ctrl-C to each.
func (r *reader) closes() {
	r.t.Helper()
	for _, p := range r.kept {
		if code, _ := p.interrupt(r.t.Context()); code != 0 {
			r.t.Errorf("%v: exit code %d after an interrupt\n%s", p.cmd.Args, code, p.output())
		}
	}
	r.kept = nil
}

var placeholder = regexp.MustCompile(`[A-Z]+/[A-Z]+|\b[A-Z]{3,}\b`)

// fill puts names of this cluster where a command has those of a document.
func (r *reader) fill(line string) string {
	for _, name := range namesLongestFirst(r.here) {
		if placeholder.FindString(name) != name {
			line = strings.ReplaceAll(line, name, r.here[name])
		}
	}
	return placeholder.ReplaceAllStringFunc(line, func(name string) string {
		if here, ok := r.here[name]; ok {
			return here
		}
		return name
	})
}

// label is how a line that a document shows begins, up to where values come: spaces, or a colon. It is empty where there is none.
func label(line string) string {
	if at := strings.Index(line, "  "); at > 0 {
		return line[:at+1]
	}
	if at := strings.IndexByte(line, ':'); at > 0 {
		return line[:at+1]
	}
	return ""
}

// firstLines are enough of an output to know it by.
func firstLines(text string) string {
	lines := strings.SplitAfter(text, "\n")
	if len(lines) > 6 {
		return strings.Join(lines[:6], "") + "…"
	}
	return text
}

// kill ends a command with all that it started.
func (p *typing) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// root is the directory of this tree.
func (r *reader) root() string {
	root, err := filepath.Abs("..")
	if err != nil {
		r.t.Fatal(err)
	}
	return root
}
