package consul_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
)

// What is answered decides whether something may have happened, and an error tells what to do.
func TestAnswersMeanWhatTheyMean(t *testing.T) {
	const consulHeader = "X-Consul-Default-Acl-Policy"
	for name, c := range map[string]struct {
		status      int
		body        string
		foreign     bool // no header of Consul's
		read, write error
		says        string
	}{
		"denied":             {status: 403, body: "Permission denied: lacks key:read", read: coord.ErrUnavailable, write: coord.ErrUnavailable, says: "consul_token"},
		"unknown token":      {status: 403, body: "ACL not found", read: coord.ErrUnavailable, write: coord.ErrUnavailable, says: "consul_token"},
		"too large":          {status: 413, body: "Request body too large", read: coord.ErrTooLarge, write: coord.ErrTooLarge, says: "txn_max_req_len"},
		"too many":           {status: 429, body: "Your IP is issuing too many concurrent connections", read: coord.ErrUnavailable, write: coord.ErrUnavailable, says: "http_max_conns_per_client"},
		"no leader":          {status: 500, body: "No cluster leader", read: coord.ErrUnavailable, write: coord.ErrUnavailable, says: "No cluster leader"},
		"wrong datacenter":   {status: 500, body: "No path to datacenter", read: coord.ErrUnavailable, write: coord.ErrUnavailable, says: "consul_datacenter"},
		"lost leadership":    {status: 500, body: "raft apply failed: leadership lost while committing log", read: coord.ErrUnavailable, write: coord.ErrUnknown, says: "leadership lost"},
		"rate limit":         {status: 503, body: "rate limit exceeded, try again later", read: coord.ErrUnavailable, write: coord.ErrUnavailable, says: "rate limit"},
		"a proxy's time-out": {status: 504, body: "gateway timeout", foreign: true, read: coord.ErrUnavailable, write: coord.ErrUnknown, says: "504"},
		"another server":     {status: 404, body: "not found", foreign: true, read: coord.ErrUnavailable, write: coord.ErrUnavailable, says: "consul_addresses"},
		"a page for people":  {status: 200, body: "<html>", foreign: true, read: coord.ErrUnavailable, write: coord.ErrUnavailable, says: "consul_addresses"},
		"no data":            {status: 200, body: "not JSON", read: coord.ErrUnavailable, write: coord.ErrUnknown, says: "invalid character"},
		"a namespace":        {status: 400, body: `Invalid query parameter: "ns" - Namespaces are a Consul Enterprise feature`, says: "consul_namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if !c.foreign {
					w.Header().Set(consulHeader, "deny")
					w.Header().Set("X-Consul-Index", "7")
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			t.Cleanup(server.Close)
			store := dial(t, consul.Config{Addresses: []string{server.URL}})
			check := func(what string, err, want error) {
				t.Helper()
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s: got %v, want it to say %q", what, err, c.says)
				}
				for _, kind := range []error{coord.ErrUnavailable, coord.ErrUnknown, coord.ErrTooLarge, coord.ErrFull} {
					if is := errors.Is(err, kind); is != (kind == want) {
						t.Errorf("%s: %v: is %v: %t", what, err, kind, is)
					}
				}
			}
			_, _, err := store.Get(t.Context(), "k")
			check("get", err, c.read)
			_, err = store.List(t.Context(), "k")
			check("list", err, c.read)
			_, err = store.Txn(t.Context(), []coord.Op{{Verb: coord.CheckNotExists, Key: "k"}})
			check("check", err, c.read)
			_, err = store.Txn(t.Context(), []coord.Op{{Verb: coord.Set, Key: "k"}})
			check("set", err, c.write)
			_, err = store.CreateSession(t.Context(), coord.SessionSpec{TTL: testTTL, Behavior: coord.Release})
			check("create session", err, c.write)
			_, err = store.RenewSession(t.Context(), "s")
			check("renew session", err, c.write)
			if name != "no data" { // nothing is read of what a destroy answers
				check("destroy session", store.DestroySession(t.Context(), "s"), c.write)
			}
		})
	}
}

// An absence is Consul's own word, with an index; and what an answer leaves out is not absent.
func TestNoAnswerIsNoAbsence(t *testing.T) {
	var headers http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name := range headers {
			w.Header().Set(name, headers.Get(name))
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	store := dial(t, consul.Config{Addresses: []string{server.URL}})
	for name, c := range map[string]struct {
		headers http.Header
		absent  bool
	}{
		"consul":   {http.Header{"X-Consul-Index": {"7"}}, true},
		"no index": {http.Header{"X-Consul-Default-Acl-Policy": {"deny"}}, false},
		"foreign":  {nil, false},
		"no token": {http.Header{"X-Consul-Index": {"7"}, "X-Consul-Lastcontact": {"0"}, "X-Consul-Default-Acl-Policy": {"deny"}}, false},
		"filtered": {http.Header{"X-Consul-Index": {"7"}, "X-Consul-Lastcontact": {"0"}, "X-Consul-Results-Filtered-By-Acls": {"true"}}, false},
	} {
		headers = c.headers
		_, found, err := store.Get(t.Context(), "k")
		if found || (err == nil) != c.absent {
			t.Errorf("%s: get answers %t, %v", name, found, err)
		}
		if _, err := store.List(t.Context(), "k"); (err == nil) != c.absent {
			t.Errorf("%s: list answers %v", name, err)
		}
	}
}

// That Consul's leader does not know a session is no proof that it is gone.
func TestLostSessionsAreMadeSureOf(t *testing.T) {
	known := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Consul-Index", "7")
		if strings.HasPrefix(r.URL.Path, "/v1/session/renew/") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte("[" + known + "]"))
	}))
	t.Cleanup(server.Close)
	store := dial(t, consul.Config{Addresses: []string{server.URL}})
	if found, err := store.RenewSession(t.Context(), "s"); found || err != nil {
		t.Errorf("a session that is gone: %t, %v", found, err)
	}
	known = `{"ID": "s"}`
	if _, err := store.RenewSession(t.Context(), "s"); !errors.Is(err, coord.ErrUnavailable) {
		t.Errorf("a session that is there: %v, expected %v", err, coord.ErrUnavailable)
	}
}

// A watch that may not read ends; one that meets a passing failure goes on.
func TestWatchEndsOnlyForGood(t *testing.T) {
	var answers atomic500
	server := httptest.NewServer(&answers)
	t.Cleanup(server.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := dial(t, consul.Config{Addresses: []string{server.URL}}).Watch(ctx, "k", func([]coord.Entry) { t.Error("delivered") })
	if err == nil || !strings.Contains(err.Error(), "consul_token") || !errors.Is(err, coord.ErrUnavailable) {
		t.Errorf("watch: %v", err)
	}
	if answers.failures < 3 {
		t.Errorf("it gave up after %d passing failures", answers.failures)
	}
}

// atomic500 fails three times in passing, and then denies. Its client asks one request at a time.
type atomic500 struct{ failures int }

func (a *atomic500) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("X-Consul-Index", "7")
	if a.failures < 3 {
		a.failures++
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusForbidden)
	_, _ = w.Write([]byte("Permission denied"))
}

func TestOtherAddressesAreTried(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.Host)
		w.Header().Set("X-Consul-Index", "7")
		_, _ = w.Write([]byte(`{"Results":[{"KV":{"Key":"k","ModifyIndex":9}}],"Errors":null}`))
	}))
	t.Cleanup(server.Close)
	gone := httptest.NewServer(nil)
	gone.Close()
	store := dial(t, consul.Config{Addresses: []string{gone.URL, server.URL}})
	for range 2 {
		index, err := store.Txn(t.Context(), []coord.Op{{Verb: coord.Set, Key: "k", Value: []byte("v")}})
		if err != nil || index != 9 {
			t.Errorf("transaction: %d, %v", index, err)
		}
	}
	if len(asked) != 2 || asked[0] != "PUT "+strings.TrimPrefix(server.URL, "http://") {
		t.Errorf("asked %q", asked)
	}
}

func TestTokensAreReadAgain(t *testing.T) {
	var seen string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Get("X-Consul-Token")
		w.Header().Set("X-Consul-Index", "7")
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "token")
	write := func(text string, age time.Duration) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n", time.Hour)
	store := dial(t, consul.Config{Addresses: []string{server.URL}, TokenFile: path})
	for _, want := range []string{"first", "second"} {
		if _, _, err := store.Get(t.Context(), "k"); err != nil || seen != want {
			t.Errorf("token %q, %v, want %s", seen, err, want)
		}
		write("second\n", time.Minute)
	}
	write(" \n", 0)
	if _, _, err := store.Get(t.Context(), "k"); err == nil || !strings.Contains(err.Error(), "consul_token_file") {
		t.Errorf("an empty file: %v", err)
	}
}

func TestConfigIsValidated(t *testing.T) {
	good := consul.Config{Addresses: []string{"127.0.0.1:8500"}}
	for name, c := range map[string]struct {
		change func(*consul.Config)
		says   string // empty: valid
	}{
		"plain":                {func(*consul.Config) {}, ""},
		"unix":                 {func(c *consul.Config) { c.Addresses[0] = "unix:///run/consul.sock" }, ""},
		"none":                 {func(c *consul.Config) { c.Addresses = nil }, "consul_addresses"},
		"no port":              {func(c *consul.Config) { c.Addresses[0] = "consul" }, "consul_addresses[0]: expected host:port"},
		"scheme":               {func(c *consul.Config) { c.Addresses[0] = "ftp://consul:21" }, "consul_addresses[0]"},
		"path":                 {func(c *consul.Config) { c.Addresses[0] = "http://consul:8500/ui" }, "consul_addresses[0]"},
		"two tokens":           {func(c *consul.Config) { c.Token, c.TokenFile = "a", "b" }, "consul_token"},
		"half a certificate":   {func(c *consul.Config) { c.Addresses[0], c.CertFile = "https://c:8501", "a" }, "consul_key_file"},
		"hasty check":          {func(c *consul.Config) { c.CheckTTL = time.Millisecond }, "consul_check_ttl: expected 1s or more"},
		"authority without it": {func(c *consul.Config) { c.CAFile = "ca.pem" }, "https://"},
	} {
		cfg := good
		cfg.Addresses = append([]string(nil), good.Addresses...)
		c.change(&cfg)
		err := cfg.Validate()
		if (err == nil) != (c.says == "") || (err != nil && !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
}

func TestEnvironmentOfConsulCounts(t *testing.T) {
	env := map[string]string{
		"CONSUL_HTTP_ADDR": "consul:8501", "CONSUL_HTTP_SSL": "true", "CONSUL_HTTP_TOKEN": "t", "CONSUL_CACERT": "ca.pem", "CONSUL_NAMESPACE": "ns",
	}
	got := consul.Config{}.WithEnvironment(func(name string) string { return env[name] })
	if got.Addresses[0] != "https://consul:8501" || got.Token != "t" || got.CAFile != "ca.pem" || got.Namespace != "ns" {
		t.Errorf("got %+v", got)
	}
	own := consul.Config{Addresses: []string{"127.0.0.1:1"}, TokenFile: "file"}.WithEnvironment(func(name string) string { return env[name] })
	if own.Addresses[0] != "127.0.0.1:1" || own.Token != "" || own.CAFile != "" {
		t.Errorf("settings of one's own: got %+v", own)
	}
	if none := (consul.Config{}).WithEnvironment(func(string) string { return "" }); none.Addresses[0] != consul.DefaultAddress {
		t.Errorf("nothing set: got %+v", none)
	}
}
