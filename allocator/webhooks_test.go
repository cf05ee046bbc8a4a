package allocator

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// told is a real target of webhooks: it keeps the types of what it was told, and of leaders also their names.
type told struct {
	*httptest.Server
	mu   sync.Mutex
	list []string
}

func newTold(t *testing.T) *told {
	t.Helper()
	r := new(told)
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		var message struct {
			Type string
			Data struct{ Leader struct{ Allocator string } }
		}
		if err := json.NewDecoder(request.Body).Decode(&message); err != nil || request.Header.Get("webhook-signature") == "" {
			t.Errorf("%v: %v", request.Header, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.list = append(r.list, strings.TrimSpace(message.Type+" "+message.Data.Leader.Allocator))
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *told) has(want string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(strings.Join(r.list, ", "), want)
}

// The leader alone tells targets, the next leader goes on with a gap, and operators ask the leader about them.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	target, dir := newTold(t), t.TempDir()
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 32)))
	for name, contents := range map[string]string{"hooks.yaml": "targets:\n- {name: pager, url: " + target.URL + ", secret_file: secret, kinds: [leader]}\n", "secret": secret} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(contents), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := newTestCluster(t)
	start := func(name string) *node {
		cfg := fastConfig(name, c.TempDir())
		cfg.Webhooks = filepath.Join(dir, "hooks.yaml")
		return c.startOn(c.store, cfg)
	}
	a, b := start("a1"), start("a2")
	leads := c.leader(a, b)
	follows := map[*node]*node{a: b, b: a}[leads]
	eventually(t, "the target is told who leads", func() bool { return target.has("gap, leader " + leads.cfg.Name) })
	list, err := leads.admin.ListWebhooks(t.Context(), &pb.ListWebhooksRequest{})
	if err != nil || len(list.GetWebhooks()) != 1 || list.GetWebhooks()[0].GetName() != "pager" {
		t.Errorf("%v, %v", list, err)
	}
	if answer, err := leads.admin.TestWebhook(t.Context(), &pb.TestWebhookRequest{Name: "pager"}); err != nil || !answer.GetDelivered() || !target.has("test") {
		t.Errorf("%v, %v", answer, err)
	}
	if answer, err := leads.admin.ListDeadLetters(t.Context(), &pb.ListDeadLettersRequest{Name: "pager"}); err != nil || len(answer.GetLetters()) != 0 {
		t.Errorf("%v, %v", answer, err)
	}
	_, err = leads.admin.ReplayDeadLetters(t.Context(), &pb.ReplayDeadLettersRequest{Name: "pagr"})
	if connect.CodeOf(err) != connect.CodeNotFound || !strings.Contains(err.Error(), `not "pagr"; did you mean pager?`) {
		t.Errorf("a target that is not there: %v", err)
	}
	if _, err := follows.admin.ListWebhooks(t.Context(), &pb.ListWebhooksRequest{}); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("a follower answers %v", err)
	}
	leads.halt(t)
	eventually(t, "the next leader goes on", func() bool { return target.has("gap, leader " + follows.cfg.Name) })
}

func TestWebhooksAreChecked(t *testing.T) {
	t.Parallel()
	cfg := fastConfig("a1", t.TempDir())
	cfg.Webhooks = filepath.Join(t.TempDir(), "gone.yaml")
	if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), "allocator: webhooks: open ") {
		t.Errorf("a file that is not there: %v", err)
	}
}
