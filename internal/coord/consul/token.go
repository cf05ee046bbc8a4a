package consul

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// tokenSource knows the token as it is now: whoever rotates it writes the file anew.
type tokenSource struct {
	fixed string
	path  string

	mu      sync.Mutex
	text    string
	changed time.Time // of the file that text was read from
}

func (t *tokenSource) read() (string, error) {
	if t.path == "" {
		return t.fixed, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err := os.Stat(t.path)
	if err != nil {
		return "", fmt.Errorf("consul_token_file: %w", err)
	}
	if t.text != "" && info.ModTime().Equal(t.changed) {
		return t.text, nil
	}
	content, err := os.ReadFile(t.path)
	if err != nil {
		return "", fmt.Errorf("consul_token_file: %w", err)
	}
	text := strings.TrimSpace(string(content))
	if text == "" {
		return "", fmt.Errorf("consul_token_file: %s is empty: expected a token", t.path)
	}
	t.text, t.changed = text, info.ModTime()
	return text, nil
}
