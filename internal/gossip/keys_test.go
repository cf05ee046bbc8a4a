package gossip

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A member with another key, or without one, is refused with the setting's name on its own side, and let in once it has the key.
func TestWrongKey(t *testing.T) {
	a := start(t, "a", keyed(keyFile(t, key(1))))
	plain := start(t, "plain", nil)
	for name, c := range map[string]struct {
		file string
		seed *subject
		want string
	}{
		"another key":               {keyFile(t, key(2)), a, "neither can read what the other says"},
		"no key":                    {"", a, "it encrypts, this member does not"},
		"a key, and a seed without": {keyFile(t, key(2)), plain, "it does not encrypt, this member does"},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, "b", keyed(c.file, c.seed))
			b.logs("cannot join", "gossip_key_file: seed "+c.seed.Address()+": another encryption key", c.want)
			if m, ok := c.seed.memberOf(b); ok {
				t.Errorf("the seed took in %+v", m)
			}
		})
	}
	a.logs(`"setting":"gossip_key_file"`, "no installed keys could decrypt")
	good := start(t, "good", keyed(keyFile(t, key(1)), a))
	good.sees(a, Alive)
}

func TestRotation(t *testing.T) {
	files := []string{keyFile(t, key(1)), keyFile(t, key(1)), keyFile(t, key(1))}
	a := start(t, "a", keyed(files[0]))
	b := start(t, "b", keyed(files[1], a))
	c := start(t, "c", keyed(files[2], a))
	for _, s := range []*subject{a, b, c} {
		s.await("three members", func() bool { return len(s.alive()) == 3 })
	}
	// A member that is suspected for a moment does not answer; everything here may be repeated.
	list := func(want ...Key) {
		t.Helper()
		c.await(fmt.Sprintf("the keys %+v", want), func() bool {
			got, err := c.ListKeys()
			return err == nil && cmp.Equal(Keys{Keys: want, Members: 3, Answered: 3}, got)
		})
	}
	list(Key{Text: key(1), Members: 3, Primary: 3})
	if _, err := a.UseKey(key(2)); err == nil || !strings.Contains(err.Error(), "gossip: use key: ") {
		t.Errorf("a key that is not installed was used: %v", err)
	}
	steps := []func() (Keys, error){
		func() (Keys, error) { return a.InstallKey(key(2)) }, func() (Keys, error) { return b.UseKey(key(2)) }, func() (Keys, error) { return c.RemoveKey(key(1)) },
	}
	after := [][]Key{
		{{Text: key(1), Members: 3, Primary: 3}, {Text: key(2), Members: 3}}, {{Text: key(1), Members: 3}, {Text: key(2), Members: 3, Primary: 3}}, {{Text: key(2), Members: 3, Primary: 3}},
	}
	for i, step := range steps {
		a.await(fmt.Sprintf("step %d, answered by all", i), func() bool {
			answer, err := step()
			return err == nil && answer.Answered == 3
		})
		list(after[i]...)
	}
	for _, file := range files {
		ring, err := readKeys(file)
		if err != nil || len(ring) != 1 || ring[0][0] != 2 {
			t.Errorf("%s: %d keys, %v", file, len(ring), err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
	again := start(t, "again", keyed(files[1], a)) // the file that was written back is good for a start
	again.sees(a, Alive)

	if _, err := a.InstallKey("c2hvcnQ="); err == nil {
		t.Error("a short key was installed")
	}
	if _, err := a.RemoveKey(key(2)); err == nil {
		t.Error("the key in use was removed")
	}
	plain := start(t, "plain", nil)
	if _, err := plain.ListKeys(); !errors.Is(err, errPlain) {
		t.Errorf("without a keyring: %v", err)
	}
}
