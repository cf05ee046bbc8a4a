package gossip

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/serf/serf"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Key is one encryption key and who has it.
type Key struct {
	Text    string // base64
	Members int    // that have it on their keyring
	Primary int    // of those, that encrypt with it
}

// Keys is what all members answered.
type Keys struct {
	Keys     []Key // by text
	Members  int   // that were asked
	Answered int
}

// A rotation is InstallKey everywhere, UseKey, and RemoveKey of the old one, each answered by all members before the next. A member that was
// away meanwhile has to be given the new keyring by hand: nobody understands it any more.

// ListKeys asks all members for their keys. Its error says who did not answer, beside what the others said.
func (n *Node) ListKeys() (Keys, error) {
	return n.keys("list", "", func(m *serf.KeyManager) (*serf.KeyResponse, error) { return m.ListKeys() })
}

// InstallKey puts a key on all members' keyrings and files; nobody encrypts with it yet.
func (n *Node) InstallKey(text string) (Keys, error) {
	return n.keys("install", text, func(m *serf.KeyManager) (*serf.KeyResponse, error) { return m.InstallKey(text) })
}

// UseKey makes all members encrypt with an installed key.
func (n *Node) UseKey(text string) (Keys, error) {
	return n.keys("use", text, func(m *serf.KeyManager) (*serf.KeyResponse, error) { return m.UseKey(text) })
}

// RemoveKey takes a key that nobody encrypts with any more off all keyrings.
func (n *Node) RemoveKey(text string) (Keys, error) {
	return n.keys("remove", text, func(m *serf.KeyManager) (*serf.KeyResponse, error) { return m.RemoveKey(text) })
}

// errPlain: there is nothing to rotate.
var errPlain = errors.New("gossip_key_file: this member has none: restart every member with a keyring to begin with encryption")

func (n *Node) keys(op, text string, ask func(*serf.KeyManager) (*serf.KeyResponse, error)) (Keys, error) {
	fail := func(k Keys, err error) (Keys, error) { return k, fmt.Errorf("gossip: %s key: %w", op, err) }
	if !n.serf.EncryptionEnabled() {
		return fail(Keys{}, errPlain)
	}
	if op != "list" {
		if _, err := parseKey(text); err != nil {
			return fail(Keys{}, err)
		}
	}
	response, err := ask(n.serf.KeyManager())
	keys := Keys{Members: response.NumNodes, Answered: response.NumResp}
	for _, text := range shard.SortedKeys(response.Keys) {
		keys.Keys = append(keys.Keys, Key{Text: text, Members: response.Keys[text], Primary: response.PrimaryKeys[text]})
	}
	if err != nil {
		return fail(keys, n.unanswered(response, err))
	}
	return keys, nil
}

// unanswered says which members refused, and how many said nothing.
func (n *Node) unanswered(response *serf.KeyResponse, err error) error {
	var said []string
	for _, life := range shard.SortedKeys(response.Messages) {
		said = append(said, life+": "+response.Messages[life])
	}
	if silent := response.NumNodes - response.NumResp; silent > 0 {
		said = append(said, fmt.Sprintf("%d of %d members did not answer", silent, response.NumNodes))
	}
	if len(said) == 0 {
		return err
	}
	return errors.New(strings.Join(said, "; "))
}
