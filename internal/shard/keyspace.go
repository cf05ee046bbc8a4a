package shard

import (
	"fmt"
	"math/bits"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// MaxShards is the most shards an app may have.
const MaxShards = 1 << 20

// KeySpace says how the keys of an app become shards.
type KeySpace struct {
	Hash  HashSpace // not Named: a slice of the hash of the key
	Named bool      // the key is the id of a shard, which the application created
}

// HashSpace is the key space `hash`: n equal slices of the XXH64 (seed 0) of a key's bytes.
type HashSpace struct {
	Shards uint32 // 1 to MaxShards, fixed when the app is created
}

// Of returns the shard of a key: the high 64 bits of hash × shards.
func (s HashSpace) Of(key []byte) Index { return s.slice(xxhash.Sum64(key)) }

// OfString is Of for a string key, without a copy.
func (s HashSpace) OfString(key string) Index { return s.slice(xxhash.Sum64String(key)) }

func (s HashSpace) slice(hash uint64) Index {
	hi, _ := bits.Mul64(hash, uint64(s.Shards))
	return Index(hi)
}

// ID is the id of the shard at an index: decimal, zero-padded to the width of the last one.
func (s HashSpace) ID(i Index) ID {
	width := len(strconv.FormatUint(uint64(max(s.Shards, 1)-1), 10))
	return ID(fmt.Sprintf("%0*d", width, i))
}

// Index is the position of an id; false if the id is not one of the space's.
func (s HashSpace) Index(id ID) (Index, bool) {
	n, err := strconv.ParseUint(string(id), 10, 32)
	if err != nil || n >= uint64(s.Shards) || s.ID(Index(n)) != id {
		return 0, false
	}
	return Index(n), true
}
