package tsdb

import "hash/maphash"

// A keyTable finds the ordinals of keys, which stay with their owner. It is a
// hash table with linear probing that takes 8 bytes a slot, where a Go map with
// strings takes 24: with many short-lived series that counts.
// Not safe for concurrent use.
type keyTable struct {
	slots []uint64 // upper half of the key's hash, and 1 more than its ordinal; 0: free
	n     int
}

var keySeed = maphash.MakeSeed()

// findKey returns the ordinal of a key among keys.
func findKey[K string | []byte](x *keyTable, keys []string, hash uint64, key K) (ord uint32, ok bool) {
	if x.n == 0 {
		return 0, false
	}
	mask := uint64(len(x.slots) - 1)
	for i := hash >> 32 & mask; x.slots[i] != 0; i = (i + 1) & mask {
		if s := x.slots[i]; s>>32 == hash>>32 && keys[uint32(s)-1] == string(key) {
			return uint32(s) - 1, true
		}
	}
	return 0, false
}

// add adds a key that is not there.
func (x *keyTable) add(hash uint64, ord uint32) {
	if 5*(x.n+1) > 4*len(x.slots) {
		x.grow()
	}
	x.put(hash>>32, uint64(ord)+1)
	x.n++
}

// put finds a place, from where the upper half of the hash says. The lower half
// is not used, so that growing need not look at keys.
func (x *keyTable) put(high, ord uint64) {
	mask := uint64(len(x.slots) - 1)
	i := high & mask
	for x.slots[i] != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = high<<32 | ord
}

func (x *keyTable) grow() {
	old := x.slots
	x.slots = make([]uint64, max(8, 2*len(old)))
	for _, s := range old {
		if s != 0 {
			x.put(s>>32, s&(1<<32-1))
		}
	}
}

// newKeyTable makes a table of all keys that are not gone.
func newKeyTable(keys []string) *keyTable {
	x := &keyTable{}
	for ord, key := range keys {
		if key != gone {
			x.add(keyHash(key), uint32(ord))
		}
	}
	return x
}

func keyHash(key string) uint64 { return maphash.String(keySeed, key) }
