// Package streamtest is the suite that every [stream.Log] has to pass: the logs of
// package stream, those of adapters, and yours.
//
//	func TestMyLog(t *testing.T) {
//		streamtest.Run(t, func(t *testing.T) stream.Log { return mylog.New(t.TempDir()) })
//	}
//
// It checks what the interface promises and nothing beyond: offsets need not
// follow each other without gaps, times may be rounded to milliseconds, and a log
// that is no [stream.Transactor] skips the transactions.
package streamtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/stream"
)

// Run runs the suite as subtests of t. Open returns an empty log and cleans up
// after itself with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) stream.Log) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, stream.Log)
	}{
		{"Topics", testTopics},
		{"RoundTrip", testRoundTrip},
		{"Offsets", testOffsets},
		{"ReadWaits", testReadWaits},
		{"ReadGivesUp", testReadGivesUp},
		{"BatchesAreWhole", testBatchesAreWhole},
		{"ManyWriters", testManyWriters},
		{"LongRead", testLongRead},
		{"OwnMemory", testOwnMemory},
		{"Groups", testGroups},
		{"Epochs", testEpochs},
		{"CommitsAreWhole", testCommitsAreWhole},
		{"ManyCommitters", testManyCommitters},
		{"Transactions", testTransactions},
		{"TransactionsCount", testTransactionsCount},
		{"ManyTransactions", testManyTransactions},
		{"Members", testMembers},
		{"Model", testModel},
		{"Close", testClose},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

var ctx = context.Background()

// unhurried bounds waits that end at once unless something is wrong.
func unhurried(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// topic makes a topic with n partitions and returns them.
func topic(t *testing.T, l stream.Log, name string, n int) []stream.Partition {
	t.Helper()
	if err := l.CreateTopic(ctx, name, &stream.TopicOptions{Partitions: n}); err != nil {
		t.Fatal(err)
	}
	var parts []stream.Partition
	for i := range n {
		parts = append(parts, stream.Partition{Topic: name, Number: i})
	}
	return parts
}

func records(values ...string) []stream.Record {
	var out []stream.Record
	for _, v := range values {
		out = append(out, stream.Record{Value: []byte(v)})
	}
	return out
}

func appendTo(t *testing.T, l stream.Log, p stream.Partition, values ...string) int64 {
	t.Helper()
	return must(l.Append(unhurried(t), p, records(values...)))(t)
}

// read returns the values from offset from on, up to the present end.
func read(t *testing.T, l stream.Log, p stream.Partition, from int64) []string {
	t.Helper()
	_, next, err := l.Bounds(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for r, err := range stream.Scan(unhurried(t), l, p, from, next) {
		if err != nil {
			t.Fatalf("reading %v from %d: %v", p, from, err)
		}
		out = append(out, string(r.Value))
	}
	return out
}

func want(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s = %.200q (%d), want %.200q (%d)", what, got, len(got), want, len(want))
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s = %v, want %v", what, err, want)
	}
}

func testTopics(t *testing.T, l stream.Log) {
	topic(t, l, "a", 3)
	topic(t, l, "a", 3)
	err := l.CreateTopic(ctx, "a", &stream.TopicOptions{Partitions: 4})
	wantErr(t, "CreateTopic with other options", err, stream.ErrExists)
	wantErr(t, "CreateTopic without a name", l.CreateTopic(ctx, "", nil), stream.ErrInvalid)
	wantErr(t, "CreateTopic with a long name", l.CreateTopic(ctx, strings.Repeat("x", 300), nil), stream.ErrTooLarge)
	wantErr(t, "CreateTopic with -1 partitions", l.CreateTopic(ctx, "b", &stream.TopicOptions{Partitions: -1}), stream.ErrInvalid)
	if o := must(l.Topic(ctx, "a"))(t); o.Partitions != 3 {
		t.Errorf("Topic = %+v", o)
	}
	_, err = l.Topic(ctx, "b")
	wantErr(t, "Topic that is not there", err, stream.ErrNotFound)
	for _, p := range []stream.Partition{{Topic: "b"}, {Topic: "a", Number: 3}, {Topic: "a", Number: -1}} {
		_, err = l.Append(ctx, p, records("x"))
		wantErr(t, fmt.Sprint("Append to ", p), err, stream.ErrNotFound)
		_, _, err = l.Bounds(ctx, p)
		wantErr(t, fmt.Sprint("Bounds of ", p), err, stream.ErrNotFound)
		err = l.Read(ctx, p, 0, new(stream.Batch))
		wantErr(t, fmt.Sprint("Read of ", p), err, stream.ErrNotFound)
	}
	_, err = l.Append(ctx, stream.Partition{Topic: "a"}, nil)
	wantErr(t, "Append of nothing", err, stream.ErrInvalid)
	if err := l.CreateTopic(ctx, "keyed", &stream.TopicOptions{Compact: true}); err != nil {
		t.Fatal(err)
	}
	_, err = l.Append(ctx, stream.Partition{Topic: "keyed"}, records("x"))
	wantErr(t, "Append without key to a compacted topic", err, stream.ErrInvalid)
}

func testRoundTrip(t *testing.T, l stream.Log) {
	p := topic(t, l, "t", 1)[0]
	at := time.Date(2026, 11, 24, 12, 0, 0, 123e6, time.UTC)
	in := []stream.Record{
		{Key: []byte("k"), Value: []byte("v"), Time: at},
		{Value: []byte{}},
		{Key: []byte("gone"), Time: at.Add(-time.Hour)},
		{Value: bytes.Repeat([]byte("x"), 100_000), Time: time.UnixMilli(-5)},
		{Value: []byte("\x00\xff"), Headers: []stream.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte{}}, {Key: "b", Value: []byte("2")}}},
	}
	first := must(l.Append(unhurried(t), p, in))(t)
	var b stream.Batch
	i, from := 0, first
	for i < len(in) {
		if err := l.Read(unhurried(t), p, from, &b); err != nil {
			t.Fatal(err)
		}
		if b.Next <= from {
			t.Fatalf("Read(%d) goes on at %d", from, b.Next)
		}
		for _, r := range b.Records {
			w := in[i]
			if !bytes.Equal(r.Key, w.Key) || !bytes.Equal(r.Value, w.Value) || (r.Value == nil) != (w.Value == nil) {
				t.Errorf("record %d = %q: %.20q (nil %v), want %q: %.20q", i, r.Key, r.Value, r.Value == nil, w.Key, w.Value)
			}
			if w.Time.IsZero() != r.Time.IsZero() || !w.Time.IsZero() && r.Time.UnixMilli() != w.Time.UnixMilli() {
				t.Errorf("record %d has time %v, want %v", i, r.Time, w.Time)
			}
			if !slices.EqualFunc(r.Headers, w.Headers, func(a, b stream.Header) bool { return a.Key == b.Key && bytes.Equal(a.Value, b.Value) }) {
				t.Errorf("record %d has headers %q, want %q", i, r.Headers, w.Headers)
			}
			if r.Offset < from {
				t.Errorf("record %d has offset %d, read from %d", i, r.Offset, from)
			}
			i++
		}
		from = b.Next
	}
}

func testOffsets(t *testing.T, l stream.Log) {
	ps := topic(t, l, "t", 2)
	if first, next, err := l.Bounds(ctx, ps[0]); err != nil || first != next {
		t.Errorf("Bounds of an empty partition = %d, %d, %v", first, next, err)
	}
	a := appendTo(t, l, ps[0], "a0", "a1")
	appendTo(t, l, ps[1], "b0")
	b := appendTo(t, l, ps[0], "a2")
	if b < a+2 {
		t.Errorf("offsets %d of two records, then %d", a, b)
	}
	first, next, err := l.Bounds(ctx, ps[0])
	if err != nil || first > a || next <= b {
		t.Errorf("Bounds = %d, %d, %v", first, next, err)
	}
	want(t, "all of partition 0", read(t, l, ps[0], first), []string{"a0", "a1", "a2"})
	want(t, "from the second", read(t, l, ps[0], a+1), []string{"a1", "a2"})
	want(t, "from the third", read(t, l, ps[0], b), []string{"a2"})
	want(t, "all of partition 1", read(t, l, ps[1], 0), []string{"b0"})
	for _, from := range []int64{first - 1, next + 1, -1 << 62, 1 << 62} {
		err := l.Read(unhurried(t), ps[0], from, new(stream.Batch))
		var off *stream.OffsetError
		if !errors.As(err, &off) || !errors.Is(err, stream.ErrNotFound) || off.First != first || off.Next != next {
			t.Errorf("Read(%d) = %v", from, err)
		}
	}
}

func testReadWaits(t *testing.T, l stream.Log) {
	p := topic(t, l, "t", 1)[0]
	const readers = 5
	got := make(chan string, readers)
	for range readers {
		go func() {
			for r, err := range stream.Tail(unhurried(t), l, p, 0) {
				if err != nil {
					got <- err.Error()
				} else {
					got <- string(r.Value)
				}
				return
			}
		}()
	}
	appendTo(t, l, p, "first")
	for range readers {
		if v := <-got; v != "first" {
			t.Errorf("a waiting reader got %q", v)
		}
	}
}

func testReadGivesUp(t *testing.T, l stream.Log) {
	p := topic(t, l, "t", 1)[0]
	c, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- l.Read(c, p, 0, new(stream.Batch)) }()
	cancel()
	wantErr(t, "Read after cancel", <-done, context.Canceled)
	_, err := l.Append(c, p, records("x"))
	wantErr(t, "Append with a dead context", err, context.Canceled)
}

func testBatchesAreWhole(t *testing.T, l stream.Log) {
	p := topic(t, l, "t", 1)[0]
	const writers, batches, size = 4, 25, 7
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range batches {
				var vs []string
				for k := range size {
					vs = append(vs, fmt.Sprintf("%d %d %d", w, i, k))
				}
				if _, err := l.Append(unhurried(t), p, records(vs...)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all := read(t, l, p, 0)
	if len(all) != writers*batches*size {
		t.Fatalf("%d records", len(all))
	}
	last := map[string]int{}
	for i := 0; i < len(all); i += size {
		var w, n int
		fmt.Sscanf(all[i], "%d %d 0", &w, &n)
		for k := range size {
			if all[i+k] != fmt.Sprintf("%d %d %d", w, n, k) {
				t.Fatalf("records %v are no batch", all[i:i+size])
			}
		}
		key := strconv.Itoa(w)
		if l, ok := last[key]; ok && n != l+1 || !ok && n != 0 {
			t.Fatalf("writer %d: batch %d after %d", w, n, l)
		}
		last[key] = n
	}
}

func testManyWriters(t *testing.T, l stream.Log) {
	ps := topic(t, l, "t", 3)
	const writers, each = 8, 40
	var wg sync.WaitGroup
	var mu sync.Mutex
	at := map[stream.Partition]map[int64]string{}
	for _, p := range ps {
		at[p] = map[int64]string{}
	}
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				p := ps[(w+i)%len(ps)]
				v := fmt.Sprint(w, "-", i)
				off, err := l.Append(unhurried(t), p, records(v))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				at[p][off] = v
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	n := 0
	for _, p := range ps {
		_, next, _ := l.Bounds(ctx, p)
		for r, err := range stream.Scan(unhurried(t), l, p, 0, next) {
			if err != nil {
				t.Fatal(err)
			}
			if at[p][r.Offset] != string(r.Value) {
				t.Fatalf("%v has %q at %d, want %q", p, r.Value, r.Offset, at[p][r.Offset])
			}
			n++
		}
	}
	if n != writers*each {
		t.Errorf("%d records, want %d", n, writers*each)
	}
}

func testGroups(t *testing.T, l stream.Log) {
	ps := topic(t, l, "t", 2)
	if got, err := l.Committed(ctx, "g"); err != nil || len(got) != 0 {
		t.Errorf("Committed of an unknown group = %v, %v", got, err)
	}
	first := appendTo(t, l, ps[0], "a", "b", "c")
	appendTo(t, l, ps[1], "d")
	if err := l.Commit(ctx, "g", map[stream.Partition]stream.Offset{ps[0]: {Next: first + 1}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(ctx, "h", map[stream.Partition]stream.Offset{ps[0]: {Next: first + 3}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(ctx, "g", map[stream.Partition]stream.Offset{ps[1]: {Next: 1}}); err != nil {
		t.Fatal(err)
	}
	got := must(l.Committed(ctx, "g"))(t)
	if len(got) != 2 || got[ps[0]].Next != first+1 || got[ps[1]].Next != 1 {
		t.Errorf("Committed = %v", got)
	}
	// Going back is allowed: that is a replay.
	if err := l.Commit(ctx, "g", map[stream.Partition]stream.Offset{ps[0]: {Next: first}}); err != nil {
		t.Fatal(err)
	}
	if got = must(l.Committed(ctx, "g"))(t); got[ps[0]].Next != first {
		t.Errorf("Committed after going back = %v", got)
	}
	err := l.Commit(ctx, "g", map[stream.Partition]stream.Offset{{Topic: "none"}: {Next: 1}})
	wantErr(t, "Commit for an unknown topic", err, stream.ErrNotFound)
	err = l.Commit(ctx, "", map[stream.Partition]stream.Offset{ps[0]: {Next: 1}})
	wantErr(t, "Commit without a group", err, stream.ErrInvalid)
}

func testEpochs(t *testing.T, l stream.Log) {
	p := topic(t, l, "t", 1)[0]
	first := appendTo(t, l, p, "a", "b", "c")
	commit := func(next, epoch int64) error {
		return l.Commit(ctx, "g", map[stream.Partition]stream.Offset{p: {Next: next, Epoch: epoch}})
	}
	if err := commit(stream.Keep, 3); err != nil {
		t.Fatal(err)
	}
	if got := must(l.Committed(ctx, "g"))(t); got[p] != (stream.Offset{Next: stream.Keep, Epoch: 3}) {
		t.Errorf("Committed = %v", got)
	}
	if err := commit(first+1, 3); err != nil {
		t.Fatal(err)
	}
	if err := commit(stream.Keep, 4); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Commit of the former owner", commit(first+2, 3), stream.ErrStale)
	if got := must(l.Committed(ctx, "g"))(t); got[p] != (stream.Offset{Next: first + 1, Epoch: 4}) {
		t.Errorf("Committed = %v", got)
	}
}

func transactor(t *testing.T, l stream.Log) stream.Transactor {
	tr, ok := l.(stream.Transactor)
	if !ok {
		t.Skip("this log has no transactions")
	}
	return tr
}

func testTransactions(t *testing.T, log stream.Log) {
	l := transactor(t, log)
	in := topic(t, l, "in", 1)[0]
	out := topic(t, l, "out", 2)
	first := appendTo(t, l, in, "a", "b")
	tx := &stream.Tx{
		Group:   "g",
		Offsets: map[stream.Partition]stream.Offset{in: {Next: first + 2, Epoch: 1}},
		Appends: []stream.Append{{Partition: out[0], Records: records("A")}, {Partition: out[1], Records: records("B", "C")}, {Partition: out[0], Records: records("D")}},
	}
	firsts := must(l.Transact(ctx, tx))(t)
	if len(firsts) != 3 || firsts[2] <= firsts[0] {
		t.Errorf("Transact = %v", firsts)
	}
	want(t, "partition 0", read(t, l, out[0], 0), []string{"A", "D"})
	want(t, "partition 1", read(t, l, out[1], 0), []string{"B", "C"})
	if got := must(l.Committed(ctx, "g"))(t); got[in].Next != first+2 {
		t.Errorf("Committed = %v", got)
	}
	// All or nothing.
	for name, bad := range map[string]*stream.Tx{
		"an old epoch": {Group: "g", Offsets: map[stream.Partition]stream.Offset{in: {Next: first, Epoch: 0}}, Appends: tx.Appends},
		"a topic that is not there": {
			Group: "g", Offsets: map[stream.Partition]stream.Offset{in: {Next: first, Epoch: 1}},
			Appends: []stream.Append{tx.Appends[0], {Partition: stream.Partition{Topic: "none"}, Records: records("x")}},
		},
		"an empty batch": {Appends: []stream.Append{tx.Appends[0], {Partition: out[1]}}},
		"no group":       {Offsets: map[stream.Partition]stream.Offset{in: {Next: first, Epoch: 1}}, Appends: tx.Appends},
	} {
		if _, err := l.Transact(ctx, bad); err == nil {
			t.Errorf("Transact with %s passed", name)
		}
	}
	want(t, "partition 0 after what was refused", read(t, l, out[0], 0), []string{"A", "D"})
	if got := must(l.Committed(ctx, "g"))(t); got[in].Next != first+2 {
		t.Errorf("Committed = %v", got)
	}
}

// testTransactionsCount moves numbers between partitions, each of them once.
func testTransactionsCount(t *testing.T, log stream.Log) {
	l := transactor(t, log)
	in := topic(t, l, "in", 1)[0]
	out := topic(t, l, "out", 3)
	const n = 60
	for i := range n {
		appendTo(t, l, in, strconv.Itoa(i))
	}
	next, end, err := l.Bounds(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	for next < end {
		var b stream.Batch
		b.MaxBytes = 64
		if err := l.Read(unhurried(t), in, next, &b); err != nil {
			t.Fatal(err)
		}
		tx := &stream.Tx{Group: "g", Offsets: map[stream.Partition]stream.Offset{in: {Next: b.Next}}}
		for i, r := range b.Records {
			tx.Appends = append(tx.Appends, stream.Append{Partition: out[i%3], Records: records(string(r.Value))})
		}
		if _, err := l.Transact(ctx, tx); err != nil {
			t.Fatal(err)
		}
		next = must(l.Committed(ctx, "g"))(t)[in].Next
	}
	seen := map[string]int{}
	for _, p := range out {
		for _, v := range read(t, l, p, 0) {
			seen[v]++
		}
	}
	for i := range n {
		if seen[strconv.Itoa(i)] != 1 {
			t.Errorf("number %d moved %d times", i, seen[strconv.Itoa(i)])
		}
	}
}

// testMembers lets two members of a group share a topic, and one leave.
func testMembers(t *testing.T, l stream.Log) {
	ps := topic(t, l, "t", 4)
	const each = 50
	for i := range each {
		for _, p := range ps {
			appendTo(t, l, p, fmt.Sprint(p.Number, " ", i))
		}
	}
	g := must(stream.NewGroup(unhurried(t), l, "g", []string{"t"}, nil))(t)
	defer g.Close()
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	c, cancel := context.WithCancel(unhurried(t))
	defer cancel()
	for i := range 2 {
		m := must(g.Join(ctx, fmt.Sprint("m", i)))(t)
		wg.Go(func() {
			count := 0
			err := m.Run(c, func(ctx context.Context, cl *stream.Claim) error {
				var b stream.Batch
				b.MaxBytes = 200
				for {
					if err := cl.Read(ctx, &b); err != nil {
						return err
					}
					// What was read is done: a partition that is wanted back is no
					// reason not to say so.
					if err := cl.Commit(context.WithoutCancel(ctx), nil); err != nil {
						return err
					}
					mu.Lock()
					for _, r := range b.Records {
						seen[string(r.Value)]++
					}
					if len(seen) == each*len(ps) {
						cancel()
					}
					if count++; i == 0 && count == 3 {
						go m.Leave()
					}
					mu.Unlock()
				}
			})
			if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, stream.ErrClosed) {
				t.Errorf("member %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if len(seen) != each*len(ps) {
		t.Errorf("%d of %d records", len(seen), each*len(ps))
	}
	for v, n := range seen {
		if n != 1 {
			t.Errorf("record %q was committed %d times", v, n)
		}
	}
}

// testModel compares the log with slices on random operations.
func testModel(t *testing.T, l stream.Log) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 1))
	ps := topic(t, l, "t", 3)
	type rec struct {
		off int64
		val string
	}
	model := map[stream.Partition][]rec{}
	commits := map[stream.Partition]int64{}
	var b stream.Batch
	for step := range 400 {
		p := ps[rng.IntN(len(ps))]
		switch rng.IntN(4) {
		case 0, 1:
			var vs []string
			for k := range 1 + rng.IntN(5) {
				vs = append(vs, fmt.Sprint(step, " ", k, strings.Repeat("x", rng.IntN(200))))
			}
			off := appendTo(t, l, p, vs...)
			for k, v := range vs {
				model[p] = append(model[p], rec{off + int64(k), v})
			}
		case 2:
			m := model[p]
			if len(m) == 0 {
				continue
			}
			i := rng.IntN(len(m))
			b.MaxBytes = 1 + rng.IntN(1000)
			if err := l.Read(unhurried(t), p, m[i].off, &b); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			for _, r := range b.Records {
				if i >= len(m) || r.Offset != m[i].off || string(r.Value) != m[i].val {
					t.Fatalf("seed %d step %d: %v has %.20q at %d", seed, step, p, r.Value, r.Offset)
				}
				i++
			}
			if i < len(m) && b.Next > m[i].off {
				t.Fatalf("seed %d step %d: Next %d skips offset %d", seed, step, b.Next, m[i].off)
			}
		case 3:
			m := model[p]
			if len(m) == 0 {
				continue
			}
			commits[p] = m[rng.IntN(len(m))].off
			if err := l.Commit(ctx, "g", map[stream.Partition]stream.Offset{p: {Next: commits[p]}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := must(l.Committed(ctx, "g"))(t)
	for p, next := range commits {
		if got[p].Next != next {
			t.Errorf("Committed of %v = %v, want %d", p, got[p], next)
		}
	}
}

func testClose(t *testing.T, l stream.Log) {
	p := topic(t, l, "t", 1)[0]
	done := make(chan error, 1)
	go func() { done <- l.Read(ctx, p, 0, new(stream.Batch)) }()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	wantErr(t, "Read that waited", <-done, stream.ErrClosed)
	_, err := l.Append(ctx, p, records("x"))
	wantErr(t, "Append after Close", err, stream.ErrClosed)
	wantErr(t, "Read after Close", l.Read(ctx, p, 0, new(stream.Batch)), stream.ErrClosed)
	wantErr(t, "Commit after Close", l.Commit(ctx, "g", map[stream.Partition]stream.Offset{p: {}}), stream.ErrClosed)
	if err := l.Close(); err != nil {
		t.Errorf("Close again = %v", err)
	}
}
