package gossip

import (
	"errors"
	"fmt"
	"os"
	"slices"
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
	first, second := KeyName(key(1)), KeyName(key(2))
	list(Key{Name: first, Members: 3, Primary: 3})
	refuses := func(what, want string, step func() (Keys, error)) {
		t.Helper()
		if answer, err := step(); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), want) || answer.Members != 0 {
			t.Errorf("%s: %+v, %v", what, answer, err)
		}
	}
	refuses("a key that nobody has", "gossip: use key: not ready for this step: "+second+": no member has such a key", func() (Keys, error) { return a.UseKey(key(2)) })
	steps := []func() (Keys, error){
		func() (Keys, error) { return a.InstallKey(key(2)) }, func() (Keys, error) { return b.UseKey(key(2)) }, func() (Keys, error) { return c.RemoveKey(first) },
	}
	after := [][]Key{
		{{Name: first, Members: 3, Primary: 3}, {Name: second, Members: 3}}, {{Name: first, Members: 3}, {Name: second, Members: 3, Primary: 3}}, {{Name: second, Members: 3, Primary: 3}},
	}
	for i, step := range steps {
		a.await(fmt.Sprintf("step %d, answered by all", i), func() bool {
			answer, err := step()
			return (err == nil && answer.Answered == 3) || (i == 2 && err != nil && strings.Contains(err.Error(), "no member has such a key"))
		})
		slices.SortFunc(after[i], func(x, y Key) int { return strings.Compare(x.Name, y.Name) })
		list(after[i]...)
	}
	refuses("a key that is gone", "no member has such a key", func() (Keys, error) { return a.RemoveKey(first) })
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

	if _, err := a.InstallKey("c2hvcnQ="); !errors.Is(err, ErrBadKey) {
		t.Errorf("a short key: %v", err)
	}
	refuses("the key in use", "members encrypt with it: use another first", func() (Keys, error) { return a.RemoveKey(second) })
	plain := start(t, "plain", nil)
	for _, ask := range []func() (Keys, error){plain.ListKeys, func() (Keys, error) { return plain.InstallKey(key(1)) }, func() (Keys, error) { return plain.UseKey(first) }} {
		if _, err := ask(); !errors.Is(err, ErrNoKeyring) || !strings.Contains(err.Error(), "gossip_key_file: ") {
			t.Errorf("without a keyring: %v", err)
		}
	}
}

// A key that some members have not got is not used: whoever does not know it would be cut off.
func TestKeyThatNotAllHave(t *testing.T) {
	a := start(t, "a", keyed(keyFile(t, key(1), key(2))))
	b := start(t, "b", keyed(keyFile(t, key(1)), a))
	a.sees(b, Alive)
	b.sees(a, Alive)
	a.await("a refusal", func() bool {
		_, err := a.UseKey(key(2))
		return errors.Is(err, ErrNotReady) && strings.Contains(err.Error(), "only 1 of 2 members have it: install it again")
	})
	if err := b.Shutdown(); err != nil {
		t.Fatal(err)
	}
	// Gone without a word, it does not answer until the others notice.
	if keys, err := a.ListKeys(); keys.Members == 2 && (err == nil || keys.Answered != 1 || !strings.Contains(err.Error(), "1 of 2 members did not answer")) {
		t.Errorf("%+v, %v", keys, err)
	}
	a.sees(b, Failed)
	a.await("the key in use", func() bool {
		keys, err := a.UseKey(KeyName(key(2)))
		return err == nil && cmp.Equal(Keys{Members: 1, Answered: 1}, keys)
	})
}
