package allocator

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
)

// sseReader reads a stream of server-sent events.
type sseReader struct {
	lines *bufio.Scanner
	last  string // id
}

// readSSE asks an allocator for events after an id, or for all of them.
func readSSE(t *testing.T, address, last string) *sseReader {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Last-Event-ID", last)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s answers %s", address, answer.Status)
	}
	return &sseReader{lines: bufio.NewScanner(answer.Body), last: last}
}

// until reads up to a line with a text, whatever spaces follow colons; false: the stream ends before.
func (r *sseReader) until(text string) bool {
	for r.lines.Scan() {
		if rest, ok := strings.CutPrefix(r.lines.Text(), "id: "); ok {
			r.last = rest
		}
		if strings.Contains(strings.ReplaceAll(r.lines.Text(), ": ", ":"), text) {
			return true
		}
	}
	return false
}

// Server-sent events are at the admin listener: a follower sends its readers to the leader, and one that comes to the next leader with the id of
// the last is told that something may be missing.
func TestServerSentEvents(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t)
	a, b := c.start("a1"), c.start("a2")
	leads := c.leader(a, b)
	follows := map[*node]*node{a: b, b: a}[leads]
	c.createApp(leads, "kv", 1)
	eventually(t, "the follower knows the leader", func() bool { return follows.Status().LeaderAdmin != "" })
	r := readSSE(t, follows.adminAddress, "")
	if !r.until(`"app created"`) {
		t.Fatalf("it ended at %q", r.last)
	}
	leads.halt(t)
	if !r.until(`"allocator":"` + leads.cfg.Name + `"`) {
		t.Error("the end of the leadership was not told")
	}
	c.leader(follows)
	if !readSSE(t, follows.adminAddress, r.last).until("event:gap") {
		t.Error("the next leader tells of no gap")
	}
}
