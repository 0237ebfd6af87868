package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ashlar-go/ashlar/stream"
)

// newTopic makes a topic and returns its partitions.
func newTopic(t testing.TB, l *Log, name string, n int) []stream.Partition {
	t.Helper()
	if err := l.CreateTopic(ctx, name, &stream.TopicOptions{Partitions: n}); err != nil {
		t.Fatal(err)
	}
	var ps []stream.Partition
	for i := range n {
		ps = append(ps, stream.Partition{Topic: name, Number: i})
	}
	return ps
}

func values(vs ...string) []stream.Record {
	var out []stream.Record
	for _, v := range vs {
		out = append(out, stream.Record{Value: []byte(v)})
	}
	return out
}

// all returns the values of a partition and their offsets.
func all(t testing.TB, l *Log, p stream.Partition) (vs []string, at []int64) {
	t.Helper()
	first, next, err := l.Bounds(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	c, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for r, err := range stream.Scan(c, l, p, first, next) {
		if err != nil {
			t.Fatal(err)
		}
		vs, at = append(vs, string(r.Value)), append(at, r.Offset)
	}
	return vs, at
}

// until waits for a condition that has to come about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestAppendFaults: whatever a broker answers in passing, the record is there
// once, where Append says.
func TestAppendFaults(t *testing.T) {
	for _, fault := range []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.UnknownTopicOrPartition, kerr.FencedLeaderEpoch,
		kerr.NotEnoughReplicas, kerr.KafkaStorageError, kerr.CoordinatorNotAvailable, kerr.NetworkException,
		kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, // with these the record is stored all the same
		kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping,
	} {
		t.Run(fault.Message, func(t *testing.T) {
			t.Parallel()
			c, brokers := cluster(t)
			l := dial(t, brokers, nil)
			p := newTopic(t, l, "t", 1)[0]
			want := []string{"before", "meanwhile", "after"}
			for i, v := range want {
				var h *kfake.FaultHandle
				if v == "meanwhile" {
					h = c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: fault, Count: 2})
				}
				first, err := l.Append(ctx, p, values(v))
				if err != nil || first != int64(i) {
					t.Errorf("Append(%s) = %d, %v", v, first, err)
				}
				if h != nil && h.Hits() != 2 {
					t.Errorf("%d faults", h.Hits())
				}
			}
			if got, _ := all(t, l, p); !slices.Equal(got, want) {
				t.Errorf("the partition holds %q, want %q", got, want)
			}
		})
	}
}

// TestRefused: an append that the brokers refuse does not take others with it
// that shared its batch.
func TestRefused(t *testing.T) {
	c, brokers := cluster(t)
	l := dial(t, brokers, nil)
	p := newTopic(t, l, "t", 1)[0]
	if _, err := l.Append(ctx, p, values("first")); err != nil {
		t.Fatal(err)
	}
	hold := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition, Count: -1})
	holds := func(what string) func(kmsg.Request) bool {
		return func(r kmsg.Request) bool {
			return strings.Contains(string(r.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records), what)
		}
	}
	c.Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidTimestamp, Count: -1, When: holds("future")},
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.MessageTooLarge, Count: -1, When: holds("large")},
	)
	appends := map[string]error{"good": nil, "future": stream.ErrInvalid, "large": stream.ErrTooLarge, "fine": nil}
	var wg sync.WaitGroup
	waiting := func() int {
		l.mu.Lock()
		n := l.lanes[p]
		l.mu.Unlock()
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.queue)
	}
	put := func(v string, want error) {
		if _, err := l.Append(ctx, p, values(v)); !errors.Is(err, want) {
			t.Errorf("Append(%s) = %v, want %v", v, err, want)
		}
	}
	wg.Go(func() { put("held", nil) })
	if err := hold.Wait(ctx, 1); err != nil {
		t.Fatal(err)
	}
	for v, want := range appends {
		wg.Go(func() { put(v, want) })
	}
	until(t, "others wait behind the one that is held", func() bool { return waiting() == len(appends) })
	hold.Remove()
	wg.Wait()
	got, _ := all(t, l, p)
	slices.Sort(got)
	if want := []string{"fine", "first", "good", "held"}; !slices.Equal(got, want) {
		t.Errorf("the partition holds %q, want %q", got, want)
	}
}

// TestGivenUp: an append whose context ends in the queue is not written, one that
// is on its way may be; neither waits for the cluster.
func TestGivenUp(t *testing.T) {
	c, brokers := cluster(t)
	l := dial(t, brokers, nil)
	p := newTopic(t, l, "t", 1)[0]
	if _, err := l.Append(ctx, p, values("a")); err != nil {
		t.Fatal(err)
	}
	hold := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	c1, cancel1 := context.WithCancel(ctx)
	c2, cancel2 := context.WithCancel(ctx)
	done := make(chan error, 2)
	go func() {
		_, err := l.Append(c1, p, values("on its way"))
		done <- err
	}()
	if err := hold.Wait(ctx, 1); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := l.Append(c2, p, values("in the queue"))
		done <- err
	}()
	until(t, "the second waits", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lanes[p].mu.Lock()
		defer l.lanes[p].mu.Unlock()
		return len(l.lanes[p].queue) == 1
	})
	cancel2()
	cancel1()
	for range 2 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Append = %v", err)
		}
	}
	hold.Remove()
	if _, err := l.Append(ctx, p, values("b")); err != nil {
		t.Fatal(err)
	}
	if got, _ := all(t, l, p); !slices.Equal(got, []string{"a", "on its way", "b"}) {
		t.Errorf("the partition holds %q", got)
	}
}

// TestTimeout: a cluster that does not take a record for Options.Timeout is
// reported, and the log works again when the cluster does.
func TestTimeout(t *testing.T) {
	c, brokers := cluster(t)
	l := dial(t, brokers, &Options{Timeout: time.Second})
	p := newTopic(t, l, "t", 1)[0]
	commit := func() error {
		return l.Commit(ctx, "g", map[stream.Partition]stream.Offset{p: {Next: 0}})
	}
	h := c.Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1},
		kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TopLevel: true, Err: kerr.CoordinatorLoadInProgress, Count: -1},
	)
	if _, err := l.Append(ctx, p, values("lost")); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, kerr.NotEnoughReplicas) && !strings.Contains(err.Error(), "NOT_ENOUGH_REPLICAS") {
		t.Errorf("Append = %v", err)
	}
	if err := commit(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Commit = %v", err)
	}
	h.Remove()
	if _, err := l.Append(ctx, p, values("kept")); err != nil {
		t.Error(err)
	}
	if err := commit(); err != nil {
		t.Error(err)
	}
	if got, _ := all(t, l, p); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("the partition holds %q", got)
	}
}

// TestTransactionFaults: a fault in any step of a transaction, and it is done once.
func TestTransactionFaults(t *testing.T) {
	type step struct {
		key      kmsg.Key
		topLevel bool
		errs     []*kerr.Error
	}
	coordinator := []*kerr.Error{kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress}
	for _, s := range []step{
		{kmsg.InitProducerID, true, append(coordinator, kerr.ConcurrentTransactions)},
		{kmsg.AddPartitionsToTxn, false, append(coordinator, kerr.ConcurrentTransactions, kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.InvalidTxnState)},
		{kmsg.Produce, false, []*kerr.Error{kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.OutOfOrderSequenceNumber, kerr.InvalidProducerEpoch, kerr.InvalidTxnState, kerr.TransactionAbortable}},
		{kmsg.AddOffsetsToTxn, true, append(coordinator, kerr.ConcurrentTransactions, kerr.ProducerFenced)},
		{kmsg.TxnOffsetCommit, false, append(coordinator, kerr.InvalidProducerEpoch)},
		{kmsg.EndTxn, true, append(coordinator, kerr.ConcurrentTransactions, kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.RequestTimedOut)},
	} {
		for _, fault := range s.errs {
			t.Run(s.key.Name()+"/"+fault.Message, func(t *testing.T) {
				t.Parallel()
				c, brokers := cluster(t)
				l := dial(t, brokers, nil)
				in := newTopic(t, l, "in", 1)[0]
				out := newTopic(t, l, "out", 2)
				h := c.Fault(kfake.Fault{Keys: []kmsg.Key{s.key}, Err: fault, TopLevel: s.topLevel, Count: 2})
				for i := range 3 {
					v := fmt.Sprint(i)
					_, err := l.Transact(ctx, &stream.Tx{
						Group: "g", Offsets: map[stream.Partition]stream.Offset{in: {Next: int64(i), Epoch: 1}},
						Appends: []stream.Append{{Partition: out[0], Records: values(v)}, {Partition: out[1], Records: values(v)}},
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				if h.Hits() == 0 {
					t.Error("nothing was at fault")
				}
				for _, p := range out {
					if got, _ := all(t, l, p); !slices.Equal(got, []string{"0", "1", "2"}) {
						t.Errorf("%v holds %q", p, got)
					}
				}
				if at, err := l.Committed(ctx, "g"); err != nil || at[in] != (stream.Offset{Next: 2, Epoch: 1}) {
					t.Errorf("Committed = %v, %v", at, err)
				}
			})
		}
	}
}

// TestLostAnswers loses each request of each kind, or its answer, once.
func TestLostAnswers(t *testing.T) {
	for _, key := range []kmsg.Key{
		kmsg.Produce, kmsg.Fetch, kmsg.ListOffsets, kmsg.Metadata, kmsg.InitProducerID, kmsg.AddPartitionsToTxn,
		kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.OffsetFetch, kmsg.CreateTopics,
	} {
		for _, f := range []fate{loseIt, loseAnswer} {
			t.Run(fmt.Sprint(key.Name(), "/", f), func(t *testing.T) {
				t.Parallel()
				_, brokers := cluster(t)
				w := &wire{}
				l := dial(t, brokers, &Options{Client: []kgo.Opt{w.opt()}})
				done := false
				w.set(func(k int16) fate {
					if k != key.Int16() || done {
						return pass
					}
					done = true
					return f
				})
				in := newTopic(t, l, "in", 1)[0]
				for i := range 2 {
					if first, err := l.Append(ctx, in, values(fmt.Sprint(i))); err != nil || first != int64(i) {
						t.Fatalf("Append = %d, %v", first, err)
					}
				}
				for i := range 2 {
					_, err := l.Transact(ctx, &stream.Tx{
						Group: "g", Offsets: map[stream.Partition]stream.Offset{in: {Next: int64(i + 1)}},
						Appends: []stream.Append{{Partition: in, Records: values(fmt.Sprint(2 + i))}},
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				if got, _ := all(t, l, in); !slices.Equal(got, []string{"0", "1", "2", "3"}) {
					t.Errorf("the partition holds %q", got)
				}
				if at, err := l.Committed(ctx, "g"); err != nil || at[in].Next != 2 {
					t.Errorf("Committed = %v, %v", at, err)
				}
				if w.count() != 1 {
					t.Errorf("%d requests were lost", w.count())
				}
			})
		}
	}
}

// TestCluster lets writers and a group's transactions run while connections
// break, leaders and coordinators move. What was acknowledged is there once and
// whole, in its writer's order.
func TestCluster(t *testing.T) {
	const seed, writers, each, size = 11, 4, 40, 3
	c, brokers := cluster(t)
	w := &wire{}
	l := dial(t, brokers, &Options{Client: []kgo.Opt{w.opt()}})
	ps := newTopic(t, l, "t", 3)
	out := newTopic(t, l, "out", 2)
	rng := rand.New(rand.NewPCG(seed, 1))
	requests := 0
	w.set(func(int16) fate { // holds w's lock
		if requests++; requests%50 == 0 {
			c.ShufflePartitionLeaders()
		}
		if requests%80 == 0 {
			c.RehashCoordinators()
		}
		switch rng.IntN(40) {
		case 0:
			return loseIt
		case 1:
			return loseAnswer
		}
		return pass
	})
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for k := range each {
				var vs []string
				for m := range size {
					vs = append(vs, fmt.Sprintf("%d %d %d", i, k, m))
				}
				if _, err := l.Append(ctx, ps[i%len(ps)], values(vs...)); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for k := range each / 2 {
				v := fmt.Sprintf("%d %d", i, k)
				_, err := l.Transact(ctx, &stream.Tx{
					Group: "g", Offsets: map[stream.Partition]stream.Offset{{Topic: "t", Number: i % len(ps)}: {Next: 1, Epoch: 1}},
					Appends: []stream.Append{{Partition: out[0], Records: values(v)}, {Partition: out[1], Records: values(v)}},
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	w.set(nil)
	next := map[int]int{}
	for _, p := range ps {
		got, at := all(t, l, p)
		for i := 0; i < len(got); i += size {
			var who, k int
			fmt.Sscanf(got[i], "%d %d 0", &who, &k)
			for m := range size {
				if i+m >= len(got) || got[i+m] != fmt.Sprintf("%d %d %d", who, k, m) || at[i+m] != at[i]+int64(m) {
					t.Fatalf("seed %d: %v is not whole at %d: %q", seed, p, at[i], got[i:])
				}
			}
			if next[who] != k {
				t.Fatalf("seed %d: writer %d: batch %d, want %d", seed, who, k, next[who])
			}
			next[who]++
		}
	}
	for i := range writers {
		if next[i] != each {
			t.Errorf("seed %d: writer %d has %d batches, want %d", seed, i, next[i], each)
		}
	}
	for _, p := range out {
		got, _ := all(t, l, p)
		slices.Sort(got)
		if n := len(got); n != writers*each/2 || len(slices.Compact(got)) != n {
			t.Errorf("seed %d: %v holds %d records, want %d different ones", seed, p, n, writers*each/2)
		}
	}
	if w.count() < 20 {
		t.Errorf("only %d requests were lost", w.count())
	}
}
