package ratelimit

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// A table maps hashes of keys to words, for rules whose state is one word.
//
// It is 64 shards of open addressing. Look-ups and changes of a word take no lock: a
// change is a compare-and-swap. New keys and new arrays take the shard's lock. A slot
// whose state is as good as none is given to the next key that comes by, so that
// forgotten keys cost nothing; what is not reused like that goes when the array is
// made anew.
type table struct {
	rule   rule
	limit  int // of slots in use in a shard
	full   Full
	shards [shardCount]shard
}

const (
	shardBits  = 6
	shardCount = 1 << shardBits
	minSlots   = 16
)

type shard struct {
	slots atomic.Pointer[[]slot]
	mu    sync.Mutex
	used  int   // slots that are not free
	wait  int64 // no room before this time, but for slots that fade on a key's way
	_     [64]byte
}

// A slot is free while its hash is 0. Its word is one of the marks below while the
// slot is being given to another key, and for ever after its shard has moved to a new
// array: who finds a mark starts again. Who finds the hash before and after reading
// the word has read that key's word.
type slot struct {
	hash atomic.Uint64
	word atomic.Int64
}

const (
	taken = math.MinInt64 + iota
	moved
)

func newTable(r rule, keys int, full Full) *table {
	t := &table{rule: r, full: full, limit: max(minSlots/2, (keys-1)/shardCount+1)}
	for i := range t.shards {
		slots := make([]slot, minSlots)
		t.shards[i].slots.Store(&slots)
	}
	return t
}

// home is where a hash's search begins: by the bits below those of the shard.
func home(h uint64, slots int) int { return int(h << shardBits >> 32 * uint64(slots) >> 32) }

// find returns the slot of a hash, or nil.
func find(slots []slot, h uint64) *slot {
	for i := home(h, len(slots)); ; {
		s := &slots[i]
		switch s.hash.Load() {
		case h:
			return s
		case 0:
			return nil
		}
		if i++; i == len(slots) {
			i = 0
		}
	}
}

// get returns the word of a hash and its slot, or nil if it has none.
func (t *table) get(h uint64) (word int64, s *slot) {
	sh := &t.shards[h>>(64-shardBits)]
	for {
		s := find(*sh.slots.Load(), h)
		if s == nil {
			return 0, nil
		}
		if word := s.word.Load(); word > moved && s.hash.Load() == h {
			return word, s
		}
	}
}

// take lets the rule decide, and keeps what it says.
func (t *table) take(h uint64, now, n int64) Decision {
	for {
		word, s := t.get(h)
		next, d := t.rule.take(word, nil, now, n)
		switch {
		case next == word || !d.OK || n == 0: // nothing to keep
			return d
		case s == nil:
			switch t.insert(h, now, next) {
			case noRoom:
				if d.Full = true; t.full != Admit {
					d.OK, d.Remaining = false, 0
				}
				return d
			case stored:
				return d
			}
		case s.word.CompareAndSwap(word, next):
			return d
		}
	}
}

// give takes back what was let through at a time.
func (t *table) give(h uint64, at, now, n int64) {
	for {
		word, s := t.get(h)
		if s == nil {
			return
		}
		if next := t.rule.give(word, nil, at, now, n); next == word || s.word.CompareAndSwap(word, next) {
			return
		}
	}
}

// What became of an insert.
const (
	stored = iota
	exists
	noRoom
)

// insert gives a hash a slot with this word, which does not fade at once, unless it
// has one by now. The word is there before the hash is: a slot never has a new key's
// hash and a word that another's could have had.
func (t *table) insert(h uint64, now, word int64) int {
	sh := &t.shards[h>>(64-shardBits)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	old := *sh.slots.Load()
	i := home(h, len(old))
	for old[i].hash.Load() != 0 {
		s := &old[i]
		if s.hash.Load() == h {
			return exists
		}
		if i++; i == len(old) {
			i = 0
		}
	}
	if t.reuse(old, h, now, word) {
		return stored
	}
	if sh.used >= t.limit || 5*(sh.used+1) > 4*len(old) {
		if now < sh.wait {
			return noRoom
		}
		if t.renew(sh, old, now); sh.used >= t.limit {
			return noRoom
		}
		old = *sh.slots.Load()
		for i = home(h, len(old)); old[i].hash.Load() != 0; {
			if i++; i == len(old) {
				i = 0
			}
		}
	}
	old[i].word.Store(word)
	old[i].hash.Store(h)
	sh.used++
	return stored
}

// reuse gives a hash the slot of a forgotten key on its way, if there is one.
func (t *table) reuse(slots []slot, h uint64, now, word int64) bool {
	for i := home(h, len(slots)); slots[i].hash.Load() != 0; {
		s := &slots[i]
		if old := s.word.Load(); t.rule.fades(old) <= now && s.word.CompareAndSwap(old, taken) {
			s.hash.Store(h)
			s.word.Store(word)
			return true
		}
		if i++; i == len(slots) {
			i = 0
		}
	}
	return false
}

// renew moves the keys that are not forgotten to a new array with room for a quarter
// more. If there are as many as there may be, an eighth of them has to go, those that
// would be forgotten first: now, or when they are.
func (t *table) renew(sh *shard, old []slot, now int64) {
	fades := make([]int64, 0, sh.used)
	for i := range old {
		if old[i].hash.Load() != 0 {
			if f := t.rule.fades(old[i].word.Load()); f > now {
				fades = append(fades, f)
			}
		}
	}
	live, least, ties := len(fades), int64(math.MinInt64), 0 // those below go, and so many that are equal
	if live >= t.limit {
		slices.Sort(fades)
		drop := t.limit/8 + 1
		if t.full != Evict {
			sh.wait = fades[drop-1]
			return
		}
		least = fades[drop]
		first, _ := slices.BinarySearch(fades, least)
		live, ties = live-drop, drop-first
	}
	slots := make([]slot, max(minSlots, min(live+live/4+1, t.limit)*5/4+1))
	sh.used = 0
	for i := range old {
		h := old[i].hash.Load()
		if h == 0 {
			continue
		}
		word := old[i].word.Swap(moved)
		// Some may have been used since they were counted: there is room for them.
		f := t.rule.fades(word)
		if f <= now || f < least || sh.used+2 > len(slots) {
			continue
		}
		if f == least && ties > 0 {
			ties--
			continue
		}
		j := home(h, len(slots))
		for slots[j].hash.Load() != 0 {
			if j++; j == len(slots) {
				j = 0
			}
		}
		slots[j].word.Store(word)
		slots[j].hash.Store(h)
		sh.used++
	}
	sh.slots.Store(&slots)
}

// each calls f with all keys that are not forgotten. Those that change meanwhile come
// as they were or as they are.
func (t *table) each(now int64, f func(h uint64, word int64, mem []uint32)) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		slots := *sh.slots.Load()
		for j := range slots {
			if h, word := slots[j].hash.Load(), slots[j].word.Load(); h != 0 && word > moved && t.rule.fades(word) > now {
				f(h, word, nil)
			}
		}
		sh.mu.Unlock()
	}
}

// put stores a word, as Restore does, and returns false if there is no room.
func (t *table) put(h uint64, now, word int64, _ []uint32) bool {
	for {
		old, s := t.get(h)
		if s == nil {
			if got := t.insert(h, now, word); got != exists {
				return got == stored
			}
		} else if s.word.CompareAndSwap(old, word) {
			return true
		}
	}
}

// size returns how many slots are in use and the bytes of all arrays.
func (t *table) size() (keys, bytes int) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		keys += sh.used
		bytes += 16 * len(*sh.slots.Load())
		sh.mu.Unlock()
	}
	return keys, bytes + shardCount*128
}

// A blockTable is for rules that need memory: each shard has a lock, an index of
// hashes, and one array for the memory of all its keys.
type blockTable struct {
	rule   rule
	limit  int
	full   Full
	shards [shardCount]blockShard
}

type blockShard struct {
	mu     sync.Mutex
	index  []uint32 // open addressing: entry + 1
	hashes []uint64
	words  []int64
	mem    []uint32
	wait   int64
	_      [64]byte
}

func newBlockTable(r rule, keys int, full Full) *blockTable {
	t := &blockTable{rule: r, full: full, limit: max(minSlots/2, (keys-1)/shardCount+1)}
	for i := range t.shards {
		t.shards[i].index = make([]uint32, minSlots)
	}
	return t
}

// find returns the place in the index where the hash is, or the free one where it
// belongs.
func (sh *blockShard) find(h uint64) int {
	i := home(h, len(sh.index))
	for sh.index[i] != 0 && sh.hashes[sh.index[i]-1] != h {
		if i++; i == len(sh.index) {
			i = 0
		}
	}
	return i
}

func (t *blockTable) memory(sh *blockShard, e int) []uint32 {
	w := t.rule.words()
	return sh.mem[e*w : (e+1)*w : (e+1)*w]
}

func (t *blockTable) take(h uint64, now, n int64) Decision {
	sh := &t.shards[h>>(64-shardBits)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	i := sh.find(h)
	if sh.index[i] == 0 {
		if n == 0 || n > int64(t.rule.burst()) {
			_, d := t.rule.take(0, make([]uint32, t.rule.words()), now, n)
			return d
		}
		if i = t.insert(sh, h, now); i < 0 {
			d := Decision{OK: t.full != Deny, Limit: t.rule.burst(), Full: true}
			return d
		}
	}
	e := int(sh.index[i] - 1)
	next, d := t.rule.take(sh.words[e], t.memory(sh, e), now, n)
	sh.words[e] = next
	return d
}

func (t *blockTable) give(h uint64, at, now, n int64) {
	sh := &t.shards[h>>(64-shardBits)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if i := sh.find(h); sh.index[i] != 0 {
		e := int(sh.index[i] - 1)
		sh.words[e] = t.rule.give(sh.words[e], t.memory(sh, e), at, now, n)
	}
}

// insert returns the place in the index of a new entry, or -1.
func (t *blockTable) insert(sh *blockShard, h uint64, now int64) int {
	n := len(sh.hashes)
	if n >= t.limit || 5*(n+1) > 4*len(sh.index) || n == cap(sh.hashes) {
		if now < sh.wait {
			return -1
		}
		t.renew(sh, now)
		if n = len(sh.hashes); n >= t.limit {
			return -1
		}
	}
	i := sh.find(h)
	sh.hashes = append(sh.hashes, h)
	sh.words = append(sh.words, 0)
	w := t.rule.words()
	sh.mem = sh.mem[:(n+1)*w]
	clear(sh.mem[n*w:])
	sh.index[i] = uint32(n + 1)
	return i
}

// renew drops forgotten keys and makes room for a quarter more. If there are as many
// as there may be, it does as a table's.
func (t *blockTable) renew(sh *blockShard, now int64) {
	var live []int
	for e := range sh.hashes {
		if t.rule.fades(sh.words[e]) > now {
			live = append(live, e)
		}
	}
	if len(live) >= t.limit {
		slices.SortFunc(live, func(a, b int) int { return cmp.Compare(sh.words[b], sh.words[a]) })
		live = live[:len(live)-t.limit/8-1]
		if t.full != Evict {
			sh.wait = t.rule.fades(sh.words[live[len(live)-1]])
			return
		}
	}
	w := t.rule.words()
	room := max(8, min(len(live)+len(live)/4+1, t.limit))
	hashes, words, mem := make([]uint64, 0, room), make([]int64, 0, room), make([]uint32, 0, room*w)
	for _, e := range live {
		hashes, words = append(hashes, sh.hashes[e]), append(words, sh.words[e])
		mem = append(mem, t.memory(sh, e)...)
	}
	sh.hashes, sh.words, sh.mem = hashes, words, mem
	sh.index = make([]uint32, max(minSlots, room*5/4+2))
	for e, h := range hashes {
		sh.index[sh.find(h)] = uint32(e + 1)
	}
}

func (t *blockTable) each(now int64, f func(h uint64, word int64, mem []uint32)) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		for e, h := range sh.hashes {
			if t.rule.fades(sh.words[e]) > now {
				f(h, sh.words[e], t.memory(sh, e))
			}
		}
		sh.mu.Unlock()
	}
}

func (t *blockTable) put(h uint64, now, word int64, mem []uint32) bool {
	sh := &t.shards[h>>(64-shardBits)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	i := sh.find(h)
	if sh.index[i] == 0 {
		if i = t.insert(sh, h, now); i < 0 {
			return false
		}
	}
	e := int(sh.index[i] - 1)
	sh.words[e] = word
	copy(t.memory(sh, e), mem)
	return true
}

func (t *blockTable) size() (keys, bytes int) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		keys += len(sh.hashes)
		bytes += 4*len(sh.index) + 8*cap(sh.hashes) + 8*cap(sh.words) + 4*cap(sh.mem)
		sh.mu.Unlock()
	}
	return keys, bytes + shardCount*192
}
