package gossip

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/serf/serf"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Key is one encryption key and who has it. The key itself stays on the keyrings.
type Key struct {
	Name    string // as KeyName has it
	Members int    // that have it on their keyring
	Primary int    // of those, that encrypt with it
}

// Keys is what all members answered.
type Keys struct {
	Keys     []Key // by name; only of ListKeys
	Members  int   // that were asked; 0: nobody was
	Answered int
}

// nameBytes of a key's hash are its short name: of a keyring's few keys no two share one.
const nameBytes = 6

// KeyName is the short name of a key, by which people and programs can speak of it without telling it; of anything else, itself.
func KeyName(key string) string {
	raw, err := parseKey(key)
	if err != nil {
		return key
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:nameBytes])
}

// Why nobody was asked to change a key.
var (
	// ErrNoKeyring says that there is nothing to rotate.
	ErrNoKeyring = errors.New("gossip_key_file: this member has none: restart every member with a keyring to begin with encryption")
	// ErrBadKey says that a text is no key.
	ErrBadKey = errors.New("expected a key of " + KeyHelp)
	// ErrNotReady says that a step before this one is not done.
	ErrNotReady = errors.New("not ready for this step")
)

// A rotation is InstallKey everywhere, UseKey, and RemoveKey of the old one, each answered by all members before the next: who misses one is
// not understood after the next. A member that was away meanwhile has to be given the new keyring by hand.

// ListKeys asks all members for their keys. Its error says who did not answer, beside what the others said.
func (n *Node) ListKeys() (Keys, error) {
	response, err := n.ask("list", (*serf.KeyManager).ListKeys)
	if response == nil {
		return Keys{}, err
	}
	keys := counts(response)
	for _, text := range shard.SortedKeys(response.Keys) {
		keys.Keys = append(keys.Keys, Key{Name: KeyName(text), Members: response.Keys[text], Primary: response.PrimaryKeys[text]})
	}
	slices.SortFunc(keys.Keys, func(a, b Key) int { return strings.Compare(a.Name, b.Name) })
	return keys, err
}

// InstallKey puts a key on all members' keyrings and files; nobody encrypts with it yet.
func (n *Node) InstallKey(text string) (Keys, error) {
	if _, err := parseKey(text); err != nil {
		return Keys{}, fmt.Errorf("gossip: install key: %w", ErrBadKey)
	}
	return n.change("install", text, (*serf.KeyManager).InstallKey)
}

// UseKey makes all members encrypt with a key, given as text or by its short name, once all have it.
func (n *Node) UseKey(key string) (Keys, error) {
	text, err := n.ready("use", key, func(k Key, all int) string {
		if k.Members < all {
			return fmt.Sprintf("only %d of %d members have it: install it again, until all answer", k.Members, all)
		}
		return ""
	})
	if err != nil {
		return Keys{}, err
	}
	return n.change("use", text, (*serf.KeyManager).UseKey)
}

// RemoveKey takes a key, given as text or by its short name, off all keyrings, once nobody encrypts with it any more.
func (n *Node) RemoveKey(key string) (Keys, error) {
	text, err := n.ready("remove", key, func(k Key, all int) string {
		if k.Primary > 0 {
			return fmt.Sprintf("%d of %d members encrypt with it: use another first, until all answer", k.Primary, all)
		}
		return ""
	})
	if err != nil {
		return Keys{}, err
	}
	return n.change("remove", text, (*serf.KeyManager).RemoveKey)
}

// ready finds a key on the members' keyrings, all of which must answer, and has it checked: an objection ends the step before it began.
func (n *Node) ready(op, key string, object func(k Key, all int) string) (text string, err error) {
	fail := func(why string) (string, error) {
		return "", fmt.Errorf("gossip: %s key: %w: %s", op, ErrNotReady, why)
	}
	response, err := n.ask("list", (*serf.KeyManager).ListKeys)
	switch {
	case response == nil:
		return "", err
	case err != nil:
		return fail(err.Error())
	}
	name := KeyName(key)
	for text, members := range response.Keys {
		if KeyName(text) != name {
			continue
		}
		if why := object(Key{Name: name, Members: members, Primary: response.PrimaryKeys[text]}, response.NumNodes); why != "" {
			return fail(name + ": " + why)
		}
		return text, nil
	}
	return fail(name + ": no member has such a key: list the keys")
}

// change has all members change a key.
func (n *Node) change(op, text string, how func(*serf.KeyManager, string) (*serf.KeyResponse, error)) (Keys, error) {
	response, err := n.ask(op, func(m *serf.KeyManager) (*serf.KeyResponse, error) { return how(m, text) })
	if response == nil {
		return Keys{}, err
	}
	return counts(response), err
}

func counts(r *serf.KeyResponse) Keys { return Keys{Members: r.NumNodes, Answered: r.NumResp} }

// ask asks all members. The response is nil if none could be asked; else the error says which did not do it.
func (n *Node) ask(op string, how func(*serf.KeyManager) (*serf.KeyResponse, error)) (*serf.KeyResponse, error) {
	fail := func(err error) error { return fmt.Errorf("gossip: %s key: %w", op, err) }
	if !n.serf.EncryptionEnabled() {
		return nil, fail(ErrNoKeyring)
	}
	response, err := how(n.serf.KeyManager())
	switch {
	case err == nil:
		return response, nil
	case response.NumNodes == 0:
		return nil, fail(err)
	}
	return response, fail(unanswered(response, err))
}

// unanswered says which members refused, and how many said nothing.
func unanswered(response *serf.KeyResponse, err error) error {
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
