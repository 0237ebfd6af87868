package streamtest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/ashlar-go/ashlar/stream"
)

// testLongRead reads many records in small steps and commits each of them, which
// is where an engine that has to be told of every record runs out of something.
func testLongRead(t *testing.T, l stream.Log) {
	p := topic(t, l, "t", 1)[0]
	const batches, size = 40, 500
	for i := range batches {
		var vs []string
		for k := range size {
			vs = append(vs, strconv.Itoa(i*size+k))
		}
		appendTo(t, l, p, vs...)
	}
	from, end, err := l.Bounds(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	n, steps := 0, 0
	b := stream.Batch{MaxBytes: 8 << 10}
	for from < end {
		if err := l.Read(unhurried(t), p, from, &b); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Records {
			if string(r.Value) != strconv.Itoa(n) {
				t.Fatalf("record %d is %q", n, r.Value)
			}
			n++
		}
		from = b.Next
		if steps++; steps%10 == 0 || from >= end {
			if err := l.Commit(unhurried(t), "g", map[stream.Partition]stream.Offset{p: {Next: from}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n != batches*size {
		t.Errorf("%d records, want %d", n, batches*size)
	}
	if got := must(l.Committed(ctx, "g"))(t); got[p].Next != from {
		t.Errorf("Committed = %v, want %d", got, from)
	}
}

// testOwnMemory writes to what it gave and to what it got: neither is the log's.
func testOwnMemory(t *testing.T, l stream.Log) {
	p := topic(t, l, "t", 1)[0]
	in := []stream.Record{{Key: []byte("key"), Value: []byte("value"), Headers: []stream.Header{{Key: "h", Value: []byte("header")}}}}
	scribble := func(rs []stream.Record) {
		for _, r := range rs {
			clear(r.Key)
			clear(r.Value)
			for i := range r.Headers {
				clear(r.Headers[i].Value)
				r.Headers[i].Key = ""
			}
		}
	}
	first := must(l.Append(unhurried(t), p, in))(t)
	scribble(in)
	for range 2 {
		var b stream.Batch
		if err := l.Read(unhurried(t), p, first, &b); err != nil {
			t.Fatal(err)
		}
		if len(b.Records) != 1 {
			t.Fatalf("%d records", len(b.Records))
		}
		r := b.Records[0]
		if string(r.Key) != "key" || string(r.Value) != "value" || len(r.Headers) != 1 || r.Headers[0].Key != "h" || string(r.Headers[0].Value) != "header" {
			t.Errorf("Read = %q %q %q", r.Key, r.Value, r.Headers)
		}
		scribble(b.Records)
	}
}

// testCommitsAreWhole: one partition that was overtaken is enough to refuse all.
func testCommitsAreWhole(t *testing.T, l stream.Log) {
	ps := topic(t, l, "t", 3)
	for _, p := range ps {
		appendTo(t, l, p, "a", "b", "c")
	}
	commit := func(next, epoch0, epoch1 int64) error {
		return l.Commit(unhurried(t), "g", map[stream.Partition]stream.Offset{
			ps[0]: {Next: next, Epoch: epoch0}, ps[1]: {Next: next, Epoch: epoch1}, ps[2]: {Next: next},
		})
	}
	if err := commit(1, 5, 5); err != nil {
		t.Fatal(err)
	}
	before := must(l.Committed(ctx, "g"))(t)
	wantErr(t, "Commit with one stale epoch", commit(2, 6, 4), stream.ErrStale)
	err := l.Commit(unhurried(t), "g", map[stream.Partition]stream.Offset{ps[0]: {Next: 2, Epoch: 9}, {Topic: "t", Number: 3}: {Next: 1}})
	wantErr(t, "Commit with one partition that is not there", err, stream.ErrNotFound)
	err = l.Commit(unhurried(t), "g", map[stream.Partition]stream.Offset{ps[0]: {Next: -2, Epoch: 9}})
	wantErr(t, "Commit of offset -2", err, stream.ErrInvalid)
	after := must(l.Committed(ctx, "g"))(t)
	for _, p := range ps {
		if after[p] != before[p] {
			t.Errorf("%v went from %v to %v by commits that were refused", p, before[p], after[p])
		}
	}
	// Groups have any name, and know nothing of each other.
	for i, name := range []string{"G", "g.t", "*", ">", "a b/\u00fc\"\n", "=Zw", strings.Repeat("x", 255)} {
		want := stream.Offset{Next: stream.Keep, Epoch: int64(i)}
		if err := l.Commit(unhurried(t), name, map[stream.Partition]stream.Offset{ps[0]: want}); err != nil {
			t.Errorf("Commit of group %q = %v", name, err)
		} else if got := must(l.Committed(ctx, name))(t); len(got) != 1 || got[ps[0]] != want {
			t.Errorf("Committed of group %q = %v, want %v", name, got, want)
		}
	}
	err = l.Commit(ctx, strings.Repeat("x", 256), map[stream.Partition]stream.Offset{ps[0]: {}})
	wantErr(t, "Commit of a group with a long name", err, stream.ErrTooLarge)
}

// testManyCommitters commits to the partitions of one group at the same time:
// none takes back what another has committed.
func testManyCommitters(t *testing.T, l stream.Log) {
	const parts, each = 6, 10
	ps := topic(t, l, "t", parts)
	for _, p := range ps {
		for range each {
			appendTo(t, l, p, "x")
		}
	}
	var wg sync.WaitGroup
	last := make([]int64, parts)
	for i, p := range ps {
		_, end, err := l.Bounds(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		last[i] = end
		wg.Go(func() {
			for k := int64(1); k <= each; k++ {
				next := end
				if k < each {
					next = min(k, end)
				}
				if err := l.Commit(unhurried(t), "g", map[stream.Partition]stream.Offset{p: {Next: next, Epoch: k}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := must(l.Committed(ctx, "g"))(t)
	for i, p := range ps {
		if got[p] != (stream.Offset{Next: last[i], Epoch: each}) {
			t.Errorf("%v is at %v, want %v", p, got[p], last[i])
		}
	}
}

// testManyTransactions makes transactions of one group, and of none, at the same
// time. Each is there whole, and tells where its records are.
func testManyTransactions(t *testing.T, log stream.Log) {
	l := transactor(t, log)
	in := topic(t, l, "in", 4)
	out := topic(t, l, "out", 2)
	const each = 8
	var wg sync.WaitGroup
	var mu sync.Mutex
	at := map[stream.Partition]map[int64]string{out[0]: {}, out[1]: {}}
	for w, p := range in {
		wg.Go(func() {
			for i := range each {
				tx := &stream.Tx{Group: "g", Offsets: map[stream.Partition]stream.Offset{p: {Next: stream.Keep, Epoch: int64(i + 1)}}}
				if w == 0 {
					tx = &stream.Tx{} // without a group
				}
				for k, o := range []stream.Partition{out[0], out[1], out[0]} {
					tx.Appends = append(tx.Appends, stream.Append{Partition: o, Records: records(fmt.Sprint(w, i, k, 0), fmt.Sprint(w, i, k, 1))})
				}
				firsts, err := l.Transact(unhurried(t), tx)
				if err != nil || len(firsts) != len(tx.Appends) {
					t.Errorf("Transact = %v, %v", firsts, err)
					return
				}
				mu.Lock()
				for k, a := range tx.Appends {
					at[a.Partition][firsts[k]] = string(a.Records[0].Value)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	n := 0
	for _, o := range out {
		_, end, err := l.Bounds(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		second := "" // what has to follow
		for r, err := range stream.Scan(unhurried(t), l, o, 0, end) {
			if err != nil {
				t.Fatal(err)
			}
			v := string(r.Value)
			if second != "" && v != second {
				t.Errorf("%v has %q at %d, want %q", o, v, r.Offset, second)
			}
			if second == "" {
				if at[o][r.Offset] != v {
					t.Errorf("%v has %q at %d, want %q", o, v, r.Offset, at[o][r.Offset])
				}
				second = v[:len(v)-1] + "1"
			} else {
				second = ""
			}
			n++
		}
	}
	if want := len(in) * each * 6; n != want {
		t.Errorf("%d records, want %d", n, want)
	}
	got := must(l.Committed(ctx, "g"))(t)
	for _, p := range in[1:] {
		if got[p] != (stream.Offset{Next: stream.Keep, Epoch: each}) {
			t.Errorf("%v is at %v", p, got[p])
		}
	}
}

// RunShared runs what two logs on the same store promise each other, as subtests
// of t. Open returns two that see the same topics and groups, of which there are
// none yet, and cleans up after itself. It is for engines that several processes
// can use; a log that is no [stream.Transactor] skips the transactions.
func RunShared(t *testing.T, open func(t *testing.T) (a, b stream.Log)) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, a, b stream.Log)
	}{
		{"Seen", testSharedSeen},
		{"Epochs", testSharedEpochs},
		{"Counter", testSharedCounter},
		{"Handover", testSharedHandover},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := open(t)
			test.run(t, a, b)
		})
	}
}

// testSharedSeen: what one log acknowledged the other has.
func testSharedSeen(t *testing.T, a, b stream.Log) {
	p := topic(t, a, "t", 1)[0]
	topic(t, b, "t", 1)
	wantErr(t, "CreateTopic with other options", b.CreateTopic(ctx, "t", &stream.TopicOptions{Partitions: 2}), stream.ErrExists)
	got := make(chan string, 1)
	go func() {
		for r, err := range stream.Tail(unhurried(t), b, p, 0) {
			got <- fmt.Sprint(string(r.Value), err)
			return
		}
	}()
	first := appendTo(t, a, p, "from a")
	if v := <-got; v != "from a<nil>" {
		t.Errorf("a waiting reader of the other log got %q", v)
	}
	second := appendTo(t, b, p, "from b")
	if second <= first {
		t.Errorf("offsets %d, then %d", first, second)
	}
	for _, l := range []stream.Log{a, b} {
		want(t, "the partition", read(t, l, p, 0), []string{"from a", "from b"})
	}
}

// testSharedEpochs: an epoch that one log raised stops the other.
func testSharedEpochs(t *testing.T, a, b stream.Log) {
	p := topic(t, a, "t", 1)[0]
	first := appendTo(t, a, p, "a", "b", "c")
	commit := func(l stream.Log, next, epoch int64) error {
		return l.Commit(unhurried(t), "g", map[stream.Partition]stream.Offset{p: {Next: next, Epoch: epoch}})
	}
	for epoch := int64(1); epoch < 6; epoch++ {
		if err := commit(a, first+1, epoch); err != nil {
			t.Fatal(err)
		}
		if err := commit(b, stream.Keep, epoch+1); err != nil {
			t.Fatal(err)
		}
		wantErr(t, "Commit of the former owner", commit(a, first+2, epoch), stream.ErrStale)
		for _, l := range []stream.Log{a, b} {
			if got := must(l.Committed(ctx, "g"))(t); got[p] != (stream.Offset{Next: first + 1, Epoch: epoch + 1}) {
				t.Fatalf("Committed = %v", got)
			}
		}
	}
}

// testSharedCounter lets both logs make transactions of one group at the same
// time, each with an epoch of its own. One that was refused left nothing.
func testSharedCounter(t *testing.T, la, lb stream.Log) {
	a, b := transactor(t, la), transactor(t, lb)
	in := topic(t, a, "in", 2)
	out := topic(t, a, "out", 1)[0]
	const each = 10
	var wg sync.WaitGroup
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	for i, l := range []stream.Transactor{a, b} {
		wg.Go(func() {
			for k := range each {
				v := fmt.Sprint(i, "-", k)
				_, err := l.Transact(unhurried(t), &stream.Tx{
					Group: "g", Offsets: map[stream.Partition]stream.Offset{in[i]: {Next: stream.Keep, Epoch: int64(k)}},
					Appends: []stream.Append{{Partition: out, Records: records(v)}},
				})
				if err != nil {
					t.Errorf("Transact = %v", err)
					return
				}
				_, err = l.Transact(unhurried(t), &stream.Tx{
					Group: "g", Offsets: map[stream.Partition]stream.Offset{in[i]: {Next: stream.Keep, Epoch: int64(k) - 1}},
					Appends: []stream.Append{{Partition: out, Records: records("stale " + v)}},
				})
				if k > 0 {
					wantErr(t, "Transact with a stale epoch", err, stream.ErrStale)
				} else {
					wantErr(t, "Transact with epoch -1", err, stream.ErrInvalid)
				}
				mu.Lock()
				acknowledged[v] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	got := read(t, b, out, 0)
	for _, v := range got {
		if !acknowledged[v] {
			t.Errorf("%q is there, or twice", v)
		}
		delete(acknowledged, v)
	}
	if len(acknowledged) > 0 {
		t.Errorf("%v are not there", acknowledged)
	}
}

// testSharedHandover moves a group from one log to the other in the middle of its
// work. Whoever is overtaken finds out when it commits, and each record counts
// once.
func testSharedHandover(t *testing.T, la, lb stream.Log) {
	a, b := transactor(t, la), transactor(t, lb)
	in := topic(t, a, "in", 1)[0]
	out := topic(t, a, "out", 1)[0]
	const n = 40
	for i := range n {
		appendTo(t, a, in, strconv.Itoa(i))
	}
	_, end, err := a.Bounds(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	// turn works on some records as the owner by epoch, and then is overtaken.
	turn := func(l stream.Transactor, epoch int64) (done bool) {
		if err := l.Commit(unhurried(t), "g", map[stream.Partition]stream.Offset{in: {Next: stream.Keep, Epoch: epoch}}); err != nil {
			t.Fatal(err)
		}
		next := max(0, must(l.Committed(unhurried(t), "g"))(t)[in].Next)
		for range 3 {
			if next >= end {
				return true
			}
			batch := stream.Batch{MaxBytes: 64}
			if err := l.Read(unhurried(t), in, next, &batch); err != nil {
				t.Fatal(err)
			}
			tx := &stream.Tx{Group: "g", Offsets: map[stream.Partition]stream.Offset{in: {Next: batch.Next, Epoch: epoch}}}
			for _, r := range batch.Records {
				tx.Appends = append(tx.Appends, stream.Append{Partition: out, Records: records(string(r.Value))})
			}
			if _, err := l.Transact(unhurried(t), tx); err != nil {
				t.Fatal(err)
			}
			next = batch.Next
		}
		return false
	}
	for epoch := int64(1); ; epoch += 2 {
		if turn(a, epoch) || turn(b, epoch+1) {
			break
		}
		_, err := a.Transact(unhurried(t), &stream.Tx{
			Group: "g", Offsets: map[stream.Partition]stream.Offset{in: {Next: end, Epoch: epoch}},
			Appends: []stream.Append{{Partition: out, Records: records("zombie")}},
		})
		if !errors.Is(err, stream.ErrStale) {
			t.Fatalf("Transact of one that was overtaken = %v", err)
		}
	}
	var all []string
	for i := range n {
		all = append(all, strconv.Itoa(i))
	}
	want(t, "the output", read(t, b, out, 0), all)
}
