package geohash

import (
	"hash/maphash"
	"math/bits"
	"sync"
)

// A shard holds where a part of the keys are. Lock order: a shard, then nodes from
// the root down, siblings by number.
//
// It is a hash table with linear probing, since that takes one cache line for most
// look-ups, and Go's map two or three: half of the time of a [Index.Put].
type shard[K comparable] struct {
	mu    sync.Mutex
	slots []slot[K]
	len   int
	seed  maphash.Seed
	swept uint32   // tick
	_     [24]byte // not on one cache line with the next
}

// A slot is free if it has no leaf.
type slot[K comparable] struct {
	key  K
	leaf *node[K] // where the key is, unless it is dead: then the place tells
	at   place
}

// A place is the first 48 bits of the curve, and in the low 16 the likely number
// in the leaf, or many.
type place uint64

const (
	treeBits = 48
	many     = 1<<16 - 1
)

func placeOf(h uint64, number int) place {
	return place(h&^many | uint64(min(number, many)))
}

func (p place) hash() uint64 { return uint64(p) &^ many }

// home returns where a key with that hash belongs. The shard is chosen by its
// first bits, so that these are the last to count.
func (sh *shard[K]) home(hash uint64) int {
	hi, _ := bits.Mul64(bits.RotateLeft64(hash, 32), uint64(len(sh.slots)))
	return int(hi)
}

// find returns the number of the key's slot, or the free one where it belongs, or -1
// if there is none at all.
func (sh *shard[K]) find(key K, hash uint64) int {
	if len(sh.slots) == 0 {
		return -1
	}
	for i := sh.home(hash); ; {
		if s := &sh.slots[i]; s.leaf == nil || s.key == key {
			return i
		}
		if i++; i == len(sh.slots) {
			i = 0
		}
	}
}

// add adds a key that is not there. It keeps a sixth free at least.
func (sh *shard[K]) add(s slot[K], hash uint64) {
	if sh.len >= len(sh.slots)-len(sh.slots)/6-1 {
		old := sh.slots
		sh.slots = make([]slot[K], max(8, len(old)+len(old)/2))
		for i := range old {
			if old[i].leaf != nil {
				sh.slots[sh.find(old[i].key, maphash.Comparable(sh.seed, old[i].key))] = old[i]
			}
		}
	}
	sh.slots[sh.find(s.key, hash)] = s
	sh.len++
}

// drop empties slot i. Those behind it move up if they may (Knuth, volume 3, 6.4
// R), so that one of them may be in slot i afterwards.
func (sh *shard[K]) drop(i int) {
	n := len(sh.slots)
	for j := i; ; {
		if j++; j == n {
			j = 0
		}
		s := &sh.slots[j]
		if s.leaf == nil {
			break
		}
		home := sh.home(maphash.Comparable(sh.seed, s.key))
		if (j-home+n)%n >= (j-i+n)%n {
			sh.slots[i] = *s
			i = j
		}
	}
	sh.slots[i] = slot[K]{}
	sh.len--
}

// trim gives memory back when few are left.
func (sh *shard[K]) trim() {
	if len(sh.slots) <= 64 || sh.len >= len(sh.slots)/4 {
		return
	}
	old := sh.slots
	sh.slots, sh.len = make([]slot[K], len(old)/2), 0
	for _, s := range old {
		if s.leaf != nil {
			sh.add(s, maphash.Comparable(sh.seed, s.key))
		}
	}
}
