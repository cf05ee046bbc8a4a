package webhook_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/feed"
	"github.com/shardmanager/shardmanager/allocator/webhook"
)

// docs/events.md shows a file of targets that can be read, and says the kinds and bounds that there are.
func TestDocumentIsTrue(t *testing.T) {
	text, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	page, dir := string(text), t.TempDir()
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(page)
	if example == nil {
		t.Fatal("no example of targets")
	}
	for name, contents := range map[string]string{"hooks.yaml": example[1], "pager.secret": secretOf('a'), "audit.secret": secretOf('b')} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(contents), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	targets, err := webhook.Open("webhooks", filepath.Join(dir, "hooks.yaml"))
	if err != nil || len(targets) != 2 || len(targets[0].Filter.Kinds) != 2 || targets[1].Filter.App != "kv" {
		t.Errorf("%+v, %v", targets, err)
	}
	for _, kind := range append(feed.KindNames(), "gap") {
		if !strings.Contains(page, "| `"+kind+"` |") {
			t.Errorf("nothing is said of %s", kind)
		}
	}
	for _, said := range []string{
		fmt.Sprintf("newest %s events", spaced(events.KeptMost)), fmt.Sprintf("newest %d dead letters", webhook.DeadMost),
		fmt.Sprintf("%s readers", spaced(feed.ReadersMost)), fmt.Sprintf("at most %d ms late", feed.Pace.Milliseconds()),
	} {
		if !strings.Contains(page, said) {
			t.Errorf("it does not say %q", said)
		}
	}
}

// spaced is a number from 1 000 on, as documents write it.
func spaced(n int) string { return fmt.Sprintf("%d %03d", n/1000, n%1000) }
