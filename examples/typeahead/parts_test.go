package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/trie"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "  ": "", "New  York": "new york", " new\tyork ": "new york ", "a ": "a ", "é\nB": "é b",
	} {
		if got := clean(in); got != want || clean(got) != got {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPhrases(t *testing.T) {
	list, err := loadPhrases("", 0)
	if err != nil || len(list) != 40_000 {
		t.Fatalf("%d phrases, %v", len(list), err)
	}
	seen := map[string]bool{}
	for i, p := range list {
		if seen[p.term] || i > 0 && p.weight > list[i-1].weight {
			t.Fatalf("line %d: %v comes again, or is heavier than the one before", i+1, p)
		}
		seen[p.term] = true
	}
	if some, err := loadPhrases("", 10); err != nil || !slices.Equal(some, list[:10]) {
		t.Errorf("%v, %v", some, err)
	}
	if _, err := loadPhrases("nowhere.gz", 0); err == nil {
		t.Error("a file that is not there was read")
	}
}

// Clicks that come after an archive run are archived by the next, once; and a run that
// was killed before its commit is repeated into the same objects.
func TestArchive(t *testing.T) {
	ctx := t.Context()
	l, store := stream.NewMem(), blob.NewMem()
	defer l.Close()
	if err := l.CreateTopic(ctx, topicClicks, &stream.TopicOptions{Partitions: partitions}); err != nil {
		t.Fatal(err)
	}
	list, err := loadPhrases("", 2000)
	if err != nil {
		t.Fatal(err)
	}
	clicks := makeClicks(list, "something new", 9000)
	count := func() map[click]int {
		got := map[click]int{}
		if _, err := readArchive(ctx, store, func(c click) {
			c.At = c.At.UTC()
			got[c]++
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := map[click]int{}
	for i, some := range [][]click{clicks[:5000], clicks[5000:]} {
		if err := send(ctx, l, some); err != nil {
			t.Fatal(err)
		}
		for _, c := range some {
			want[c]++
		}
		for range 2 {
			if _, err := archive(ctx, forgetful{l}, store); err != nil { // killed before its commit
				t.Fatal(err)
			}
		}
		if _, err := archive(ctx, l, store); err != nil {
			t.Fatal(err)
		}
		if n, err := archive(ctx, l, store); n != 0 || err != nil {
			t.Fatalf("%d objects of nothing, %v", n, err)
		}
		got := count()
		if len(got) != len(want) {
			t.Fatalf("round %d: %d clicks, want %d", i, len(got), len(want))
		}
		for c, n := range want {
			if got[c] != n {
				t.Fatalf("%v is there %d times, want %d", c, got[c], n)
			}
		}
	}
	m, n, err := rebuild(ctx, store, list, began)
	if err != nil || n != 0 || m.Len() != len(list) {
		t.Errorf("no clicks before the first, but %d, %d terms, %v", n, m.Len(), err)
	}
}

type forgetful struct{ stream.Log }

func (forgetful) Commit(context.Context, string, map[stream.Partition]stream.Offset) error {
	return nil
}

func TestDamagedArchive(t *testing.T) {
	for _, data := range []string{"", "no gzip", "\x1f\x8b"} {
		store := blob.NewMem()
		if _, err := blob.PutBytes(t.Context(), store, archivePrefix+"0-0.tsv.gz", []byte(data)); err != nil {
			t.Fatal(err)
		}
		if _, err := readArchive(t.Context(), store, func(click) { t.Error("a click of nothing") }); err == nil {
			t.Errorf("%q passes", data)
		}
	}
	if _, err := clickOf(&stream.Record{Value: []byte("no click")}); err == nil {
		t.Error("any record is a click")
	}
}

// The textbook's trie agrees with an image, also where several write.
func TestTextbook(t *testing.T) {
	list, err := loadPhrases("", 3000)
	if err != nil {
		t.Fatal(err)
	}
	x := newTextbook(list)
	b := trie.NewBuilder(nil)
	for _, p := range list {
		b.Add(p.term, p.weight)
	}
	var wg sync.WaitGroup
	for i := range 3 {
		c := newCrowd(list, uint64(i))
		var terms []string
		for range 2000 {
			term := c.wants()
			b.Add(term, 1000)
			terms = append(terms, term)
		}
		wg.Go(func() {
			for _, term := range terms {
				x.click(term, 1000)
			}
		})
	}
	wg.Wait()
	image, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		prefix := p.term[:min(3, len(p.term))]
		at := &x.root
		for i := range len(prefix) {
			at = at.next(prefix[i])
		}
		var got []string
		for _, c := range at.read(nil) {
			got = append(got, c.text)
		}
		if want := texts(image.Complete(nil, prefix, k)); !slices.Equal(got, want) {
			t.Fatalf("%q: %v, want %v", prefix, got, want)
		}
	}
}

// A node finds the partition of a prefix as trie does.
func TestOwner(t *testing.T) {
	list, err := loadPhrases("", 3000)
	if err != nil {
		t.Fatal(err)
	}
	image, err := imageOf(list)
	if err != nil {
		t.Fatal(err)
	}
	p, err := trie.NewPartitioned(image, &trie.PartitionOptions{Terms: 50})
	if err != nil {
		t.Fatal(err)
	}
	var l layout
	for _, x := range p.Partitions() {
		l.Parts = append(l.Parts, place{ID: x.ID, From: x.From})
	}
	for _, q := range list {
		for n := range len(q.term) + 1 {
			for _, prefix := range []string{q.term[:n], q.term[:n] + "~", q.term[:n] + "\x00"} {
				i, ok := l.owner(prefix)
				if x, want := p.Route(prefix); ok != want || ok && x.ID != l.Parts[i].ID {
					t.Fatalf("%q: partition %d, %v; want %v", prefix, i, ok, want)
				}
			}
		}
	}
}

// A node refuses what it cannot use, and goes on.
func TestNodeRefuses(t *testing.T) {
	f, err := startFleet()
	if err != nil {
		t.Fatal(err)
	}
	defer f.stop()
	m := f.members[0]
	table := `{"Generation":1,"Router":5,"Parts":[{"ID":7,"From":"","Nodes":["` + m.address + `"]}]}`
	for _, c := range []struct{ line, body string }{
		{"?\tx", ""}, // no table yet
		{"nothing", ""},
		{"image\t1", ""},
		{"image\tx\t3", ""},
		{"image\t1\t-3", ""},
		{"image\t1\t3", "abc"},
		{"table\t2", "{]"},
		{"table\t2", "{}"},
		{fmt.Sprint("table\t", len(table)), table}, // images are missing
	} {
		if answer, err := m.request(c.line, []byte(c.body)); err == nil {
			t.Errorf("%q: %q", c.line, answer)
		}
	}
	if answer, err := m.request("loads", nil); err != nil || !strings.HasPrefix(answer, `{"Total":0`) {
		t.Errorf("%q, %v", answer, err)
	}
}
