package tsdb

import (
	"strings"
	"sync"
)

// A labelIndex finds series by their labels. It is made from the keys alone, and
// makes a column for a label when it is first asked for: what nobody asks for
// costs nothing. It is safe for concurrent use by multiple goroutines.
type labelIndex struct {
	keys []string // by ordinal; "" where there is none any more

	mu      sync.Mutex
	columns map[string]*labelColumn
}

// A labelColumn holds one label of all series.
//
//	ids      2 0 1 2 ...             per series: number of its value, 0 for none
//	values   "" "GET" "POST"         blob "\xffGET\xffPOST\xff", starts behind the \xff
//	postings 1 | 2 | 0 3             series by value number
//
// In the blob a substring of many values is found by one search: no value
// contains 0xff, since all are UTF-8.
type labelColumn struct {
	ids      []uint32
	numbers  map[string]uint32
	blob     string
	starts   []uint32 // of value i in blob; the last is its end + 1
	firsts   []uint32 // of value i in postings; one more for the end
	postings []uint32 // ordinals, rising for each value
}

func newLabelIndex(keys []string) *labelIndex {
	return &labelIndex{keys: keys, columns: map[string]*labelColumn{}}
}

func (x *labelIndex) column(name string) *labelColumn {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.columns[name]
	if c == nil {
		c = newLabelColumn(x.keys, name)
		x.columns[name] = c
	}
	return c
}

func newLabelColumn(keys []string, name string) *labelColumn {
	c := &labelColumn{ids: make([]uint32, len(keys)), numbers: map[string]uint32{"": 0}}
	var blob strings.Builder
	blob.WriteByte(0xff)
	c.starts = append(c.starts, 0)
	counts := []uint32{0}
	last, lastID := "", uint32(0)
	for i, key := range keys {
		v := keyValue("", key, name)
		id := lastID
		if v != last {
			var ok bool
			if id, ok = c.numbers[v]; !ok {
				id = uint32(len(counts))
				c.numbers[v] = id
				c.starts = append(c.starts, uint32(blob.Len()))
				blob.WriteString(v)
				blob.WriteByte(0xff)
				counts = append(counts, 0)
			}
			last, lastID = v, id
		}
		c.ids[i] = id
		counts[id]++
	}
	c.blob = blob.String()
	c.starts = append(c.starts, uint32(len(c.blob)))
	c.firsts = make([]uint32, len(counts)+1)
	for i, n := range counts {
		c.firsts[i+1] = c.firsts[i] + n
	}
	next := counts // now: where the next ordinal of a value goes
	copy(next, c.firsts)
	c.postings = make([]uint32, len(keys))
	for i, id := range c.ids {
		c.postings[next[id]] = uint32(i)
		next[id]++
	}
	return c
}

func (c *labelColumn) len() int { return len(c.firsts) - 1 }

func (c *labelColumn) value(id uint32) string {
	if id == 0 {
		return ""
	}
	return c.blob[c.starts[id] : c.starts[id+1]-1]
}

// A valueSet is a set of value numbers: those listed, or all but those.
type valueSet struct {
	list    []uint32
	negated bool
	series  int // of the list
}

// find returns the values that m accepts.
func (c *labelColumn) find(m *Matcher) valueSet {
	accept, negated := m.positive()
	s := valueSet{negated: negated}
	add := func(id uint32) {
		s.list = append(s.list, id)
		s.series += int(c.firsts[id+1] - c.firsts[id])
	}
	if m.op == opEq || m.op == opNe {
		if id, ok := c.numbers[m.value]; ok {
			add(id)
		}
		return s
	}
	p := m.pattern
	switch {
	case p.set != nil:
		for _, v := range p.set {
			if id, ok := c.numbers[v]; ok {
				add(id)
			}
		}
	case p.literal != "":
		id := uint32(1)
		for at := 0; ; {
			i := strings.Index(c.blob[at:], p.literal)
			if i < 0 {
				break
			}
			at += i
			id = c.valueAt(uint32(at), id)
			if p.free || accept(c.value(id)) {
				add(id)
			}
			at = int(c.starts[id+1])
			id++
		}
	default:
		for id := range uint32(c.len()) {
			if accept(c.value(id)) {
				add(id)
			}
		}
	}
	return s
}

// valueAt returns the value that holds the byte at, which is from or later.
func (c *labelColumn) valueAt(at, from uint32) uint32 {
	step := uint32(1)
	hi := from
	for hi+1 < uint32(c.len()) && c.starts[hi+1] <= at {
		from = hi + 1
		hi = min(hi+step, uint32(c.len())-1)
		step *= 2
	}
	// starts[from] ≤ at, and the value is in [from, hi].
	for from < hi {
		mid := (from + hi + 1) / 2
		if c.starts[mid] <= at {
			from = mid
		} else {
			hi = mid - 1
		}
	}
	return from
}

// find returns the ordinals of the series that all matchers accept, in no
// certain order. The matcher on the source must have been dealt with.
func (x *labelIndex) find(ms []Matcher) []uint32 {
	type condition struct {
		c     *labelColumn
		s     valueSet
		table []bool
	}
	conds := make([]condition, len(ms))
	best := -1
	for i := range ms {
		c := x.column(ms[i].name)
		conds[i] = condition{c: c, s: c.find(&ms[i])}
		if !conds[i].s.negated && (best < 0 || conds[i].s.series < conds[best].s.series) {
			best = i
		}
	}
	if best >= 0 && conds[best].s.series == 0 {
		return nil
	}
	for i := range conds {
		if i == best {
			continue
		}
		cond := &conds[i]
		cond.table = make([]bool, cond.c.len())
		if cond.s.negated {
			for j := range cond.table {
				cond.table[j] = true
			}
		}
		for _, id := range cond.s.list {
			cond.table[id] = !cond.s.negated
		}
	}
	accepts := func(ord uint32) bool {
		if x.keys[ord] == gone {
			return false
		}
		for i := range conds {
			if i != best && !conds[i].table[conds[i].c.ids[ord]] {
				return false
			}
		}
		return true
	}
	var out []uint32
	if best < 0 {
		for ord := range x.keys {
			if accepts(uint32(ord)) {
				out = append(out, uint32(ord))
			}
		}
		return out
	}
	b := &conds[best]
	out = make([]uint32, 0, b.s.series)
	for _, id := range b.s.list {
		for _, ord := range b.c.postings[b.c.firsts[id]:b.c.firsts[id+1]] {
			if accepts(ord) {
				out = append(out, ord)
			}
		}
	}
	return out
}

// gone stands in place of the key of a series that was forgotten. It is no key.
const gone = "\xff"
