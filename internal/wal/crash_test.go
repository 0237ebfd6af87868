package wal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/internal/wal"
)

// full runs the crash tests at full size.
var full = os.Getenv("ASHLAR_FULL") != ""

func scaled(few, all int) int {
	if full {
		return all
	}
	return few
}

// A crashRun appends, truncates and syncs at random until the power is cut. What
// is found afterwards must be one of the states since the last sync: the log
// keeps a prefix of what was written.
type crashRun struct {
	t    *testing.T
	name string
	sim  *vfs.Sim
	rng  *rand.Rand
	n    int
	size int // of most records: equal ones are what a stale frame could hide among
	may  [][]rec
}

func newCrashRun(t *testing.T, seed uint64, name string) *crashRun {
	rng := rand.New(rand.NewPCG(seed, 7))
	return &crashRun{t: t, name: name, sim: vfs.NewSim(), rng: rng, size: 8 * rng.IntN(60), may: [][]rec{nil}}
}

func (r *crashRun) cut(n, steps int) (ops int) {
	before := r.sim.Ops()
	r.sim.CutAt(n)
	l, err := wal.Open("log", &wal.Options{SegmentSize: 4096, FS: r.sim})
	if err == nil {
		var m []rec
		if err = r.check(l); err == nil {
			m = r.may[0]
		}
		for n := 0; n < steps && err == nil; n++ {
			m, err = r.step(l, m)
		}
		if err == nil && r.rng.IntN(4) == 0 {
			if err = l.Close(); err == nil {
				r.may = [][]rec{m}
			}
		}
	}
	if err != nil && !errors.Is(err, vfs.ErrPowerCut) {
		r.t.Fatalf("%s: %v", r.name, err)
	}
	ops = r.sim.Ops() - before
	if l != nil {
		defer l.Close()
	}
	if r.rng.IntN(5) == 0 {
		r.sim = r.sim.Kill()
	} else {
		r.sim = r.sim.Crash(r.rng.Uint64())
	}
	return ops
}

func (r *crashRun) step(l *wal.Log, m []rec) ([]rec, error) {
	data := func() string {
		r.n++
		size := r.size
		if r.rng.IntN(10) == 0 {
			size = r.rng.IntN(3000)
		}
		return fmt.Sprintf("%08d", r.n) + strings.Repeat("x", size)
	}
	switch op := r.rng.IntN(20); {
	case op < 9:
		var b wal.Batch
		var ds []string
		for range 1 + r.rng.IntN(8) {
			ds = append(ds, data())
			if err := b.Add([]byte(ds[len(ds)-1])); err != nil {
				r.t.Fatal(err)
			}
		}
		// Where the records will be is not known before: without a change of
		// segment they follow each other, and positions do not skip at one.
		pos := l.End()
		for _, d := range ds {
			m = append(slices.Clone(m), rec{pos, d})
			r.may = append(r.may, m)
			pos += uint64(16 + (len(d)+7)/8*8)
		}
		_, err := l.AppendBatch(&b)
		if err == nil && b.Pos(0) != m[len(m)-len(ds)].pos {
			r.t.Fatalf("%s: record at %d, want %d", r.name, b.Pos(0), m[len(m)-len(ds)].pos)
		}
		return m, err
	case op < 14:
		err := l.Sync(ctx, l.End())
		if err == nil {
			r.may = [][]rec{m}
		}
		return m, err
	case op < 17 && len(m) > 0:
		i := r.rng.IntN(len(m))
		pos := m[i].pos
		m = slices.Clone(m[:i])
		r.may = append(r.may, m)
		_, err := l.TruncateFrom(pos)
		return m, err
	case len(m) > 0:
		i := r.rng.IntN(len(m))
		pos := m[i].pos
		m = slices.Clone(m[i:])
		r.may = append(r.may, m)
		_, err := l.TruncateBefore(pos)
		return m, err
	}
	return m, nil
}

// check fails the test unless what the log holds is allowed. Its error is one of
// reading: the power may be cut by what the log does in the background.
func (r *crashRun) check(l *wal.Log) error {
	r.t.Helper()
	var got []rec
	for x, err := range l.Replay(0) {
		if err != nil {
			return err
		}
		got = append(got, rec{x.Pos, string(x.Data)})
	}
	for _, m := range r.may {
		if slices.Equal(m, got) {
			r.may = [][]rec{m}
			for _, x := range got {
				data, err := l.Read(x.pos, nil)
				if err != nil {
					return err
				}
				if string(data) != x.data {
					r.t.Fatalf("%s: Read(%d) = %.20q, want %.20q", r.name, x.pos, data, x.data)
				}
			}
			return nil
		}
	}
	short := func(m []rec) (s []string) {
		for _, x := range m {
			s = append(s, fmt.Sprintf("%d:%.8s", x.pos, x.data))
		}
		return s
	}
	text := fmt.Sprintf("%s: found\n%v\nallowed", r.name, short(got))
	for _, m := range r.may {
		text += fmt.Sprint("\n", short(m))
	}
	r.t.Fatal(text)
	return nil
}

// TestPowerCut cuts the power at every call of random runs, and again while the
// log recovers.
func TestPowerCut(t *testing.T) {
	const steps = 30
	want := scaled(2500, 40000)
	for seed, cuts := uint64(0), 0; cuts < want; seed++ {
		ops := newCrashRun(t, seed, "dry").cut(0, steps)
		for n := 1; n <= ops && cuts < want; n++ {
			r := newCrashRun(t, seed, fmt.Sprintf("seed %d cut %d", seed, n))
			r.cut(n, steps)
			cuts++
			for range r.rng.IntN(4) {
				r.cut(1+r.rng.IntN(25), 6)
				cuts++
			}
			r.cut(0, 4)
			r.cut(0, 0)
		}
	}
}

// TestStaleFrames: whole frames of an unfinished write stand behind its first
// lost sector. New records of the same sizes must not make them follow again.
func TestStaleFrames(t *testing.T) {
	for seed := range uint64(scaled(50, 400)) {
		sim := vfs.NewSim()
		opts := &wal.Options{FS: sim}
		l := open(t, "log", opts)
		add := func(l *wal.Log, what string, n int) {
			var b wal.Batch
			for i := range n {
				if err := b.Add(fmt.Appendf(nil, "%s %2d %s", what, i, strings.Repeat("x", 600))); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := l.AppendBatch(&b); err != nil {
				t.Fatal(err)
			}
		}
		add(l, "first", 8)
		after := sim.Crash(seed)
		l.Close()
		opts.FS = after
		l = open(t, "log", opts)
		kept := replay(t, l, 0)
		add(l, "other", 1)
		if err := l.Sync(ctx, l.End()); err != nil {
			t.Fatal(err)
		}
		opts.FS = after.Crash(seed)
		l.Close()
		l = open(t, "log", opts)
		got := replay(t, l, 0)
		if len(got) != len(kept)+1 || !strings.HasPrefix(got[len(kept)].data, "other") {
			t.Fatalf("seed %d: %d records, want %d and one more", seed, len(got), len(kept))
		}
		l.Close()
	}
}

// TestLostHeader: a power cut loses the header of the last segment and the record
// before it, but not what follows. Another segment begins at the same position,
// and of its writes one is lost: the old frame there must not stand in for it.
func TestLostHeader(t *testing.T) {
	data := func(life string, i int) string { return fmt.Sprintf("%s %2d %s", life, i, strings.Repeat("x", 400)) }
	frameSize := 16 + (len(data("first", 0))+7)/8*8
	add := func(l *wal.Log, life string, i int) {
		if _, _, err := l.Append([]byte(data(life, i))); err != nil {
			t.Fatal(err)
		}
	}
	// frame finds a record's file, where its frame begins, and the file's bytes.
	frame := func(fs *vfs.Sim, record string) (string, int, []byte) {
		names, err := fs.List("log")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			b, err := vfs.ReadFile(fs, "log/"+name, 1<<20)
			if i := strings.Index(string(b), record); err == nil && i >= 0 {
				return "log/" + name, i - 16, b
			}
		}
		t.Fatalf("no file has %.10q", record)
		return "", 0, nil
	}
	patch := func(fs *vfs.Sim, name string, off int, b []byte) {
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt(b, int64(off)); err != nil {
			t.Fatal(err)
		}
	}

	opts := &wal.Options{SegmentSize: 4096}
	sim := vfs.NewSim()
	opts.FS = sim
	l := open(t, "log", opts)
	for i := range 12 {
		for i == 6 && l.Stats().Filled == 0 { // the next segment, asked for at half
			runtime.Gosched()
		}
		add(l, "first", i)
	}
	lost := sim.Kill()
	l.Close()
	one, _, _ := frame(lost, data("first", 0))
	two, _, old := frame(lost, data("first", 11))
	begin := 0
	for name := one; name == one; name, _, _ = frame(lost, data("first", begin)) {
		begin++
	}
	if one == two || begin > 9 {
		t.Fatalf("the second segment begins with record %d of 12, want three in it", begin)
	}
	_, before, _ := frame(lost, data("first", begin-1))
	_, stale, _ := frame(lost, data("first", begin+1))
	patch(lost, one, before, make([]byte, frameSize))
	patch(lost, two, 0, make([]byte, 512))

	opts.FS = lost
	l = open(t, "log", opts)
	want := replay(t, l, 0)
	if len(want) != begin-1 {
		t.Fatalf("%d records after the first cut, want %d", len(want), begin-1)
	}
	for i := begin - 1; i < begin+3; i++ {
		add(l, "other", i)
	}
	want = replay(t, l, 0)
	again := lost.Kill()
	l.Close()
	name, off, _ := frame(again, data("other", begin+1))
	if off != stale {
		t.Fatalf("the record stands at %d, the old one at %d: the test proves nothing", off, stale)
	}
	patch(again, name, off, old[off:off+frameSize])

	opts.FS = again
	l = open(t, "log", opts)
	equal(t, "records after the second cut", replay(t, l, 0), want[:begin+1])
	l.Close()
}

// image writes n records, synced one by one, and returns the disk as a killed
// process leaves it. Segments are of 4 KiB.
func image(t testing.TB, n int, end func(*wal.Log)) (*vfs.Sim, []rec) {
	sim := vfs.NewSim()
	l := open(t, "log", &wal.Options{SegmentSize: 4096, FS: sim})
	var recs []rec
	for i := range n {
		d := fmt.Sprintf("%d:%s", i, strings.Repeat("y", 100+i%50))
		pos, e, err := l.Append([]byte(d))
		if err == nil {
			err = l.Sync(ctx, e)
		}
		if err != nil {
			t.Fatal(err)
		}
		recs = append(recs, rec{pos, d})
	}
	if end != nil {
		end(l)
	}
	killed := sim.Crash(1)
	l.Close()
	return killed, recs
}

// TestDamage flips a bit of a record in the middle: Refuse names the place and
// changes nothing, Skip leaves the record out and reports it.
func TestDamage(t *testing.T) {
	sim, recs := image(t, 100, nil)
	const hit = 40
	probe := open(t, "log", &wal.Options{SegmentSize: 4096, FS: sim.Crash(1)})
	first := probe.Head()
	probe.Close()
	// Find the record's file and offset by its content.
	names, err := sim.List("log")
	if err != nil {
		t.Fatal(err)
	}
	var file string
	var off int64
	for _, name := range names {
		if !strings.HasSuffix(name, ".wal") {
			continue
		}
		data, err := vfs.ReadFile(sim, "log/"+name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if i := strings.Index(string(data), recs[hit].data); i >= 0 {
			file, off = "log/"+name, int64(i)
		}
	}
	if err := sim.Flip(file, off+7, 2); err != nil {
		t.Fatal(err)
	}
	before := sim.Ops()
	_, err = wal.Open("log", &wal.Options{SegmentSize: 4096, FS: sim})
	var damage *wal.DamageError
	if !errors.Is(err, wal.ErrCorrupt) || !errors.As(err, &damage) {
		t.Fatalf("Open = %v, want ErrCorrupt", err)
	}
	if d := damage.Damage[0]; d.File != file || d.Offset != off-16 || d.From != recs[hit].pos || d.To != recs[hit+1].pos {
		t.Errorf("damage = %v, want %s at %d", d, file, off-16)
	}
	if n := sim.Ops() - before; n > 2 { // mkdir and lock
		t.Errorf("a refused Open made %d calls that change something", n)
	}
	l := open(t, "log", &wal.Options{SegmentSize: 4096, FS: sim, OnDamage: wal.Skip})
	defer l.Close()
	want := slices.Concat(recs[:hit], recs[hit+1:])
	equal(t, "Replay", replay(t, l, 0), want)
	if r := l.Recovery(); len(r.Damage) != 1 || r.Torn != nil || r.Head != first {
		t.Errorf("Recovery = %+v", r)
	}
	if _, err := l.Read(recs[hit].pos, nil); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("Read of a damaged record: %v", err)
	}
	if _, _, err := l.Append([]byte("on")); err != nil {
		t.Error(err)
	}
}

// TestBitFlips flips single bits of a closed log of many segments. Refuse opens
// with all records or not at all; Skip opens with all but what it reports.
func TestBitFlips(t *testing.T) {
	base, recs := image(t, 150, func(l *wal.Log) { l.Close() })
	names, err := base.List("log")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".wal") })
	rng := rand.New(rand.NewPCG(9, 9))
	refused := 0
	for i := range scaled(600, 10000) {
		name := "log/" + names[rng.IntN(len(names))]
		size, err := base.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		off, bit := rng.Int64N(size), rng.IntN(8)
		for _, policy := range []wal.Policy{wal.Refuse, wal.Skip} {
			sim := base.Crash(1)
			if err := sim.Flip(name, off, bit); err != nil {
				t.Fatal(err)
			}
			l, err := wal.Open("log", &wal.Options{SegmentSize: 4096, FS: sim, OnDamage: policy})
			if err != nil {
				if policy == wal.Skip && !errors.Is(err, wal.ErrVersion) || !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, wal.ErrVersion) {
					t.Fatalf("flip %d: %s offset %d bit %d: %v", i, name, off, bit, err)
				}
				if !strings.Contains(err.Error(), name) {
					t.Fatalf("flip %d of %s: the error names another place: %v", i, name, err)
				}
				refused++
				continue
			}
			got := replay(t, l, 0)
			missing := 0
			for len(got) < len(recs) && missing < 200 {
				// Put back what the report names.
				k := 0
				for k < len(got) && got[k] == recs[k] {
					k++
				}
				in := slices.ContainsFunc(l.Recovery().Damage, func(d wal.Damage) bool {
					return d.From <= recs[k].pos && recs[k].pos < d.To
				})
				if policy == wal.Refuse || !in {
					t.Fatalf("flip %d: %s offset %d: record at %d is missing without a word", i, name, off, recs[k].pos)
				}
				got = slices.Insert(got, k, recs[k])
				missing++
			}
			equal(t, "records", got, recs)
			l.Close()
		}
	}
	if refused == 0 {
		t.Error("no flip was noticed")
	}
}

// TestTornAtEveryByte tears the last, unsynced write at every byte (every seventh
// without ASHLAR_FULL).
func TestTornAtEveryByte(t *testing.T) {
	sim := vfs.NewSim()
	l := open(t, "log", &wal.Options{FS: sim})
	defer l.Close()
	_, end, err := l.Append([]byte("kept"))
	if err == nil {
		err = l.Sync(ctx, end)
	}
	if err != nil {
		t.Fatal(err)
	}
	var b wal.Batch
	for i := range 12 {
		if err := b.Add(make([]byte, i), []byte(strings.Repeat("z", 37*i+1))); err != nil {
			t.Fatal(err)
		}
	}
	last, err := l.AppendBatch(&b)
	if err != nil {
		t.Fatal(err)
	}
	name := "log/0000000000000001.wal"
	data, err := vfs.ReadFile(sim, name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for cut := int64(end); cut < int64(last); cut += int64(scaled(7, 1)) { // offset and position agree in the first segment
		for _, garbage := range []byte{0, 0xa5} {
			after := sim.Crash(1)
			f, err := after.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			torn := slices.Clone(data[:last])
			for i := cut; i < int64(last); i++ {
				torn[i] = garbage
			}
			if _, err := f.WriteAt(torn, 0); err != nil {
				t.Fatal(err)
			}
			got, err := wal.Open("log", &wal.Options{FS: after})
			if err != nil {
				t.Fatalf("torn at %d: %v", cut, err)
			}
			recs := replay(t, got, 0)
			if recs[0].data != "kept" {
				t.Fatalf("torn at %d: the synced record is %q", cut, recs[0].data)
			}
			for i := range b.Len() {
				// The last 7 bytes of a frame may be padding.
				next := last
				if i+1 < b.Len() {
					next = b.Pos(i + 1)
				}
				if have := i+1 < len(recs); have != (int64(next) <= cut) && (!have || int64(next)-7 > cut) {
					t.Fatalf("torn at %d: %d records, number %d of the write ends at %d", cut, len(recs)-1, i, next)
				}
			}
			got.Close()
		}
	}
}

// TestFailedSync: the log is poisoned, what it holds can be read, and what it
// vouched for is there after opening it anew.
func TestFailedSync(t *testing.T) {
	sim := vfs.NewSim()
	l := open(t, "log", &wal.Options{FS: sim})
	pos, end, err := l.Append([]byte("good"))
	if err == nil {
		err = l.Sync(ctx, end)
	}
	if err != nil {
		t.Fatal(err)
	}
	eio, syncs := errors.New("input/output error"), 0
	sim.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpDatasync && strings.HasSuffix(op.Name, "0001.wal") {
			syncs++
			return eio
		}
		return nil
	})
	lost, end, err := l.Append([]byte("lost"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := l.Sync(ctx, end); !errors.Is(err, wal.ErrFailed) || !errors.Is(err, eio) {
			t.Fatalf("Sync = %v, want ErrFailed and the cause", err)
		}
		if _, _, err := l.Append(nil); !errors.Is(err, wal.ErrFailed) {
			t.Fatalf("Append = %v, want ErrFailed", err)
		}
		if _, err := l.TruncateFrom(pos); !errors.Is(err, wal.ErrFailed) {
			t.Fatalf("TruncateFrom = %v, want ErrFailed", err)
		}
	}
	if syncs != 1 {
		t.Errorf("%d syncs after a failure, want none", syncs-1)
	}
	if d, err := l.Read(lost, nil); err != nil || string(d) != "lost" {
		t.Errorf("Read = %q, %v", d, err)
	}
	if err := l.Close(); !errors.Is(err, wal.ErrFailed) {
		t.Errorf("Close = %v, want the failure", err)
	}
	sim.SetHook(nil)
	// The process comes back before the power is cut: the page cache shows the
	// record, as if it had been written.
	l = open(t, "log", &wal.Options{FS: sim})
	got := replay(t, l, 0)
	for seed := range uint64(20) {
		after := open(t, "log", &wal.Options{FS: sim.Crash(seed)})
		equal(t, "after a failed sync, a restart and a power cut", replay(t, after, 0), got)
		after.Close()
	}
	l.Close()
}

// TestFullDisk: an append that does not fit has no effect, also in the middle of a
// batch that fills several segments; later ones fit again.
func TestFullDisk(t *testing.T) {
	for short := range 60 {
		sim := vfs.NewSim()
		l := open(t, "log", &wal.Options{FS: sim})
		var want []rec
		add := func(d string) error {
			pos, _, err := l.Append([]byte(d))
			if err == nil {
				want = append(want, rec{pos, d})
			}
			return err
		}
		if err := add("before"); err != nil {
			t.Fatal(err)
		}
		sim.SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.OpWrite && strings.HasSuffix(op.Name, "0001.wal") && op.Len > 1000 {
				return &vfs.ShortWrite{N: short * 8, Err: vfs.ErrNoSpace}
			}
			return nil
		})
		if err := add(strings.Repeat("big", 1000)); !errors.Is(err, vfs.ErrNoSpace) || l.Err() != nil {
			t.Fatalf("Append to a full disk = %v, the log's state %v", err, l.Err())
		}
		var b wal.Batch // of whole frames, of which some are written
		for range 20 {
			if err := b.Add([]byte(strings.Repeat("whole", 20))); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.AppendBatch(&b); !errors.Is(err, vfs.ErrNoSpace) || l.Err() != nil {
			t.Fatalf("AppendBatch to a full disk = %v, the log's state %v", err, l.Err())
		}
		if err := add(strings.Repeat("small", 20)); err != nil {
			t.Fatal(err)
		}
		sim.SetHook(nil)
		after := open(t, "log", &wal.Options{FS: sim.Crash(1 << 32)})
		if got := replay(t, after, 0); len(got) > len(want) || len(got) > 0 && got[len(got)-1] != want[len(got)-1] {
			t.Fatalf("after a power cut: %d records, want at most %d", len(got), len(want))
		}
		after.Close()
		if err := add(strings.Repeat("fits", 1000)); err != nil {
			t.Fatal(err)
		}
		equal(t, "records", replay(t, l, 0), want)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, "log", &wal.Options{FS: sim})
		if r := l.Recovery(); !r.Clean {
			t.Errorf("Recovery = %+v", r)
		}
		equal(t, "records", replay(t, l, 0), want)
		l.Close()
	}
}

// TestNoRoomForNextSegment: without space for another segment appends fail and
// reads go on; with space again everything does.
func TestNoRoomForNextSegment(t *testing.T) {
	sim := vfs.NewSim()
	l := open(t, "log", &wal.Options{SegmentSize: 4096, FS: sim})
	defer l.Close()
	sim.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpCreate {
			return vfs.ErrNoSpace
		}
		return nil
	})
	var want []rec
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		var pos uint64
		d := fmt.Sprint(i, strings.Repeat("r", 100))
		if pos, _, err = l.Append([]byte(d)); err == nil {
			want = append(want, rec{pos, d})
		}
	}
	if !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("Append = %v after %d records, want ErrNoSpace", err, len(want))
	}
	equal(t, "records", replay(t, l, 0), want)
	if l.Stats().PrepareError == nil {
		t.Error("Stats do not tell why")
	}
	sim.SetHook(nil)
	pos, end, err := l.Append([]byte("again"))
	if err == nil {
		err = l.Sync(ctx, end)
	}
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "records", replay(t, l, 0), append(want, rec{pos, "again"}))
}

// TestRecycle: in a log that is cut at its beginning as it grows, segments are used
// again and their number stays small; what they held before never shows.
func TestRecycle(t *testing.T) {
	sim := vfs.NewSim()
	opts := &wal.Options{SegmentSize: 8192, FS: sim}
	l := open(t, "log", opts)
	var recs []rec
	for i := range 3000 {
		d := fmt.Sprintf("%d:%s", i, strings.Repeat("q", 200))
		pos, end, err := l.Append([]byte(d))
		if err == nil {
			err = l.Sync(ctx, end)
		}
		if err != nil {
			t.Fatal(err)
		}
		if recs = append(recs, rec{pos, d}); len(recs) == 60 {
			recs = recs[30:]
			if _, err := l.TruncateBefore(recs[0].pos); err != nil {
				t.Fatal(err)
			}
		}
		if i%500 == 499 {
			equal(t, "records", replay(t, l, 0), recs)
			if err := l.Sync(ctx, l.End()); err != nil { // the truncation
				t.Fatal(err)
			}
			opts.FS = sim.Crash(uint64(i))
			after := open(t, "log", opts)
			equal(t, "records after a power cut", replay(t, after, 0), recs)
			after.Close()
		}
	}
	if s := l.Stats(); s.Recycled == 0 || s.Segments > 12 {
		t.Errorf("Stats = %+v, want recycled segments and few of them", s)
	}
	l.Close()
}

// FuzzOpen opens any bytes as the log's segments: an error, or a log that can be
// read, appended to and opened again.
func FuzzOpen(f *testing.F) {
	sim, _ := image(f, 12, nil)
	data, err := vfs.ReadFile(sim, "log/0000000000000001.wal", 1<<20)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[:1200], data[1200:1700], false)
	f.Add(data[:4096], []byte{}, true)
	f.Add([]byte{}, []byte{}, true)
	f.Fuzz(func(t *testing.T, one, two []byte, skip bool) {
		sim := vfs.NewSim()
		if err := sim.MkdirAll("log"); err != nil {
			t.Fatal(err)
		}
		for i, b := range [][]byte{one, two} {
			if err := vfs.WriteFile(sim, fmt.Sprintf("log/%016x.wal", i+1), b); err != nil {
				t.Fatal(err)
			}
		}
		opts := &wal.Options{SegmentSize: 4096, FS: sim}
		if skip {
			opts.OnDamage = wal.Skip
		}
		l, err := wal.Open("log", opts)
		if err != nil {
			if !errors.Is(err, wal.ErrCorrupt) && !errors.Is(err, wal.ErrVersion) {
				t.Fatalf("Open = %v", err)
			}
			return
		}
		recs := replay(t, l, 0)
		pos, end, err := l.Append([]byte("more"))
		if err == nil {
			err = l.Sync(ctx, end)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, "log", opts)
		equal(t, "records", replay(t, l, 0), append(recs, rec{pos, "more"}))
		l.Close()
	})
}
