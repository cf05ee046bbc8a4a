package gossip

import (
	"errors"
	"fmt"
	"strings"
)

// What memberlist says of keys that do not fit; its errors have no types.
const (
	theyEncrypt  = "remote state is encrypted and encryption is not configured"
	weEncrypt    = "encryption is configured but remote state is not encrypted"
	keysDiffer   = "no installed keys could decrypt the message"
	otherCluster = "gossip of cluster" // ours, through memberlist
)

// stillSaying begins what serf and memberlist say when they waited long enough for others to hear of something, and go on saying it.
const stillSaying = "timeout waiting for"

// ErrKey says that a member encrypts with another key, or not at all.
var ErrKey = errors.New("another encryption key")

// ErrCluster says that a member is of another cluster.
var ErrCluster = errors.New("another cluster")

// suspectOf is the setting that a line of serf's log is probably about; empty: none.
func suspectOf(text string) string {
	lower := strings.ToLower(text)
	for _, about := range []string{theyEncrypt, weEncrypt, keysDiffer, "decrypt"} {
		if strings.Contains(lower, about) {
			return "gossip_key_file"
		}
	}
	if strings.Contains(text, otherCluster) {
		return "gossip_join"
	}
	return ""
}

// explainJoin says why a seed could not be joined, by the setting that can be wrong.
func explainJoin(seed, source string, err error) error {
	text := plain(err)
	lower := strings.ToLower(text)
	switch {
	case strings.Contains(lower, theyEncrypt) && !strings.Contains(lower, "remote error"):
		return fmt.Errorf("gossip_key_file: seed %s: %w: it encrypts, this member does not: give it the cluster's keyring", seed, ErrKey)
	case strings.Contains(lower, weEncrypt) && !strings.Contains(lower, "remote error"), strings.Contains(lower, theyEncrypt):
		return fmt.Errorf("gossip_key_file: seed %s: %w: it does not encrypt, this member does", seed, ErrKey)
	case strings.Contains(lower, keysDiffer), strings.Contains(lower, weEncrypt):
		return fmt.Errorf("gossip_key_file: seed %s: %w: neither can read what the other says: compare their keyrings", seed, ErrKey)
	case strings.Contains(text, otherCluster):
		return fmt.Errorf("%s: seed %s: %w: %s", source, seed, ErrCluster, text[strings.Index(text, otherCluster):])
	default:
		return fmt.Errorf("%s: seed %s: cannot be reached: %s: does it run, and is this its gossip_advertise?", source, seed, text)
	}
}

// plain is an error of memberlist in one line, without its list of one.
func plain(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if _, rest, ok := strings.Cut(text, "occurred: * "); ok {
		text = rest
	}
	return text
}
