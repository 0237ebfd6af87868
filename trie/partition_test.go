package trie

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func partition(t testing.TB, m model, k int, o *PartitionOptions) *Partitioned {
	t.Helper()
	p, err := NewPartitioned(build(t, m, k), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// agree compares partitions with the model, and with one image of the same terms.
func agree(t *testing.T, rng *rand.Rand, p *Partitioned, m model) {
	t.Helper()
	if p.Len() != len(m) {
		t.Fatalf("%d terms, want %d", p.Len(), len(m))
	}
	// The partitions hold each term once, where it belongs, and leave no gap.
	list := p.Partitions()
	from, seen := "", 0
	for i, x := range list {
		if x.From != from || x.To == "" != (i == len(list)-1) || x.To != "" && x.To <= x.From || x.Copies < 1 || x.Load < 0 {
			t.Fatalf("partition %d is [%q, %q), begins at %q, load %v, %d copies", i, x.From, x.To, from, x.Load, x.Copies)
		}
		from = x.To
		if x.Image.Len() > p.opts.Terms || x.Image.K() != p.K() {
			t.Fatalf("partition %d has %d terms, K %d", i, x.Image.Len(), x.Image.K())
		}
		for term, w := range x.Image.All() {
			if term < x.From || x.To != "" && term >= x.To || m[term] != w {
				t.Fatalf("partition %d, [%q, %q), has %q of %d, want %d", i, x.From, x.To, term, w, m[term])
			}
			seen++
		}
	}
	if seen != len(m) {
		t.Fatalf("%d terms in partitions, want %d", seen, len(m))
	}
	router, _ := p.Router()
	terms := slices.Sorted(maps.Keys(m))
	for range 25 {
		prefix := ""
		if len(terms) > 0 && rng.IntN(9) > 0 {
			term := terms[rng.IntN(len(terms))]
			prefix = term[:rng.IntN(len(term)+1)]
		}
		if x := list[rng.IntN(len(list))]; rng.IntN(3) == 0 { // at a boundary
			prefix = x.From[:rng.IntN(len(x.From)+1)]
		}
		if rng.IntN(5) == 0 {
			prefix += string(rune('a' + rng.IntN(3)))
		}
		for _, k := range []int{-1, 0, 1, p.K(), p.K() + 1, len(m) + 3} {
			want := m.complete(prefix, max(0, k))
			if got := p.Complete(nil, prefix, k); !slices.Equal(got, want) {
				t.Fatalf("%q, %d of K %d:\n%v\nwant\n%v", prefix, k, p.K(), got, want)
			}
		}
		want := m.complete(prefix, p.K())
		answers := router
		if x, ok := p.Route(prefix); ok {
			answers = x.Image
			if prefix < x.From || x.To != "" && prefix >= x.To {
				t.Fatalf("%q is sent to [%q, %q)", prefix, x.From, x.To)
			}
		}
		if got := answers.Complete(nil, prefix, p.K()); !slices.Equal(got, want) {
			t.Fatalf("%q, where Route sends it:\n%v\nwant\n%v", prefix, got, want)
		}
		if w, ok := p.Lookup(prefix); ok != mapHas(m, prefix) || w != m[prefix] {
			t.Fatalf("%q weighs %d, %t; want %d", prefix, w, ok, m[prefix])
		}
	}
}

func mapHas(m model, term string) bool { _, ok := m[term]; return ok }

func (m model) add(term string, n uint64) { m[term] += min(n, math.MaxUint64-m[term]) }

// Partitions answer as one image does, whatever has happened to them.
func TestPartitionedAgainstModel(t *testing.T) {
	for run := range runs(25) {
		rng := newRand(run)
		m := vocabulary(rng, []int{0, 1, 60, 400}[rng.IntN(4)])
		k := []int{1, 3, 10, 40}[rng.IntN(4)]
		p := partition(t, m, k, &PartitionOptions{Terms: 2 + rng.IntN(40), Hot: 1.5})
		agree(t, rng, p, m)
		now := time.Unix(1000, 0)
		for range 6 {
			ids := map[uint64]*Image{}
			for _, x := range p.Partitions() {
				ids[x.ID] = x.Image
			}
			var c Change
			var err error
			switch rng.IntN(3) {
			case 0: // new counts, some of them of new terms
				log := [][2]any{}
				more := vocabulary(rng, rng.IntN(30))
				for _, term := range slices.Sorted(maps.Keys(more)) {
					log = append(log, [2]any{term, more[term]})
				}
				terms := slices.Sorted(maps.Keys(m))
				for range min(len(terms), 5) {
					log = append(log, [2]any{terms[rng.IntN(len(terms))], rng.Uint64N(50)})
				}
				rng.Shuffle(len(log), func(i, j int) { log[i], log[j] = log[j], log[i] })
				for _, e := range log {
					m.add(e[0].(string), e[1].(uint64))
				}
				c, err = p.Update(func(yield func(string, uint64) bool) {
					for _, e := range log {
						if !yield(e[0].(string), e[1].(uint64)) {
							return
						}
					}
				})
			case 1: // counted anew: some terms are gone
				for term := range maps.Clone(m) {
					if rng.IntN(8) == 0 {
						delete(m, term)
					}
				}
				maps.Copy(m, vocabulary(rng, rng.IntN(20)))
				c, err = p.Replace(build(t, m, k))
			case 2: // asked, unevenly
				for _, x := range p.Partitions() {
					p.Record(x.From+"a", rng.Uint64N(1+rng.Uint64N(100)))
				}
				terms := slices.Sorted(maps.Keys(m))
				for range 40 {
					if len(terms) > 0 {
						p.Record(terms[min(rng.IntN(len(terms)), rng.IntN(len(terms)))], 1+rng.Uint64N(20))
					}
				}
				now = now.Add(time.Duration(rng.IntN(90)) * time.Second)
				c, err = p.Balance(now)
			}
			if err != nil {
				t.Fatal(err)
			}
			made, kept := []uint64{}, 0
			for _, x := range p.Partitions() {
				if was := ids[x.ID]; was == nil {
					made = append(made, x.ID)
				} else if kept++; was != x.Image {
					t.Fatalf("partition %d has another image", x.ID)
				}
			}
			if !slices.Equal(made, c.Rebuilt) && len(made)+len(c.Rebuilt) > 0 || kept != c.Kept {
				t.Fatalf("run %d: says %+v; %d were made and %d kept", run, c, made, kept)
			}
			agree(t, rng, p, m)
		}
	}
}

func TestPartitionedFuzzy(t *testing.T) {
	for run := range runs(15) {
		rng := newRand(run)
		m := vocabulary(rng, 300)
		img := build(t, m, 5)
		p := partition(t, m, 5, &PartitionOptions{Terms: 30})
		for term := range m {
			query := string(runesOf(term)[:min(4, len(runesOf(term)))])
			for edits := range MaxEdits + 1 {
				want, err := img.Fuzzy(nil, query, edits, 7)
				if err != nil {
					t.Fatal(err)
				}
				dst := []Suggestion{{"before", 1, 1}}
				got, err := p.Fuzzy(dst, query, edits, 7)
				if err != nil || !slices.Equal(got[1:], want) || got[0] != dst[0] {
					t.Fatalf("%q, %d edits: %v, %v; want %v", query, edits, got, err, want)
				}
			}
			if rng.IntN(20) == 0 {
				break
			}
		}
		dst := []Suggestion{{"before", 1, 1}}
		if got, err := p.Fuzzy(dst, "a", MaxEdits+1, 3); !errors.Is(err, ErrInvalid) || !slices.Equal(got, dst) {
			t.Errorf("%v, %v", got, err)
		}
	}
}

func words(n int) model {
	m := model{}
	for i := range n {
		m[fmt.Sprintf("%c%c%05d", 'a'+i%26, 'a'+i/26%26, i)] = uint64(i%97 + 1)
	}
	return m
}

func one(term string, n uint64) func(func(string, uint64) bool) {
	return func(yield func(string, uint64) bool) { yield(term, n) }
}

// A count rebuilds the partition that it is in, and no other.
func TestPartitionedDirty(t *testing.T) {
	m := words(5000)
	p := partition(t, m, 10, &PartitionOptions{Terms: 100, Hot: 1e9})
	before := p.Partitions()
	dirty, _ := p.Route("mc")
	c, err := p.Update(one("mc00064", 5))
	if err != nil || len(c.Rebuilt) != 1 || c.Kept != len(before)-1 || c.Split != 0 {
		t.Fatalf("%+v, %v, of %d partitions", c, err, len(before))
	}
	for i, x := range p.Partitions() {
		if changed := x.ID != before[i].ID; changed != (before[i].ID == dirty.ID) || changed == (x.Image == before[i].Image) {
			t.Errorf("partition %d: changed %t", i, changed)
		}
	}
	m["mc00064"] += 5
	agree(t, newRand(1), p, m)

	// What changes nothing makes nothing.
	same := p.table.Load()
	for _, f := range []func() (Change, error){
		func() (Change, error) { return p.Update(one("mc00064", 0)) },
		func() (Change, error) { return p.Update(func(func(string, uint64) bool) {}) },
		func() (Change, error) { return p.Replace(build(t, m, 10)) },
		func() (Change, error) { return p.Balance(time.Unix(5, 0)) },
	} {
		if c, err := f(); err != nil || c.Kept != len(before) || len(c.Rebuilt) > 0 || p.table.Load() != same {
			t.Errorf("%+v, %v", c, err)
		}
	}
	// Nor does what is refused.
	for _, f := range []func() (Change, error){
		func() (Change, error) { return p.Update(one(strings.Repeat("x", MaxTerm+1), 1)) },
		func() (Change, error) { return p.Replace(build(t, m, 9)) },
	} {
		if _, err := f(); err == nil || p.table.Load() != same {
			t.Errorf("%v", err)
		}
	}
	// A partition that gets too many terms is divided.
	n := len(before)
	c, err = p.Update(func(yield func(string, uint64) bool) {
		for i := range 300 {
			m[fmt.Sprint("mcx", i)] = 1
			if !yield(fmt.Sprint("mcx", i), 1) {
				return
			}
		}
	})
	if err != nil || c.Split != 1 || c.Kept != n-1 || len(p.Partitions()) <= n {
		t.Fatalf("%+v, %v", c, err)
	}
	agree(t, newRand(2), p, m)
}

// A hot partition is split until its load is spread; what nearly all ask for is copied.
func TestPartitionedHot(t *testing.T) {
	m := words(5000)
	p := partition(t, m, 10, &PartitionOptions{Terms: 100, Hot: 2, Copies: 5})
	rng := newRand(3)
	now := time.Unix(1000, 0)
	ask := func(hot int, prefixes ...string) {
		list := p.Partitions()
		for range 600 {
			p.Complete(nil, list[rng.IntN(len(list))].From+"0", 10)
		}
		for i := range hot {
			p.Complete(nil, prefixes[i%len(prefixes)], 10)
		}
	}
	hottest := func() (h Partition, mean float64) {
		list := p.Partitions()
		for _, x := range list {
			mean += x.Load / float64(len(list))
			if x.Load/float64(x.Copies) > h.Load/float64(max(1, h.Copies)) {
				h = x
			}
		}
		return h, mean
	}

	// Many prefixes of one range: it is split between them.
	var spread []string
	h, _ := p.Route("mc0")
	for term := range h.Image.All() {
		spread = append(spread, term)
	}
	rng.Shuffle(len(spread), func(i, j int) { spread[i], spread[j] = spread[j], spread[i] })
	splits := 0
	for round := range 12 {
		ask(4000, spread...)
		now = now.Add(10 * time.Second)
		c, err := p.Balance(now)
		if err != nil {
			t.Fatal(err)
		}
		splits += c.Split
		if round == 0 {
			if x, mean := hottest(); x.Load < mean {
				t.Fatalf("the hottest has %v, mean %v", x.Load, mean)
			}
			if c.Split != 1 {
				t.Fatalf("%+v", c)
			}
		}
	}
	h, mean := hottest()
	if splits < 3 || h.Load > 4*mean {
		t.Errorf("%d splits; the hottest has %.0f, mean %.0f", splits, h.Load, mean)
	}
	agree(t, rng, p, m)

	// One prefix: it is copied, not split.
	before, ok := p.Route("mc00064")
	if !ok {
		t.Fatal("no partition")
	}
	for range 40 {
		ask(6000, "mc00064")
		now = now.Add(30 * time.Second)
		if _, err := p.Balance(now); err != nil {
			t.Fatal(err)
		}
	}
	after, _ := p.Route("mc00064")
	if after.Copies < 3 || after.Copies > 5 {
		t.Errorf("it has %d copies, load %.0f; before %d terms, now %d", after.Copies, after.Load, before.Image.Len(), after.Image.Len())
	}
	agree(t, rng, p, m)

	// It is over: copies go, and small neighbours are joined.
	parts := len(p.Partitions())
	merged := 0
	for range 40 {
		ask(0)
		now = now.Add(time.Minute)
		c, err := p.Balance(now)
		if err != nil {
			t.Fatal(err)
		}
		merged += c.Merged
	}
	for _, x := range p.Partitions() {
		if x.Copies != 1 {
			t.Errorf("[%q, %q) still has %d copies, load %v", x.From, x.To, x.Copies, x.Load)
		}
	}
	if merged == 0 || len(p.Partitions()) >= parts {
		t.Errorf("%d joined, %d partitions, before %d", merged, len(p.Partitions()), parts)
	}
	agree(t, rng, p, m)
}

// Loads fade by half in a half-life, and the clock may stand or go back.
func TestPartitionedLoad(t *testing.T) {
	p := partition(t, words(1000), 10, &PartitionOptions{Terms: 100, HalfLife: 10 * time.Second, Hot: 1e9})
	p.Record("mc0", 800)
	at := time.Unix(50, 0)
	for _, c := range []struct {
		after time.Duration
		more  uint64
		want  float64
	}{{0, 0, 800}, {10 * time.Second, 0, 400}, {0, 100, 500}, {-time.Hour, 0, 500}, {time.Hour, 0, 500}, {time.Hour, 0, 0}} {
		p.Record("mc0", c.more)
		at = at.Add(c.after)
		if _, err := p.Balance(at); err != nil {
			t.Fatal(err)
		}
		if x, _ := p.Route("mc0"); math.Abs(x.Load-c.want) > 1e-6 {
			t.Errorf("after %v: load %v, want %v", c.after, x.Load, c.want)
		}
	}
	// Prefixes over several partitions are the router's.
	p.Record("", 7)
	p.Complete(nil, "", 3)
	p.Complete(nil, "", 30) // above K, from all partitions
	if _, n := p.Router(); n != 9 {
		t.Errorf("the router has answered %d", n)
	}
	if _, ok := p.Route(""); ok {
		t.Error("one partition has everything")
	}
}

func TestPartitionOptions(t *testing.T) {
	img := build(t, words(10), 3)
	for _, o := range []PartitionOptions{{Terms: 1}, {Terms: -1}, {HalfLife: -1}, {Hot: 1}, {Hot: math.NaN()}, {Copies: -1}} {
		if _, err := NewPartitioned(img, &o); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	p, err := NewPartitioned(img, nil)
	if err != nil || len(p.Partitions()) != 1 || p.K() != 3 {
		t.Errorf("%v", err)
	}
}

// Readers go on while partitions are rebuilt, split, copied and replaced: all terms of
// one answer have the weight of one state.
func TestPartitionedUnderLoad(t *testing.T) {
	const states = 40
	m := words(2000)
	weigh := func(w uint64) *Image {
		for term := range m {
			m[term] = w
		}
		return build(t, m, 10)
	}
	p, err := NewPartitioned(weigh(1), &PartitionOptions{Terms: 60, Hot: 1.5})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var done atomic.Bool
	var answers atomic.Uint64
	for reader := range uint64(3) {
		wg.Go(func() {
			rng := newRand(reader)
			for !done.Load() {
				prefix := ""
				for range rng.IntN(3) { // those with an a are asked for most
					prefix += string(rune('a' + min(rng.IntN(26), rng.IntN(26), rng.IntN(26))))
				}
				k := 1 + rng.IntN(15)
				got := p.Complete(nil, prefix, k)
				if prefix == "" && len(got) != k || len(prefix) == 1 && len(got) != k || len(got) == 0 {
					t.Errorf("%q: %d suggestions of %d", prefix, len(got), k)
					return
				}
				for _, s := range got {
					if s.Weight != got[0].Weight || !strings.HasPrefix(s.Term, prefix) {
						t.Errorf("%q: %v: two states at once", prefix, got)
						return
					}
				}
				answers.Add(1)
			}
		})
	}
	now, splits, copied := time.Unix(1000, 0), 0, 0
	for w := range uint64(states) {
		for at := answers.Load(); answers.Load() < at+50 && !t.Failed(); { // some between two states
			p.Complete(nil, "aa000", 3)
		}
		c, err := p.Replace(weigh(w + 2))
		if err != nil || c.Kept != 0 {
			t.Fatalf("%+v, %v", c, err)
		}
		now = now.Add(20 * time.Second)
		if c, err = p.Balance(now); err != nil {
			t.Fatal(err)
		}
		splits, copied = splits+c.Split, copied+c.Copied
	}
	done.Store(true)
	wg.Wait()
	if splits+copied == 0 {
		t.Error("nothing was split or copied")
	}
	agree(t, newRand(9), p, m)
}

// FuzzPartitioned runs its input as operations on partitions and on the model.
func FuzzPartitioned(f *testing.F) {
	f.Add([]byte("\x03aab\x05abc\x02ab\x03aba\x04b\x01\x00\x02a"), uint8(2))
	f.Add([]byte("\x00\x00\x00\x00\x00\x00"), uint8(1))
	f.Fuzz(func(t *testing.T, ops []byte, terms uint8) {
		if len(ops) > 300 {
			return
		}
		m := model{}
		p := partition(t, m, 2, &PartitionOptions{Terms: 2 + int(terms%7), Hot: 1.5})
		now := time.Unix(0, 0)
		for len(ops) > 1 {
			op, n := ops[0]%4, min(int(ops[0]/4%6), len(ops)-1)
			s := string(ops[1 : 1+n])
			ops = ops[1+n:]
			var err error
			switch op {
			case 0:
				m.add(s, uint64(n))
				_, err = p.Update(one(s, uint64(n)))
			case 1:
				delete(m, s)
				_, err = p.Replace(build(t, m, 2))
			case 2:
				p.Record(s, 80)
				now = now.Add(time.Duration(n) * time.Second)
				_, err = p.Balance(now)
			case 3:
				for _, k := range []int{1, 2, 4} {
					if got, want := p.Complete(nil, s, k), m.complete(s, k); !slices.Equal(got, want) {
						t.Fatalf("%q: %v, want %v", s, got, want)
					}
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		agree(t, newRand(4), p, m)
	})
}

func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{6000, 60_000, 600_000} {
		img := phrases(n)
		p, err := NewPartitioned(img, nil)
		if err != nil {
			b.Fatal(err)
		}
		for _, dirty := range []string{"together", "scattered"} {
			b.Run(fmt.Sprintf("terms=%d/dirty=%s", n, dirty), func(b *testing.B) {
				count, rebuilt := max(1, img.Len()/100), 0
				for b.Loop() {
					c, err := p.Update(func(yield func(string, uint64) bool) {
						for i := range count {
							at := i
							if dirty == "scattered" {
								at = i * 100
							}
							if !yield(img.Term(Hit(at)), 1) {
								return
							}
						}
					})
					if err != nil {
						b.Fatal(err)
					}
					rebuilt = len(c.Rebuilt)
				}
				b.ReportMetric(float64(rebuilt), "rebuilt")
				b.ReportMetric(float64(len(p.Partitions())), "partitions")
			})
		}
	}
}

// Boundaries that are very long, as logs of what people typed may make them, cost their
// length and not its square.
func TestPartitionedLongBoundaries(t *testing.T) {
	for _, length := range []int{10, 100, 30_000} {
		p, err := NewPartitioned(empty, &PartitionOptions{Terms: 4})
		if err != nil {
			t.Fatal(err)
		}
		var terms []string
		for i := range 40 {
			terms = append(terms, strings.Repeat("z", length)+string(rune('a'+i%26))+strings.Repeat("y", i))
			terms = append(terms, strings.Repeat("z", length*i/40))
		}
		slices.Sort(terms)
		terms = slices.Compact(terms)
		b := NewBuilder(nil)
		for i, s := range terms {
			b.Add(s, uint64(1+i*7%11))
		}
		want, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Update(func(yield func(string, uint64) bool) {
			for i, s := range terms {
				if !yield(s, uint64(1+i*7%11)) {
					return
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		for _, s := range terms {
			for _, n := range []int{0, 1, len(s) / 2, len(s) - 1, len(s)} {
				prefix := s[:min(max(0, n), len(s))]
				if got, want := p.Complete(nil, prefix, 10), want.Complete(nil, prefix, 10); !slices.Equal(got, want) {
					t.Fatalf("length %d, prefix of %d: %d terms, want %d", length, len(prefix), len(got), len(want))
				}
			}
		}
	}
}

// Counts that other machines tell may be anything.
func TestPartitionedRecordMuch(t *testing.T) {
	p, err := NewPartitioned(empty, &PartitionOptions{Terms: 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Update(func(yield func(string, uint64) bool) {
		for i := range 200 {
			if !yield(fmt.Sprint(i), 1) {
				return
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	p.Record("7", 0)
	for range 15 {
		p.Record("150", 8)
	}
	for _, n := range []uint64{math.MaxUint64 - 120, 1 << 63, 1 << 63, math.MaxUint64} {
		p.Record("151", n)
		p.Record("15", n)
	}
	if _, err := p.Balance(time.Unix(1000, 0)); err != nil {
		t.Fatal(err)
	}
	if got := p.Complete(nil, "151", 1); len(got) != 1 || got[0].Term != "151" {
		t.Errorf("%v", got)
	}
	for _, x := range p.Partitions() {
		if !(x.Load >= 0) {
			t.Errorf("%+v", x)
		}
	}
}
