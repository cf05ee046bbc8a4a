package gossip

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/memberlist"
)

// Limits of a keyring file: beyond them it is something else.
const (
	maxKeys         = 64
	maxKeyringBytes = 64 << 10
)

// KeyHelp says how a key is made.
const KeyHelp = "16, 24 or 32 bytes in base64, such as `openssl rand -base64 32` prints"

// keyHelp says how a keyring is made.
const keyHelp = "expected keys of " + KeyHelp + ", the one to encrypt with first: a line each, or a JSON list"

// readKeys reads a keyring: as people write it, a key a line, or as it is written back after a rotation, a JSON list. The first key encrypts.
func readKeys(path string) ([][]byte, error) {
	fail := func(err error) ([][]byte, error) { return nil, fmt.Errorf("gossip_key_file: %w", err) }
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fail(err)
	case info.Mode().Perm()&othersMayRead != 0:
		return fail(fmt.Errorf("%s: anybody may read it: chmod 600", path))
	case info.Size() > maxKeyringBytes:
		return fail(fmt.Errorf("%s: %d bytes: %s", path, info.Size(), keyHelp))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fail(err)
	}
	keys, err := parseKeys(string(text))
	if err != nil {
		return fail(fmt.Errorf("%s: %w", path, err))
	}
	return keys, nil
}

func parseKeys(text string) ([][]byte, error) {
	lines := strings.Fields(text)
	if strings.HasPrefix(strings.TrimSpace(text), "[") {
		lines = nil
		if err := json.Unmarshal([]byte(text), &lines); err != nil {
			return nil, errors.New(keyHelp) // the parser's words could quote a key
		}
	}
	if len(lines) == 0 || len(lines) > maxKeys {
		return nil, fmt.Errorf("%d keys: %s", len(lines), keyHelp)
	}
	keys := make([][]byte, len(lines))
	for i, line := range lines {
		key, err := parseKey(line)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		keys[i] = key
	}
	return keys, nil
}

func parseKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || memberlist.ValidateKey(key) != nil {
		return nil, errors.New(keyHelp)
	}
	return key, nil
}

// openKeyring is the keyring of a file; nil without one.
func openKeyring(path string) (*memberlist.Keyring, error) {
	if path == "" {
		return nil, nil
	}
	keys, err := readKeys(path)
	if err != nil {
		return nil, err
	}
	ring, err := memberlist.NewKeyring(keys, keys[0])
	if err != nil {
		return nil, fmt.Errorf("gossip_key_file: %s: %w", path, err)
	}
	return ring, nil
}
