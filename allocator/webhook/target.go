package webhook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/shardmanager/shardmanager/allocator/feed"
	"github.com/shardmanager/shardmanager/internal/config"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

const (
	// targetsMost is how many targets there may be: each is a goroutine and a connection.
	targetsMost = 32
	// secretsMost is how many secrets a target may have: the one that is used, and those that it is exchanged for.
	secretsMost = 4
	// fileMost is how many bytes the file of targets may have.
	fileMost = 64 << 10
)

// Bounds of a secret, in bytes.
const (
	secretLeast  = 24
	secretMost   = 64
	secretPrefix = "whsec_"
)

// Target is whom the leader tells of events.
type Target struct {
	Name    string
	URL     *url.URL
	Filter  feed.Filter
	secrets []*standardwebhooks.Webhook // each signs
}

// Open reads the targets from a file (docs/events.md); an empty path: there are none. key names the setting in errors, which say all that is wrong,
// each with file, line and field.
func Open(key, path string) ([]Target, error) {
	if path == "" {
		return nil, nil
	}
	targets, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", key, strings.ReplaceAll(err.Error(), "\n", "\n"+key+": "))
	}
	return targets, nil
}

func read(path string) ([]Target, error) {
	contents, err := config.ReadFile(path)
	if err != nil {
		return nil, err
	}
	file := new(pb.WebhookTargets)
	document, err := config.ParseMessage(path, contents, fileMost, file, "targets of webhooks")
	if err != nil {
		return nil, err
	}
	var wrong []error
	complain := func(field string, err error) {
		place, ok := document.Place(field)
		if target, _, inside := strings.Cut(field, "."); !ok && inside { // it is missing there
			place, _ = document.Place(target)
		}
		wrong = append(wrong, fmt.Errorf("%s: %s: %w", place, field, err))
	}
	if n := len(file.GetTargets()); n > targetsMost {
		complain("targets", fmt.Errorf("expected at most %d, not %d", targetsMost, n))
	}
	names := map[string]bool{}
	var targets []Target
	for i, t := range file.GetTargets() {
		field := func(name string) string { return fmt.Sprintf("targets[%d].%s", i, name) }
		made := Target{Name: t.GetName()}
		if !targetName.MatchString(t.GetName()) {
			complain(field("name"), fmt.Errorf("expected 1 to 63 of a-z, 0-9 and -, starting and ending with a letter or digit, not %q", t.GetName()))
		} else if names[t.GetName()] {
			complain(field("name"), fmt.Errorf("expected another name: there is a target %q already", t.GetName()))
		}
		names[t.GetName()] = true
		if made.URL, err = readURL(t.GetUrl()); err != nil {
			complain(field("url"), err)
		}
		if made.secrets, err = readSecrets(filepath.Dir(path), t.GetSecretFile()); err != nil {
			complain(field("secret_file"), err)
		}
		if made.Filter, err = feed.FilterOf(t.GetApp(), t.GetKinds()); err != nil {
			complain(field("kinds"), err)
		}
		targets = append(targets, made)
	}
	return targets, errors.Join(wrong...)
}

var targetName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// readURL admits an address. What is wrong with it is said without it: it may hold a password.
func readURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New("expected http://host/path or https://host/path")
	case u.User != nil:
		return nil, errors.New("expected no user and password in it: what is sent is signed instead")
	case u.Fragment != "":
		return nil, errors.New("expected no # in it")
	}
	return u, nil
}

// readSecrets reads a file of secrets, one a line. A path that is not absolute is one beside the file of targets.
func readSecrets(dir, path string) ([]*standardwebhooks.Webhook, error) {
	if path == "" {
		return nil, errors.New("expected a file with the secret that signs")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	contents, err := config.ReadFile(path)
	if err != nil {
		return nil, err
	}
	lines := strings.Fields(string(contents))
	if len(lines) == 0 || len(lines) > secretsMost {
		return nil, fmt.Errorf("%s: expected 1 to %d secrets, one a line, not %d", path, secretsMost, len(lines))
	}
	var secrets []*standardwebhooks.Webhook
	for i, line := range lines {
		encoded, ok := strings.CutPrefix(line, secretPrefix)
		key, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(key) < secretLeast || len(key) > secretMost { // never shown
			return nil, fmt.Errorf("%s: secret %d: expected %s and %d to %d bytes in base64", path, i+1, secretPrefix, secretLeast, secretMost)
		}
		secret, err := standardwebhooks.NewWebhookRaw(key)
		if err != nil {
			return nil, fmt.Errorf("%s: secret %d: %w", path, i+1, err)
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}
