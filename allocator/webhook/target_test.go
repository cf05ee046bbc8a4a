package webhook_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/allocator/webhook"
)

func secretOf(b byte) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), 32)))
}

// configure writes files and opens the targets that the first of them has.
func configure(t *testing.T, targets string, secrets ...string) ([]webhook.Target, error) {
	t.Helper()
	dir := t.TempDir()
	for name, contents := range map[string]string{"hooks.yaml": targets, "secret": strings.Join(secrets, "\n") + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(contents), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return webhook.Open("allocator: webhooks", filepath.Join(dir, "hooks.yaml"))
}

func TestTargetsAreChecked(t *testing.T) {
	good := secretOf('a')
	one := func(text string) string { return "targets:\n- " + text + "\n" }
	for name, c := range map[string]struct {
		file, secret, want string // no want: it is good
	}{
		"good":             {one(`{name: pager, url: "https://h/p?x=1", secret_file: secret, app: kv, kinds: [server, leader]}`), good, ""},
		"none":             {"targets: []\n", good, ""},
		"two secrets":      {one(`{name: pager, url: "http://h", secret_file: secret}`), good + "\n" + secretOf('b'), ""},
		"unknown field":    {one(`{name: pager, uri: "http://h"}`), good, "hooks.yaml:2: targets[0].uri: unknown field; did you mean url?"},
		"no kind":          {one(`{name: pager, url: "http://h", secret_file: secret, kinds: [sever]}`), good, "hooks.yaml:2: targets[0].kinds[0]"},
		"ftp":              {one(`{name: pager, url: "ftp://h", secret_file: secret}`), good, "hooks.yaml:2: targets[0].url: expected http://host/path or https://host/path"},
		"no host":          {one(`{name: pager, url: "http:///x", secret_file: secret}`), good, "targets[0].url: expected http://host"},
		"no url":           {one(`{name: pager, secret_file: secret}`), good, "hooks.yaml:2: targets[0].url: expected http://host"},
		"user":             {one(`{name: pager, url: "http://u:geheim@h", secret_file: secret}`), good, "targets[0].url: expected no user and password"},
		"fragment":         {one(`{name: pager, url: "http://h#x", secret_file: secret}`), good, "targets[0].url: expected no #"},
		"name":             {one(`{name: Pager, url: "http://h", secret_file: secret}`), good, `targets[0].name: expected 1 to 63 of a-z`},
		"name twice":       {one(`{name: a, url: "http://h", secret_file: secret}`) + `- {name: a, url: "http://h", secret_file: secret}`, good, `hooks.yaml:3: targets[1].name: expected another name: there is a target "a" already`},
		"no secret":        {one(`{name: pager, url: "http://h"}`), good, "targets[0].secret_file: expected a file with the secret that signs"},
		"no file":          {one(`{name: pager, url: "http://h", secret_file: gone}`), good, "targets[0].secret_file: open "},
		"empty file":       {one(`{name: pager, url: "http://h", secret_file: secret}`), "", "secret: expected 1 to 4 secrets, one a line, not 0"},
		"no prefix":        {one(`{name: pager, url: "http://h", secret_file: secret}`), "geheim", "secret: secret 1: expected whsec_ and 24 to 64 bytes in base64"},
		"short secret":     {one(`{name: pager, url: "http://h", secret_file: secret}`), "whsec_Z2VoZWlt", "secret 1: expected whsec_"},
		"too many targets": {"targets:\n" + strings.Repeat("- {name: a, url: \"http://h\", secret_file: secret}\n", 33), good, "hooks.yaml:1: targets: expected at most 32, not 33"},
	} {
		targets, err := configure(t, c.file, c.secret)
		switch {
		case c.want == "" && err != nil, c.want != "" && err == nil:
			t.Errorf("%s: %v, %v", name, targets, err)
		case c.want != "" && (!strings.HasPrefix(err.Error(), "allocator: webhooks: ") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "geheim")):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if targets, err := webhook.Open("allocator: webhooks", ""); err != nil || targets != nil {
		t.Errorf("no file: %v, %v", targets, err)
	}
	if _, err := webhook.Open("allocator: webhooks", filepath.Join(t.TempDir(), "gone")); err == nil {
		t.Error("a file that is not there is read")
	}
}

// targetsAt is the file of targets with these names at addresses.
func targetsAt(addresses map[string]string, filter string) string {
	file := "targets:\n"
	for name, address := range addresses {
		file += fmt.Sprintf("- {name: %s, url: %q, secret_file: secret%s}\n", name, address, filter)
	}
	return file
}
