package hll

// A token is what a small set keeps of a hash: the low tokenBits bits, and how
// many zeros follow in the other 64 - tokenBits of them, plus one:
//
//	low bits << 6 | zeros + 1
//
// "Follow" is for each kind of sketch to define. A token determines the registers
// of every precision whose index is among the low bits; it is never zero.
const (
	tokenBits = 26
	tokenMask = 1<<tokenBits - 1
	maxZeros  = 64 - tokenBits
)

// tokenLimit is the number of tokens above which a sketch of so many bytes turns
// to registers: when the table would be as large, and never above 4,096, so that
// a decoder allocates in proportion to its input.
func tokenLimit(bytes int) int { return min(bytes*3/16, 4096) }

// tokens is a set with open addressing. Which tokens are in it, never the order of
// the slots, shows outside.
type tokens struct {
	slots []uint32 // 0: free
	n     int
}

func slotOf(tok uint32, slots int) int {
	return int(uint64(tok*0x9e3779b1) * uint64(slots) >> 32)
}

// find returns the slot of the token or the free one where it belongs.
func (t *tokens) find(tok uint32) int {
	i := slotOf(tok, len(t.slots))
	for t.slots[i] != 0 && t.slots[i] != tok {
		if i++; i == len(t.slots) {
			i = 0
		}
	}
	return i
}

func (t *tokens) has(tok uint32) bool {
	return t.n > 0 && t.slots[t.find(tok)] == tok
}

// insert puts in a token that is not there. At most three quarters of the slots
// are in use, of which there are not more than limit needs.
func (t *tokens) insert(tok uint32, limit int) {
	if 4*(t.n+1) > 3*len(t.slots) {
		t.resize(min(max(16, 2*len(t.slots)), slotsFor(limit)))
	}
	t.slots[t.find(tok)] = tok
	t.n++
}

func slotsFor(n int) int { return n*4/3 + 2 }

func (t *tokens) resize(slots int) {
	old := t.slots
	t.slots = make([]uint32, slots)
	for _, tok := range old {
		if tok != 0 {
			t.slots[t.find(tok)] = tok
		}
	}
}

func (t *tokens) clone() tokens {
	return tokens{append([]uint32(nil), t.slots...), t.n}
}

// estimate is by maximum likelihood over the 2^tokenBits · 39 different tokens,
// which is as good as exact for as few as there are.
func (t *tokens) estimate() (n, variance float64) {
	var l likelihood
	for _, tok := range t.slots {
		if tok != 0 {
			l.seen[min(tok&63, maxZeros)]++
		}
	}
	l.unseen = 1 << tokenBits
	for phi, k := range l.seen {
		l.unseen -= k / float64(uint64(1)<<phi)
	}
	return l.solve(1<<tokenBits, 0)
}
