package main

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/cms"
)

// What the story measures, and how it writes numbers.

// sizeOfMap returns the bytes of memory that a map of all songs of plays takes, with
// their names: what is free when it is gone.
func sizeOfMap(list []sent) int {
	m := map[string]uint64{}
	for _, p := range list {
		if _, ok := m[p.ID]; !ok {
			m[strings.Clone(p.ID)] = 1 // an assignment to a key that is there would replace its text
		}
	}
	var with, without runtime.MemStats
	for range 3 { // pools keep what they have over a collection or two
		runtime.GC()
	}
	runtime.ReadMemStats(&with)
	runtime.KeepAlive(m)
	runtime.GC()
	runtime.ReadMemStats(&without)
	runtime.KeepAlive(list)
	return int(with.HeapAlloc) - int(without.HeapAlloc)
}

// within returns the plays of the story's minute i.
func within(list []sent, i int) (out []sent) {
	start := opening.Add(time.Duration(i) * time.Minute).UnixMilli()
	for _, p := range list {
		if minute(p.Date) == start {
			out = append(out, p)
		}
	}
	return out
}

// A sketching is how well a sketch of some size does.
type sketching struct {
	list         []entry
	mean         float64 // by how much counts are too high
	bound, delta float64 // ε of all, and what share of songs may be above
	outside      float64 // what share is
	low          int     // counts that are too low
}

func sketchOf(all []sent, exact map[string]uint64, width int) (r sketching, err error) {
	c, err := cms.NewSize(width, sketchDepth)
	if err != nil {
		return r, err
	}
	t := newTextbook(c, chart)
	for _, p := range all {
		t.add(p.ID, p.Count)
	}
	r.list = ranked(t.heap.entries, chart)
	r.bound, r.delta = c.Epsilon()*float64(c.Total()), math.Exp(-sketchDepth)
	var high, outside uint64
	for id, want := range exact {
		got := c.CountString(id)
		if got < want {
			r.low++
			continue
		}
		high += got - want
		if float64(got-want) > r.bound {
			outside++
		}
	}
	n := float64(len(exact))
	r.mean, r.outside = float64(high)/n, float64(outside)/n
	return r, nil
}

// A comparison is how many comparisons a play costs in two heaps of k.
type comparison struct {
	least, greatest float64
	same            bool
}

func compareHeaps(all []sent, k int) (r comparison, err error) {
	c, err := cms.NewSize(sketchWidth, sketchDepth)
	if err != nil {
		return r, err
	}
	least, greatest := newHeap(lesser), newHeap(greater)
	for _, p := range all {
		e := entry{p.ID, c.AddString(p.ID, p.Count)}
		least.offer(e, k)
		greatest.offerMax(e, k)
	}
	n := float64(len(all))
	r.least, r.greatest = float64(least.compared)/n, float64(greatest.compared)/n
	r.same = slices.Equal(ranked(least.entries, k), ranked(greatest.entries, k))
	return r, nil
}

// speed is how many plays a shard counts in a second.
func speed(all []sent) float64 {
	s, err := newShard()
	if err != nil {
		return 0
	}
	began := time.Now()
	for _, p := range all {
		if s.add(p.play) != nil {
			return 0
		}
	}
	return float64(len(all)) / time.Since(began).Seconds()
}

func equalCounts(a, b map[string]uint64) bool {
	if len(a) != len(b) {
		return false
	}
	for id, n := range a {
		if b[id] != n {
			return false
		}
	}
	return true
}

// countOf returns a song's count on a board, a dash where it is not.
func countOf(list []entry, id string) string {
	for _, e := range list {
		if e.ID == id {
			return num(e.Count)
		}
	}
	return "–"
}

// podium names the first k.
func podium(list []entry, k int) string {
	var out []string
	for i, e := range list[:min(k, len(list))] {
		out = append(out, fmt.Sprintf("%d. %s %s", i+1, title(e.ID), num(e.Count)))
	}
	return strings.Join(out, "   ")
}

func ordinal(list []entry, id string) string {
	i := slices.IndexFunc(list, func(e entry) bool { return e.ID == id })
	return fmt.Sprintf("place %d", i+1)
}

// title writes a song's id as a title.
func title(id string) string {
	words := strings.Split(id, "-")
	for i, w := range words {
		if w != "" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, " ")
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format("15:04") }

// num writes a whole number with separators.
func num[T int | int64 | uint64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	start := 0
	if s[0] == '-' {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size writes a number of bytes.
func size(b float64) string {
	for _, u := range []string{"B", "KB", "MB", "GB", "TB"} {
		if b < 1000 {
			return strconv.FormatFloat(b, 'g', 3, 64) + " " + u
		}
		b /= 1000
	}
	return strconv.FormatFloat(b, 'g', 3, 64) + " PB"
}
