package hll

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

func hashBytes(b []byte) uint64  { return xxhash.Sum64(b) }
func hashString(s string) uint64 { return xxhash.Sum64String(s) }

// HashUint64 mixes an integer to 64 random-looking bits for AddHash: the finaliser
// of SplitMix64 (Steele, Lea and Flood, 2014). Different integers stay different.
func HashUint64(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// RedisHash is the hash under which Redis' PFADD counts an item: MurmurHash64A
// with Redis' seed. With AddHash(RedisHash(item)) in a [Sketch] and PFADD there,
// both sides count the same item once.
func RedisHash(item []byte) uint64 {
	const m, seed = 0xc6a4a7935bd1e995, 0xadc83b19
	var product uint64 = m
	h := seed ^ uint64(len(item))*product
	for ; len(item) >= 8; item = item[8:] {
		k := binary.LittleEndian.Uint64(item) * m
		h = (h ^ (k^k>>47)*m) * m
	}
	if len(item) > 0 {
		var tail [8]byte
		copy(tail[:], item)
		h = (h ^ binary.LittleEndian.Uint64(tail[:])) * m
	}
	h = (h ^ h>>47) * m
	return h ^ h>>47
}
