package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"slices"
	"strconv"
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

// leaveOpen makes a transaction of group "g" up to its end, and not that.
func leaveOpen(t *testing.T, l *Log, in, out stream.Partition, v string) (*group, *attempt) {
	t.Helper()
	g := l.group("g")
	size, err := l.check(ctx, out, values(v))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.takeOver(ctx); err != nil {
		t.Fatal(err)
	}
	g.queue = []*commit{{
		offsets: map[stream.Partition]stream.Offset{in: {Next: 1, Epoch: 1}},
		appends: []stream.Append{{Partition: out, Records: values(v)}}, counts: []int{1}, sizes: []int{size},
		done: make(chan committed, 1),
	}}
	a := g.take()
	for _, step := range []func(context.Context, *attempt) error{g.addPartitions, g.produceAll, g.commitOffsets} {
		if err := step(ctx, a); err != nil {
			t.Fatal(err)
		}
	}
	return g, a
}

// TestZombie: a log that stops in the middle of a transaction is fenced by the
// next committer of its group. Readers see nothing of it, before and after, and
// are not held up by what it left.
func TestZombie(t *testing.T) {
	_, brokers := cluster(t)
	zombie, l := dial(t, brokers, nil), dial(t, brokers, nil)
	in, out := newTopic(t, l, "in", 1)[0], newTopic(t, l, "out", 1)[0]
	if _, err := l.Append(ctx, out, values("before")); err != nil {
		t.Fatal(err)
	}
	g, a := leaveOpen(t, zombie, in, out, "zombie")
	if _, err := l.Append(ctx, out, values("after")); err != nil {
		t.Fatal(err)
	}
	if got, _ := all(t, l, out); !slices.Equal(got, []string{"before"}) {
		t.Errorf("while a transaction is open a reader sees %q", got)
	}
	if err := l.Commit(ctx, "g", map[stream.Partition]stream.Offset{in: {Next: stream.Keep, Epoch: 2}}); err != nil {
		t.Fatal(err)
	}
	if got, _ := all(t, l, out); !slices.Equal(got, []string{"before", "after"}) {
		t.Errorf("after it was fenced a reader sees %q", got)
	}
	if err := g.end(ctx, a); !errors.Is(err, errAgain) {
		t.Errorf("the zombie's end = %v, want %v", err, errAgain)
	}
	_, err := zombie.Transact(ctx, &stream.Tx{
		Group: "g", Offsets: map[stream.Partition]stream.Offset{in: {Next: 1, Epoch: 1}}, Appends: []stream.Append{{Partition: out, Records: values("again")}},
	})
	if !errors.Is(err, stream.ErrStale) {
		t.Errorf("the zombie's Transact = %v, want %v", err, stream.ErrStale)
	}
	if at, err := l.Committed(ctx, "g"); err != nil || at[in] != (stream.Offset{Next: stream.Keep, Epoch: 2}) {
		t.Errorf("Committed = %v, %v", at, err)
	}
	if got, _ := all(t, l, out); !slices.Equal(got, []string{"before", "after"}) {
		t.Errorf("in the end a reader sees %q", got)
	}
	// The markers have offsets, and no records.
	_, next, err := l.Bounds(ctx, out)
	if err != nil {
		t.Fatal(err)
	}
	var b stream.Batch
	if err := l.Read(ctx, out, next-1, &b); err != nil || len(b.Records) != 0 || b.Next != next {
		t.Errorf("Read of a marker = %v, next %d, %v", b.Records, b.Next, err)
	}
}

// TestGivenUpTransaction: the cluster aborts what a dead process left open.
func TestGivenUpTransaction(t *testing.T) {
	_, brokers := cluster(t)
	zombie, l := dial(t, brokers, &Options{Timeout: time.Second}), dial(t, brokers, nil)
	in, out := newTopic(t, l, "in", 1)[0], newTopic(t, l, "out", 1)[0]
	leaveOpen(t, zombie, in, out, "zombie")
	done := make(chan string, 1)
	go func() {
		for r, err := range stream.Tail(ctx, l, out, 0) {
			done <- fmt.Sprint(string(r.Value), err)
			return
		}
	}()
	if _, err := l.Append(ctx, out, values("after")); err != nil {
		t.Fatal(err)
	}
	if v := <-done; v != "after<nil>" {
		t.Errorf("a reader got %q", v)
	}
}

// TestLostCommit: the answer to the commit is lost, and before the log can ask
// again another one has taken the group over. It finds out what happened.
func TestLostCommit(t *testing.T) {
	for _, test := range []struct {
		name  string
		fate  fate // of the first EndTxn
		other bool // whether the other one commits this partition, too
		want  string
	}{
		{"committed", loseAnswer, false, "once"},
		{"aborted", loseIt, false, "once"},
		{"overwritten", loseAnswer, true, "unknown"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, brokers := cluster(t)
			w := &wire{}
			l, other := dial(t, brokers, &Options{Client: []kgo.Opt{w.opt()}}), dial(t, brokers, nil)
			in, out := newTopic(t, l, "in", 2), newTopic(t, l, "out", 1)[0]
			tx := func(v string) error {
				_, err := l.Transact(ctx, &stream.Tx{
					Group: "g", Offsets: map[stream.Partition]stream.Offset{in[0]: {Next: stream.Keep, Epoch: 1}},
					Appends: []stream.Append{{Partition: out, Records: values(v)}},
				})
				return err
			}
			if err := tx("first"); err != nil {
				t.Fatal(err)
			}
			ends := 0
			w.set(func(key int16) fate {
				if key != kmsg.EndTxn.Int16() {
					return pass
				}
				if ends++; ends == 1 {
					return test.fate
				}
				if ends == 2 { // it asks again, too late
					p := in[1]
					if test.other {
						p = in[0]
					}
					if err := other.Commit(ctx, "g", map[stream.Partition]stream.Offset{p: {Next: stream.Keep, Epoch: 1}}); err != nil {
						t.Error(err)
					}
				}
				return pass
			})
			err := tx("second")
			switch test.want {
			case "once":
				if err != nil {
					t.Errorf("Transact = %v", err)
				}
			case "unknown":
				if err == nil || !strings.Contains(err.Error(), "outcome unknown") {
					t.Errorf("Transact = %v, want that its outcome is not known", err)
				}
			}
			if got, _ := all(t, other, out); !slices.Equal(got, []string{"first", "second"}) {
				t.Errorf("the partition holds %q", got)
			}
		})
	}
}

// TestRestart: a cluster that kept its data on disk, and a log that lived on.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.DataDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	brokers := c.ListenAddrs()
	l := dial(t, brokers, nil)
	ps, out := newTopic(t, l, "t", 3), newTopic(t, l, "out", 1)[0]
	for _, p := range ps {
		if _, err := l.Append(ctx, p, values("before")); err != nil {
			t.Fatal(err)
		}
	}
	transact := func(next int64) {
		t.Helper()
		_, err := l.Transact(ctx, &stream.Tx{
			Group: "g", Offsets: map[stream.Partition]stream.Offset{ps[0]: {Next: next, Epoch: 3}},
			Appends: []stream.Append{{Partition: out, Records: values(strconv.FormatInt(next, 10))}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	transact(0)
	waiting := make(chan string, 1)
	go func() {
		for r, err := range stream.Tail(ctx, l, ps[1], 1) {
			waiting <- fmt.Sprint(string(r.Value), err)
			return
		}
	}()
	c.Close()
	var wg sync.WaitGroup
	for _, p := range ps {
		wg.Go(func() {
			if first, err := l.Append(ctx, p, values("meanwhile")); err != nil || first != 1 {
				t.Errorf("Append while the brokers were away = %d, %v", first, err)
			}
		})
	}
	var ports []int
	for _, b := range brokers {
		_, port, err := net.SplitHostPort(b)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, n)
	}
	cluster(t, kfake.Ports(ports...), kfake.DataDir(dir))
	wg.Wait()
	transact(1)
	if v := <-waiting; v != "meanwhile<nil>" {
		t.Errorf("the reader that waited got %q", v)
	}
	for _, p := range ps {
		if got, _ := all(t, l, p); !slices.Equal(got, []string{"before", "meanwhile"}) {
			t.Errorf("%v holds %q", p, got)
		}
	}
	if got, _ := all(t, l, out); !slices.Equal(got, []string{"0", "1"}) {
		t.Errorf("%v holds %q", out, got)
	}
	if at, err := l.Committed(ctx, "g"); err != nil || at[ps[0]] != (stream.Offset{Next: 1, Epoch: 3}) {
		t.Errorf("Committed = %v, %v", at, err)
	}
}

// TestNobodyAnswers: a cluster that went away for good is reported in time.
func TestNobodyAnswers(t *testing.T) {
	c, brokers := cluster(t)
	l := dial(t, brokers, &Options{Timeout: time.Second})
	p := newTopic(t, l, "t", 1)[0]
	c.Close()
	_, err := l.Append(ctx, p, values("x"))
	_, _, bounds := l.Bounds(ctx, p)
	_, offsets := l.Committed(ctx, "g")
	for what, err := range map[string]error{
		"Append": err, "Bounds": bounds, "Committed": offsets,
		"Commit":      l.Commit(ctx, "g", map[stream.Partition]stream.Offset{p: {}}),
		"Read":        l.Read(ctx, p, 0, new(stream.Batch)),
		"CreateTopic": l.CreateTopic(ctx, "other", nil),
	} {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s = %v, want %v", what, err, context.DeadlineExceeded)
		}
	}
	c1, cancel := context.WithCancel(ctx)
	cancelled := make(chan error, 1)
	go func() { cancelled <- l.Read(c1, p, 0, new(stream.Batch)) }()
	cancel()
	if err := <-cancelled; !errors.Is(err, context.Canceled) {
		t.Errorf("Read = %v", err)
	}
}

// TestTopicOptions: what a topic was made with is read back, from this Log and
// for topics that others made.
func TestTopicOptions(t *testing.T) {
	c, brokers := cluster(t)
	l := dial(t, brokers, &Options{Prefix: "p.", Replicas: 3})
	for i, o := range []stream.TopicOptions{
		{Partitions: 2, TombstoneKeep: 24 * time.Hour},
		{Partitions: 1, Retention: time.Hour, TombstoneKeep: time.Hour},
		{Partitions: 1, RetainBytes: 1 << 20, TombstoneKeep: time.Hour},
		{Partitions: 1, Compact: true, TombstoneKeep: time.Minute},
		{Partitions: 1, Compact: true, Retention: 36 * time.Hour, RetainBytes: 5000, TombstoneKeep: time.Minute},
	} {
		name := fmt.Sprint("t", i)
		for range 2 {
			if err := l.CreateTopic(ctx, name, &o); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := l.Topic(ctx, name); err != nil || got != o {
			t.Errorf("Topic = %+v, %v, want %+v", got, err, o)
		}
		other := o
		other.Retention += time.Second
		if err := l.CreateTopic(ctx, name, &other); !errors.Is(err, stream.ErrExists) {
			t.Errorf("CreateTopic with other options = %v", err)
		}
	}
	odd := stream.TopicOptions{Retention: time.Millisecond + 1, TombstoneKeep: 1}
	for range 2 {
		if err := l.CreateTopic(ctx, "odd", &odd); err != nil {
			t.Errorf("CreateTopic with parts of milliseconds = %v", err)
		}
	}
	if min := c.TopicInfo("p.t0").Configs["min.insync.replicas"]; min == nil || *min != "2" {
		t.Error("min.insync.replicas is not 2")
	}
	for _, name := range []string{"a b", "ü", "a/b", ".", "..", "a.b", "ashlar-name.YQ", "a"} { // Kafka allows not all of them
		p := newTopic(t, l, name, 1)[0]
		if _, err := l.Append(ctx, p, values(name)); err != nil {
			t.Fatal(err)
		}
		if got, _ := all(t, l, p); !slices.Equal(got, []string{name}) {
			t.Errorf("topic %q holds %q", name, got)
		}
		if err := l.Commit(ctx, "names", map[stream.Partition]stream.Offset{p: {Next: 1}}); err != nil {
			t.Fatal(err)
		}
		if at, err := l.Committed(ctx, "names"); err != nil || at[p].Next != 1 {
			t.Errorf("Committed of topic %q = %v, %v", name, at, err)
		}
	}
	// Names that differ in this only are the same in the brokers' metrics.
	if err := l.CreateTopic(ctx, "a_b", nil); !errors.Is(err, stream.ErrInvalid) {
		t.Errorf("CreateTopic(a_b) beside a.b = %v", err)
	}
	for name, o := range map[string]*Options{
		"Prefix": {Prefix: "a/"}, "Replicas": {Replicas: 1, MinInSync: 2}, "MaxBatch": {MaxBatch: 10}, "Timeout": {Timeout: 1},
	} {
		if l, err := Dial(ctx, brokers, o); !errors.Is(err, stream.ErrInvalid) {
			t.Errorf("Dial with a bad %s = %v", name, err)
			if err == nil {
				l.Close()
			}
		}
	}
	if _, err := Dial(ctx, nil, nil); !errors.Is(err, stream.ErrInvalid) {
		t.Errorf("Dial to nobody = %v", err)
	}
}

// TestVanished: what compaction and deletion leave can be read over.
func TestVanished(t *testing.T) {
	c, brokers := cluster(t)
	l := dial(t, brokers, nil)
	p := newTopic(t, l, "t", 1)[0]
	for i := range 5 {
		if _, err := l.Append(ctx, p, values(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.DeleteRecords("t", 0, 3); err != nil {
		t.Fatal(err)
	}
	var off *stream.OffsetError
	if err := l.Read(ctx, p, 2, new(stream.Batch)); !errors.As(err, &off) || off.First != 3 || off.Next != 5 {
		t.Errorf("Read of what was deleted = %v", err)
	}
	if got, _ := all(t, l, p); !slices.Equal(got, []string{"3", "4"}) {
		t.Errorf("the partition holds %q", got)
	}
	if err := l.CreateTopic(ctx, "keyed", &stream.TopicOptions{Compact: true}); err != nil {
		t.Fatal(err)
	}
	keyed := stream.Partition{Topic: "keyed"}
	for i := range 6 {
		r := stream.Record{Key: []byte{'a' + byte(i%2)}, Value: strconv.AppendInt(nil, int64(i), 10)}
		if _, err := l.Append(ctx, keyed, []stream.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	c.Compact()
	got, at := all(t, l, keyed)
	if len(got) < 2 || !slices.Equal(got[len(got)-2:], []string{"4", "5"}) || at[len(at)-1] != 5 {
		t.Errorf("the compacted partition holds %q at %d", got, at)
	}
}

// TestManyWaiting lets more Reads wait than there are connections for that, some
// at the same place of one partition and some at others.
func TestManyWaiting(t *testing.T) {
	_, brokers := cluster(t)
	l := dial(t, brokers, nil)
	ps := newTopic(t, l, "t", 20)
	got := make(chan string, 3*len(ps))
	waiting := func() (n int) {
		l.wait.mu.Lock()
		defer l.wait.mu.Unlock()
		for _, b := range l.wait.brokers {
			n += len(b.new)
			for _, busy := range b.busy {
				if busy {
					n++
				}
			}
		}
		return n
	}
	for _, p := range ps {
		for range 3 {
			go func() {
				for r, err := range stream.Tail(ctx, l, p, 0) {
					if err != nil {
						got <- err.Error()
					} else {
						got <- string(r.Value)
						clear(r.Value) // it is this reader's
					}
					return
				}
			}()
		}
		until(t, "somebody waits", func() bool { return waiting() > 0 })
	}
	want := map[string]int{}
	for i, p := range ps {
		v := strconv.Itoa(i)
		if _, err := l.Append(ctx, p, values(v)); err != nil {
			t.Fatal(err)
		}
		want[v] = 3
	}
	for range 3 * len(ps) {
		want[<-got]--
	}
	for v, n := range want {
		if n != 0 {
			t.Errorf("%q: %d readers too few", v, n)
		}
	}
}

// TestCompression: every codec is read back.
func TestCompression(t *testing.T) {
	_, brokers := cluster(t)
	text := strings.Repeat("compress me ", 1000)
	for i, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		l := dial(t, brokers, &Options{Compression: []kgo.CompressionCodec{codec}})
		p := newTopic(t, l, fmt.Sprint("t", i), 1)[0]
		if _, err := l.Append(ctx, p, values(text, "short", text)); err != nil {
			t.Fatal(err)
		}
		if got, _ := all(t, l, p); !slices.Equal(got, []string{text, "short", text}) {
			t.Errorf("codec %d: the partition holds %.50q", i, got)
		}
	}
}

// TestNoLeaks: Close ends every goroutine.
func TestNoLeaks(t *testing.T) {
	_, brokers := cluster(t)
	count := func() int {
		buf := make([]byte, 4<<20)
		n := 0
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "adapters/kafka.(*") || strings.Contains(g, "pkg/kgo.") {
				n++
			}
		}
		return n
	}
	before := count()
	for range 3 {
		l, err := Dial(ctx, brokers, nil)
		if err != nil {
			t.Fatal(err)
		}
		p := newTopic(t, l, "t", 1)[0]
		if _, err := l.Append(ctx, p, values("x")); err != nil {
			t.Fatal(err)
		}
		_, end, err := l.Bounds(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- l.Read(ctx, p, end, new(stream.Batch)) }()
		until(t, "the reader waits", func() bool {
			l.wait.mu.Lock()
			defer l.wait.mu.Unlock()
			return len(l.wait.brokers) > 0
		})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, stream.ErrClosed) {
			t.Errorf("Read = %v", err)
		}
	}
	until(t, "all goroutines have ended", func() bool { return count() <= before })
}

// TestNote: a golden note, and what is taken for none.
func TestNote(t *testing.T) {
	n := note{stream.Offset{Next: 42, Epoch: 7}, "0123456789abcdef"}
	const golden = "ashlar1 epoch=7 next=42 by=0123456789abcdef crc=3d7a2624"
	if n.String() != golden {
		t.Errorf("a note is %q, want %q", n, golden)
	}
	if got, err := readNote(42, golden); err != nil || got != n {
		t.Errorf("readNote = %v, %v", got, err)
	}
	for _, metadata := range []string{"", "from a tool", golden} {
		if got, err := readNote(40, metadata); err != nil || got != (note{Offset: stream.Offset{Next: 40}}) {
			t.Errorf("readNote(40, %q) = %v, %v", metadata, got, err)
		}
	}
	if _, err := readNote(42, strings.Replace(golden, "epoch=7", "epoch=8", 1)); !errors.Is(err, stream.ErrCorrupt) {
		t.Errorf("readNote of a damaged note = %v", err)
	}
}

func FuzzNote(f *testing.F) {
	f.Add(int64(42), note{stream.Offset{Next: 42, Epoch: 7}, "0123456789abcdef"}.String())
	f.Add(int64(0), note{stream.Offset{Next: stream.Keep}, "x"}.String())
	f.Add(int64(1), "ashlar1 epoch=1 next=1 by= crc=00000000")
	f.Fuzz(func(t *testing.T, offset int64, metadata string) {
		n, err := readNote(offset, metadata)
		if err == nil && n.by != "" && (n.String() != metadata || n.offset() != offset) {
			t.Errorf("readNote(%d, %q) = %v", offset, metadata, n)
		}
	})
}

// FuzzBatch encodes records made of its input and has the client library, which
// brokers and other programs agree with, decode them.
func FuzzBatch(f *testing.F) {
	snappy, err := kgo.DefaultCompressor(kgo.SnappyCompression())
	if err != nil {
		f.Fatal(err)
	}
	decompressor := kgo.DefaultDecompressor()
	f.Add([]byte("key"), []byte("value"), int64(0), "h", []byte{}, uint8(3))
	f.Add([]byte{}, []byte{}, int64(-1), "", []byte("v"), uint8(0))
	f.Add([]byte("k"), bytes.Repeat([]byte("x"), 300), int64(1)<<40, "é", []byte(nil), uint8(255))
	f.Fuzz(func(t *testing.T, key, value []byte, ms int64, name string, header []byte, n uint8) {
		ms %= 1 << 50
		var in []stream.Record
		for i := range 1 + int(n)%5 {
			r := stream.Record{Offset: int64(i), Key: key, Value: value, Time: time.UnixMilli(ms - int64(i)*1000).UTC()}
			if len(key) == 0 {
				r.Key = nil
			}
			if i%2 == 1 {
				r.Value, r.Time = nil, time.Time{}
			}
			for range i {
				r.Headers = append(r.Headers, stream.Header{Key: name, Value: header})
			}
			if r.Time.UnixMilli() == noTime {
				r.Time = time.Time{}
			}
			in = append(in, r)
		}
		var c kgo.Compressor
		if n >= 128 {
			c = snappy
		}
		b := encodeBatch([][]stream.Record{in[:1], in[1:]}, producer{5, 6}, 7, false, c)
		if len(b) > batchHeader+recordsSize(in) {
			t.Errorf("%d bytes, above the %d announced", len(b), batchHeader+recordsSize(in))
		}
		binary.BigEndian.PutUint64(b, 0) // as a broker does
		fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{}, &kmsg.FetchResponseTopicPartition{RecordBatches: b}, decompressor, nil)
		if fp.Err != nil || next != int64(len(in)) {
			t.Fatalf("decoding to %d: %v", next, fp.Err)
		}
		l := &Log{}
		var out stream.Batch
		out.MaxBytes = 1 << 30
		l.deliver(ahead{records: fp.Records, next: next}, &out)
		for i := range in {
			got := out.Records[i]
			if len(got.Key) == 0 {
				got.Key = nil
			}
			for k := range got.Headers {
				if len(got.Headers[k].Value) == 0 {
					got.Headers[k].Value = header
				}
			}
			if bytes.Equal(got.Value, in[i].Value) && (got.Value == nil) == (in[i].Value == nil) {
				got.Value = in[i].Value
			}
			if !reflect.DeepEqual(got, in[i]) {
				t.Errorf("record %d is %+v, want %+v", i, got, in[i])
			}
		}
	})
}

// TestCodes: what the house has a name for.
func TestCodes(t *testing.T) {
	p := stream.Partition{Topic: "t"}
	for code, want := range map[*kerr.Error]error{
		kerr.UnknownTopicOrPartition: stream.ErrNotFound, kerr.MessageTooLarge: stream.ErrTooLarge,
		kerr.InvalidRecord: stream.ErrInvalid, kerr.TopicAuthorizationFailed: kerr.TopicAuthorizationFailed,
	} {
		if err := codeErr(code.Code, p); !errors.Is(err, want) {
			t.Errorf("%v becomes %v", code, err)
		}
	}
	if err := codeErr(0, p); err != nil {
		t.Errorf("0 becomes %v", err)
	}
}
