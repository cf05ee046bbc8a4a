package gossip

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// FuzzKeys: whatever the keyring file says, every key that is taken is one that memberlist takes too, and comes back as it is written
// after a rotation; an error never quotes what could be a key.
func FuzzKeys(f *testing.F) {
	for _, seed := range []string{
		"", "AAAAAAAAAAAAAAAAAAAAAA==\n", "AAAAAAAAAAAAAAAAAAAAAA== AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", `["AAAAAAAAAAAAAAAAAAAAAA=="]`, `[1]`, `[`, "[]",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "secret", "AAAA", "A\rA", strings.Repeat("AAAAAAAAAAAAAAAAAAAAAA==\n", maxKeys+1),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := parseKeys(text)
		if err != nil {
			for _, word := range strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune(" \t\r\n\"[],", c) }) {
				if len(word) > 12 && !strings.Contains(keyHelp, word) && strings.Contains(err.Error(), word) {
					t.Fatalf("%v: quotes %q", err, word)
				}
			}
			return
		}
		if len(keys) == 0 || len(keys) > maxKeys {
			t.Fatalf("%d keys", len(keys))
		}
		list := make([]string, len(keys))
		for i, key := range keys {
			if err := memberlist.ValidateKey(key); err != nil {
				t.Fatal(err)
			}
			list[i] = base64.StdEncoding.EncodeToString(key)
		}
		back, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseKeys(string(back))
		if err != nil || !bytes.Equal(bytes.Join(keys, nil), bytes.Join(again, nil)) {
			t.Fatalf("written as %s and read as %v, %v", back, again, err)
		}
	})
}

// FuzzPeers: the file is a hint. A damaged one is moved aside as it was and told of, and nobody is known then; else there are never more
// than maxPeers.
func FuzzPeers(f *testing.F) {
	for _, record := range []*pb.GossipPeers{{}, {Cluster: "c1", Addresses: []string{"h:1", "i:2"}}, {Cluster: "c1", Addresses: make([]string, maxPeers+1)}, {Cluster: "c2", Addresses: []string{"x"}}} {
		good, err := wire.Encode(record)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(good, false)
		f.Add(good[1:], false)
		raw, err := proto.Marshal(record)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, true)
	}
	f.Fuzz(func(t *testing.T, contents []byte, sealed bool) {
		record := new(pb.GossipPeers)
		if sealed {
			if proto.Unmarshal(contents, record) != nil {
				return
			}
			var err error
			if contents, err = wire.Encode(record); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(t.TempDir(), "gossip.peers")
		if err := os.WriteFile(path, contents, 0o600); err != nil {
			t.Fatal(err)
		}
		damage := wire.Decode(contents, record)
		p, err := openPeers(path, "c1")
		if (err != nil) != (damage != nil) || err != nil && (!errors.Is(err, wire.ErrCorrupt) || !strings.Contains(err.Error(), path)) {
			t.Fatalf("%v (damage: %v)", err, damage)
		}
		if n := len(p.list()); n > maxPeers || damage != nil && n > 0 || damage == nil && record.GetCluster() != "c1" && n > 0 {
			t.Fatalf("%d peers of %v", n, record)
		}
		if damage == nil {
			return
		}
		aside, _ := filepath.Glob(path + ".corrupt-*")
		if len(aside) != 1 {
			t.Fatalf("aside: %v", aside)
		}
		if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, contents) {
			t.Fatalf("moved aside: %q, %v", kept, err)
		}
	})
}
