package shard

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// The vectors hold `key<TAB>shards<TAB>id`; they are what other languages' clients must reproduce.
func TestHashSpaceVectors(t *testing.T) {
	f, err := os.Open("testdata/hash_vectors.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		fields := strings.Split(s.Text(), "\t")
		key, err := strconv.Unquote(fields[0])
		if err != nil {
			t.Fatalf("%q: %v", fields[0], err)
		}
		shards, err := strconv.ParseUint(fields[1], 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		space := HashSpace{Shards: uint32(shards)}
		if got := space.ID(space.Of([]byte(key))); got != ID(fields[2]) {
			t.Errorf("shard of %q among %d is %s, want %s", key, shards, got, fields[2])
		}
		if space.OfString(key) != space.Of([]byte(key)) {
			t.Errorf("%q: string and bytes disagree", key)
		}
		n++
	}
	if n < 20 {
		t.Fatalf("only %d vectors", n)
	}
}

func TestHashSpaceIDs(t *testing.T) {
	for _, shards := range []uint32{1, 2, 10, 11, 96, 100, 101, 4096, MaxShards} {
		space := HashSpace{Shards: shards}
		for _, i := range []Index{0, Index(shards / 2), Index(shards - 1)} {
			id := space.ID(i)
			if got, ok := space.Index(id); !ok || got != i {
				t.Errorf("%d shards: id %s gives %d, %t; want %d", shards, id, got, ok, i)
			}
			if len(id) != len(fmt.Sprint(shards-1)) {
				t.Errorf("%d shards: id %s is not padded to the width of the last", shards, id)
			}
		}
	}
	for _, bad := range []ID{"", "x", "96", "5", "-1", "005", "+5"} {
		if i, ok := (HashSpace{Shards: 96}).Index(bad); ok {
			t.Errorf("id %q taken as %d", bad, i)
		}
	}
}
