package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/trie"
)

// ---- memory ---------------------------------------------------------------------

// prefixMap is the cache of every prefix: the numbers of its best phrases.
type prefixMap map[string][]uint32

func mapPrefixes(list []phrase) prefixMap {
	m := prefixMap{}
	for i, p := range list { // the heaviest first
		for n := range len(p.term) + 1 {
			if best := m[p.term[:n]]; len(best) < k {
				m[p.term[:n]] = append(best, uint32(i))
			}
		}
	}
	return m
}

type sizes struct {
	length   float64 // of a term, the mean
	formula  int64
	prefixes int
	exact    int64 // with all the text of lists
	mapped   int64 // of a prefixMap, beside the text of the phrases
	trie     int64 // with all text
}

func measure(list []phrase) (z sizes, err error) {
	letters := 0
	for _, p := range list {
		letters += len(p.term)
	}
	z.length = float64(letters) / float64(len(list))
	z.formula = int64(float64(letters) * (z.length/2 + k*(z.length+8)))
	before := heap()
	m := mapPrefixes(list)
	z.mapped = heap() - before
	z.prefixes = len(m)
	for prefix, best := range m {
		z.exact += int64(len(prefix))
		for _, i := range best {
			z.exact += int64(len(list[i].term)) + 8
		}
	}
	runtime.KeepAlive(m)
	image, err := imageOf(list)
	if err != nil {
		return z, err
	}
	z.trie = int64(len(image.Bytes()))
	return z, nil
}

// heap returns how much memory is in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// scan is the slow, obvious answer. The list is by falling weight, and phrases of the
// same weight are in no order yet.
func scan(list []phrase, prefix string) (out []string) {
	var found []phrase
	for _, p := range list {
		if len(found) >= k && p.weight < found[k-1].weight {
			break
		}
		if strings.HasPrefix(p.term, prefix) {
			found = append(found, p)
		}
	}
	slices.SortStableFunc(found, func(a, b phrase) int {
		if a.weight != b.weight {
			return 0
		}
		return strings.Compare(a.term, b.term)
	})
	for _, p := range found[:min(k, len(found))] {
		out = append(out, p.term)
	}
	return out
}

// ---- a key ----------------------------------------------------------------------

type stroke struct {
	cursor, mapped, scan float64 // ns
	scanned              float64 // terms read without lists
	allocs               float64
}

// heapOf keeps the k heaviest of a range, as one without cached lists has to.
func heapOf(dst []phrase, sorted []phrase, prefix string, scanned *int) []phrase {
	i := sort.Search(len(sorted), func(i int) bool { return sorted[i].term >= prefix })
	for ; i < len(sorted) && strings.HasPrefix(sorted[i].term, prefix); i++ {
		*scanned++
		switch {
		case len(dst) < k:
			dst = append(dst, sorted[i])
		case sorted[i].weight > dst[0].weight:
			dst[0] = sorted[i]
		default:
			continue
		}
		for j := 0; j+1 < len(dst) && dst[j].weight > dst[j+1].weight; j++ {
			dst[j], dst[j+1] = dst[j+1], dst[j]
		}
	}
	return dst
}

// strokes times one more letter, the n-th, for what people type.
func strokes(image *trie.Image, list []phrase, n int) (s stroke, err error) {
	c := newCrowd(list, 3)
	var typed []string
	for len(typed) < 2048 {
		if t := c.wants(); len(t) >= n {
			typed = append(typed, t[:n])
		}
	}
	cursors := make([]trie.Cursor, len(typed))
	for i, t := range typed {
		cursors[i] = image.Cursor()
		cursors[i].StepString(t[:n-1])
	}
	naive := mapPrefixes(list)
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(a, b phrase) int { return strings.Compare(a.term, b.term) })

	var room [k]trie.Hit
	var found [k]phrase
	read := uint64(0)
	s.cursor, s.allocs = each(func(i int) {
		c := &cursors[i%len(cursors)]
		c.Step(typed[i%len(typed)][n-1])
		for _, h := range c.Top(room[:0]) {
			read += uint64(h)
		}
		c.Back()
	})
	s.mapped, _ = each(func(i int) {
		for _, x := range naive[typed[i%len(typed)]] {
			read += uint64(x)
		}
	})
	scanned, keys := 0, 0
	s.scan, _ = each(func(i int) {
		keys++
		for _, p := range heapOf(found[:0], sorted, typed[i%len(typed)], &scanned) {
			read += p.weight
		}
	})
	s.scanned = float64(scanned) / float64(keys)
	if read == 0 {
		return s, fmt.Errorf("nothing begins with the %d letters of %d phrases", n, len(typed))
	}
	return s, nil
}

// each calls f for some milliseconds, and returns the ns and allocations of a call.
func each(f func(i int)) (ns, allocs float64) {
	const about = 25 * time.Millisecond
	for i := range 100 {
		f(i)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start, calls := time.Now(), 0
	for took := time.Duration(0); took < about; took = time.Since(start) {
		for range 16 {
			f(calls)
			calls++
		}
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	allocs = float64(after.Mallocs-before.Mallocs) / float64(calls)
	if allocs < 0.01 { // what the runtime does meanwhile
		allocs = 0
	}
	return float64(took.Nanoseconds()) / float64(calls), allocs
}

// ---- a click --------------------------------------------------------------------

type writing struct {
	clicks          int
	locks           float64
	same            bool
	textbook, batch rates
}

type rates struct {
	click      float64 // ns
	idle, busy int     // reads a second, without clicks and meanwhile
}

// compareWriting counts the same clicks in a textbook's trie and in a batch, while others
// read.
func compareWriting(list []phrase, clicks int) (w writing, err error) {
	w.clicks = clicks
	c := newCrowd(list, 4)
	log := make([]string, clicks)
	for i := range log {
		log[i] = c.wants()
	}
	keys := "" // what the reader types
	for len(keys) < 20_000 {
		keys += c.wants() + "\n"
	}

	t := newTextbook(list)
	before := t.locks.Load()
	sum := 0 // of what was read, so that it is
	at := &t.root
	read := func(i int) {
		var room [k]*counted
		if at = at.next(keys[i%len(keys)]); at == nil {
			at = &t.root
		}
		sum += len(at.read(room[:0]))
	}
	w.textbook.idle, _ = reading(read, nil)
	w.textbook.busy, w.textbook.click = reading(read, func() {
		for _, term := range log {
			t.click(term, 1)
		}
	})
	w.textbook.click /= float64(clicks)
	w.locks = float64(t.locks.Load()-before) / float64(clicks)

	var x trie.Index
	first, err := imageOf(list)
	if err != nil {
		return w, err
	}
	x.Swap(first)
	cursor := x.Cursor()
	read = func(i int) {
		var room [k]trie.Hit
		if key := keys[i%len(keys)]; key == '\n' {
			cursor = x.Cursor() // of the newest image
		} else {
			cursor.Step(key)
		}
		sum += len(cursor.Top(room[:0]))
	}
	w.batch.idle, _ = reading(read, nil)
	w.batch.busy, w.batch.click = reading(read, func() {
		b := trie.NewBuilder(&trie.Options{K: k})
		for term, weight := range x.Image().All() {
			b.Add(term, weight)
		}
		for _, term := range log {
			b.Add(term, 1)
		}
		var m *trie.Image
		if m, err = b.Build(); err == nil {
			x.Swap(m)
		}
	})
	w.batch.click /= float64(clicks)
	if err != nil {
		return w, err
	}
	w.same = sum > 0
	for _, word := range strings.Fields(keys) {
		for n := range min(4, len(word)) + 1 {
			at := &t.root
			for i := range n {
				at = at.next(word[i])
			}
			var room [k]*counted
			var got []string
			for _, c := range at.read(room[:0]) {
				got = append(got, c.text)
			}
			w.same = w.same && slices.Equal(got, texts(x.Complete(nil, word[:n], k)))
		}
	}
	return w, nil
}

// reading lets somebody read as long as write takes, which it returns in ns, or for a
// while if there is none. It returns the reads a second.
func reading(read func(i int), write func()) (persecond int, took float64) {
	var stop atomic.Bool
	reads := 0
	start, done := time.Now(), make(chan struct{})
	go func() { // ends with stop
		defer close(done)
		for ; !stop.Load(); reads++ {
			read(reads)
		}
	}()
	if write != nil {
		write()
		took = float64(time.Since(start).Nanoseconds())
	} else {
		<-time.After(150 * time.Millisecond)
	}
	stop.Store(true)
	<-done
	return int(float64(reads) / time.Since(start).Seconds()), took
}

// makeClicks lets people take suggestions, over ten minutes. From the sixth on one in
// twenty looks for something new.
func makeClicks(list []phrase, trend string, n int) []click {
	c := newCrowd(list, 5)
	clicks := make([]click, n)
	for i := range clicks {
		at := began.Add(time.Duration(i) * minutes * time.Minute / time.Duration(n)).Truncate(time.Millisecond)
		term := c.wants()
		if i >= n*6/10 && c.rng.IntN(20) == 0 {
			term = trend
		}
		clicks[i] = click{at, c.rng.IntN(n), term[:min(len(term), 4)], term}
	}
	return clicks
}

// ---- over sockets ---------------------------------------------------------------

type typed struct {
	searches, keys, letters, dialed, moved, wrong int
	took                                          time.Duration
}

// type300 lets one client type 300 phrases.
func (s *story) type300(keep bool) (t typed, err error) {
	c := newClient(s.fleet.addresses(), keep)
	defer c.close()
	people := newCrowd(s.list, 6)
	for t.searches = range 300 {
		want := people.wants()
		keys, err := c.search(want, func(prefix string, a answer, took time.Duration) {
			t.took += took
			if !s.right(prefix, a) {
				t.wrong++
			}
		})
		if err != nil {
			return t, err
		}
		t.keys, t.letters = t.keys+keys, t.letters+len(want)
	}
	t.searches++
	t.dialed, t.moved = c.dialed, c.moved
	return t, nil
}

// right tells whether an answer is that of the image of its generation.
func (s *story) right(prefix string, a answer) bool {
	s.mu.Lock()
	image := s.images[a.generation]
	s.mu.Unlock()
	return image != nil && slices.Equal(a.list, image.Complete(nil, prefix, k))
}

// ---- the swap -------------------------------------------------------------------

const typists = 2 * nodes

type batch struct {
	until         time.Time
	clicks        int
	took          time.Duration
	rebuilt, kept int
	sent          int
}

type reads struct {
	reads, failed, wrong int
	p99                  time.Duration
}

type swapping struct {
	batches       []batch
	small         batch
	idle, busy    reads
	before, after []string
	generations   int
}

// A load generator: clients that type until they are told to stop.
type typing struct {
	s    *story
	stop atomic.Bool
	wg   sync.WaitGroup

	mu   sync.Mutex
	took []time.Duration
	now  reads
	seen map[int]int // answers by generation
}

func (s *story) startTyping() *typing {
	t := &typing{s: s, seen: map[int]int{}}
	for i := range typists {
		t.wg.Go(func() {
			c := newClient(s.fleet.addresses(), true)
			c.asked = i // begins with another node than the others
			defer c.close()
			people := newCrowd(s.list, uint64(100+i))
			for !t.stop.Load() {
				_, err := c.search(people.wants(), func(prefix string, a answer, took time.Duration) {
					right := s.right(prefix, a)
					t.mu.Lock()
					defer t.mu.Unlock()
					t.took = append(t.took, took)
					t.seen[a.generation]++
					if t.now.reads++; !right {
						t.now.wrong++
					}
				})
				if err != nil {
					t.mu.Lock()
					t.now.reads++
					t.now.failed++
					t.mu.Unlock()
				}
			}
		})
	}
	return t
}

// take returns what was read since the last time.
func (t *typing) take() reads {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.now
	if slices.Sort(t.took); len(t.took) > 0 {
		r.p99 = t.took[len(t.took)*99/100]
	}
	t.now, t.took = reads{}, nil
	return r
}

// wait waits until so many answers of a generation have been read.
func (t *typing) wait(ctx context.Context, generation, answers int) error {
	for {
		t.mu.Lock()
		n := t.seen[generation]
		t.mu.Unlock()
		if n >= answers {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (s *story) rebuildUnderLoad(ctx context.Context) (r swapping, err error) {
	r.before = texts(s.images[s.fleet.generation].Complete(nil, "to", k))
	t := s.startTyping()
	defer func() {
		t.stop.Store(true)
		t.wg.Wait()
	}()
	if err := t.wait(ctx, s.fleet.generation, 4000); err != nil {
		return r, err
	}
	r.idle = t.take()
	var image *trie.Image
	for _, m := range []int{4, 7, minutes} {
		b := batch{until: began.Add(time.Duration(m) * time.Minute)}
		start := time.Now()
		if image, b.clicks, err = rebuild(ctx, s.store, s.list, b.until); err != nil {
			return r, err
		}
		change, err := s.parts.Replace(image)
		if err != nil {
			return r, err
		}
		b.took, b.rebuilt, b.kept = time.Since(start), len(change.Rebuilt), change.Kept
		if b.sent, err = s.swap(image); err != nil {
			return r, err
		}
		r.batches = append(r.batches, b)
		if err := t.wait(ctx, s.fleet.generation, 200); err != nil {
			return r, err
		}
	}
	// A few clicks are no reason to do it all again.
	more := map[string]uint64{s.trend: 5 * clickWeight}
	change, err := s.parts.Update(func(yield func(string, uint64) bool) { yield(s.trend, more[s.trend]) })
	if err != nil {
		return r, err
	}
	b := trie.NewBuilder(&trie.Options{K: k})
	for term, weight := range image.All() {
		b.Add(term, weight+more[term])
	}
	if image, err = b.Build(); err != nil {
		return r, err
	}
	r.small = batch{rebuilt: len(change.Rebuilt), kept: change.Kept}
	if r.small.sent, err = s.swap(image); err != nil {
		return r, err
	}
	if err := t.wait(ctx, s.fleet.generation, 200); err != nil {
		return r, err
	}
	t.stop.Store(true)
	t.wg.Wait()
	r.busy, r.generations = t.take(), len(t.seen)
	r.after = texts(image.Complete(nil, "to", k))
	return r, nil
}

// swap publishes and returns how many bytes of images that took.
func (s *story) swap(image *trie.Image) (int, error) {
	before := s.fleet.sent
	err := s.publish(image)
	return s.fleet.sent - before, err
}

// ---- skew -----------------------------------------------------------------------

const (
	hotShare = 80 // percent
	balances = 8
)

type balance struct {
	parts, copied int
	ratio         float64 // questions to a copy of the hottest, by the mean
	nodes         []uint64
}

type balancing struct {
	before, after, letters balance
	wrong                  int
}

// neighbours returns the phrases of the partition of "wh…", or one near it.
func neighbours(p *trie.Partitioned) (list []phrase) {
	parts := p.Partitions()
	i := slices.IndexFunc(parts, func(x trie.Partition) bool { return x.To == "" || x.To > "what" })
	for term, weight := range parts[i].Image.All() {
		list = append(list, phrase{term, weight})
	}
	return list
}

// stubborn returns a phrase of another partition that has to be typed nearly to its end.
func (s *story) stubborn() phrase {
	parts := s.parts.Partitions()
	hot := parts[slices.IndexFunc(parts, func(x trie.Partition) bool { return x.To == "" || x.To > "what" })]
	for _, p := range slices.Backward(s.list) {
		if len(p.term) >= 8 && p.term[0] != hot.From[0] && !slices.Contains(texts(s.image.Complete(nil, p.term[:6], seen)), p.term) {
			return p
		}
	}
	return s.list[len(s.list)-1]
}

// balance lets most searches be for a few phrases, and the partitions answer to it.
func (s *story) balance(hot []phrase) (r balancing, err error) {
	image := s.images[s.fleet.generation]
	if _, _, err := s.fleet.collect(nil); err != nil { // what was before does not count
		return r, err
	}
	for round := range balances + 1 {
		wrong, err := s.searchFor(hot, uint64(round))
		if err != nil {
			return r, err
		}
		r.wrong += wrong
		byNode, asked, err := s.fleet.collect(s.parts)
		if err != nil {
			return r, err
		}
		if round == 0 {
			r.before = s.loads(byNode, asked)
			r.letters = byLetter(asked)
		}
		if r.after = s.loads(byNode, asked); round == balances {
			break
		}
		s.clock = s.clock.Add(30 * time.Second)
		change, err := s.parts.Balance(s.clock)
		if err != nil {
			return r, err
		}
		if len(change.Rebuilt)+change.Copied > 0 {
			if err := s.publish(image); err != nil {
				return r, err
			}
		}
	}
	return r, nil
}

// searchFor lets clients type some hundred phrases.
func (s *story) searchFor(hot []phrase, seed uint64) (wrong int, err error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range typists {
		wg.Go(func() {
			c := newClient(s.fleet.addresses(), true)
			c.asked = i
			defer c.close()
			people, few := newCrowd(s.list, seed*10+uint64(i)), newCrowd(hot, seed*10+uint64(i))
			for range 100 {
				want := people.wants()
				if people.rng.IntN(100) < hotShare {
					want = few.list[few.rng.IntN(len(few.list))].term // all alike
				}
				_, failed := c.search(want, func(prefix string, a answer, _ time.Duration) {
					if !s.right(prefix, a) {
						mu.Lock()
						wrong++
						mu.Unlock()
					}
				})
				if failed != nil {
					mu.Lock()
					err = failed
					mu.Unlock()
					return
				}
			}
		})
	}
	wg.Wait()
	return wrong, err
}

// loads tells how what was asked divides among partitions and nodes.
func (s *story) loads(byNode []uint64, asked map[string]uint64) balance {
	parts := s.parts.Partitions()
	b := balance{parts: len(parts), nodes: byNode}
	by := map[uint64]uint64{}
	total := uint64(0)
	for prefix, n := range asked {
		if x, ok := s.parts.Route(prefix); ok {
			by[x.ID] += n
			total += n
		}
	}
	for _, x := range parts {
		if x.Copies > 1 {
			b.copied++
		}
		b.ratio = max(b.ratio, float64(by[x.ID])/float64(x.Copies)*float64(len(parts))/float64(max(1, total)))
	}
	return b
}

// byLetter is the same for one partition for each first letter, on as many nodes.
func byLetter(asked map[string]uint64) balance {
	by := map[byte]uint64{}
	total := uint64(0)
	b := balance{nodes: make([]uint64, nodes)}
	for prefix, n := range asked {
		if prefix != "" {
			by[prefix[0]] += n
			total += n
			b.nodes[int(prefix[0])%nodes] += n
		}
	}
	b.parts = len(by)
	for _, n := range by {
		b.ratio = max(b.ratio, float64(n)*float64(len(by))/float64(max(1, total)))
	}
	return b
}
