package stream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

func mustOpen(t *testing.T, fsys vfs.FS, dir string, o *Options) *Local {
	t.Helper()
	l, err := openLocal(fsys, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func create(t *testing.T, l *Local, name string, o *TopicOptions) {
	t.Helper()
	if err := l.CreateTopic(ctx, name, o); err != nil {
		t.Fatal(err)
	}
}

func add(t *testing.T, l *Local, p Partition, values ...string) {
	t.Helper()
	for _, v := range values {
		if _, err := l.Append(ctx, p, []Record{{Value: []byte(v)}}); err != nil {
			t.Fatal(err)
		}
	}
}

// values reads a partition to its end; errors are in it as "lost [a, b)".
func values(t *testing.T, l *Local, p Partition) []string {
	t.Helper()
	first, next, err := l.Bounds(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for r, err := range Scan(ctx, l, p, first, next) {
		var d *DamageError
		if errors.As(err, &d) {
			out = append(out, fmt.Sprintf("lost [%d, %d)", d.From, d.To))
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(r.Value))
	}
	return out
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, vfs.OS, dir, nil)
	if _, err := OpenLocal(dir, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("OpenLocal twice = %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, vfs.OS, dir, nil)
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{Sync: 3},
		{Sync: -1},
		{Interval: -1},
		{SegmentSize: 100},
		{SegmentSize: 1 << 40},
		{MaxBatch: -1},
		{MaxBatch: 1 << 30},
		{CleanRatio: 2},
		{CleanRatio: -1},
	} {
		if _, err := openLocal(vfs.NewSim(), "log", &o); !errors.Is(err, ErrInvalid) {
			t.Errorf("OpenLocal(%+v) = %v", o, err)
		}
	}
}

func TestVersions(t *testing.T) {
	sim := vfs.NewSim()
	l := mustOpen(t, sim, "log", nil)
	l.Close()
	if err := vfs.WriteFile(sim, "log/FORMAT", []byte("ashlar stream 2\n0123456789abcdef\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := openLocal(sim, "log", nil); !errors.Is(err, ErrVersion) {
		t.Errorf("OpenLocal of version 2 = %v", err)
	}
}

func TestTooLarge(t *testing.T) {
	l := mustOpen(t, vfs.NewSim(), "log", &Options{MaxBatch: 1000})
	create(t, l, "t", nil)
	if _, err := l.Append(ctx, Partition{Topic: "t"}, []Record{{Value: make([]byte, 2000)}}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Append = %v", err)
	}
	add(t, l, Partition{Topic: "t"}, strings.Repeat("x", 900))
}

// TestFullDisk: what a full disk refuses has no effect, and when there is space
// again the log goes on.
func TestFullDisk(t *testing.T) {
	for seed := range uint64(30) {
		sim := vfs.NewSim()
		l := mustOpen(t, sim, "log", &Options{SegmentSize: 4096, Sync: Sync(seed % 3), CleanEvery: -1})
		create(t, l, "t", nil)
		p := Partition{Topic: "t"}
		rng := rand.New(rand.NewPCG(seed, 1))
		var want []string
		refused := 0
		for i := range 200 {
			if i%10 == 0 {
				full := rng.IntN(2) == 0
				sim.SetHook(func(op vfs.Op) error {
					if full && (op.Kind == vfs.OpCreate || op.Kind == vfs.OpWrite) {
						err := fmt.Errorf("%w: simulated", vfs.ErrNoSpace)
						if op.Kind == vfs.OpWrite {
							return &vfs.ShortWrite{N: op.Len / 2, Err: err}
						}
						return err
					}
					return nil
				})
			}
			v := fmt.Sprint(i, strings.Repeat("x", rng.IntN(300)))
			_, err := l.Append(ctx, p, []Record{{Value: []byte(v)}})
			if err == nil {
				want = append(want, v)
			} else if refused++; !errors.Is(err, vfs.ErrNoSpace) || errors.Is(err, ErrFailed) {
				t.Fatalf("seed %d: Append = %v", seed, err)
			}
		}
		sim.SetHook(nil)
		if got := values(t, l, p); fmt.Sprint(got) != fmt.Sprint(want) || refused == 0 {
			t.Fatalf("seed %d: %d records, want %d, %d refused", seed, len(got), len(want), refused)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, sim, "log", nil)
		if got := values(t, l, p); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("seed %d: after opening %d records, want %d", seed, len(got), len(want))
		}
		l.Close()
	}
}

// TestFailedSync: after a sync that failed the log takes no more writes, what was
// not acknowledged is not shown, and reading goes on. Opened again after a power
// cut, it has what was acknowledged.
func TestFailedSync(t *testing.T) {
	for seed := range uint64(50) {
		sim := vfs.NewSim()
		l := mustOpen(t, sim, "log", &Options{CleanEvery: -1})
		create(t, l, "t", nil)
		p := Partition{Topic: "t"}
		add(t, l, p, "a", "b")
		eio := errors.New("input/output error")
		sim.SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.OpDatasync {
				return eio
			}
			return nil
		})
		_, err := l.Append(ctx, p, []Record{{Value: []byte("c")}})
		if !errors.Is(err, ErrFailed) || !errors.Is(err, eio) {
			t.Fatalf("Append = %v", err)
		}
		sim.SetHook(nil)
		if _, err := l.Append(ctx, p, []Record{{Value: []byte("d")}}); !errors.Is(err, ErrFailed) {
			t.Errorf("Append after that = %v", err)
		}
		if err := l.Commit(ctx, "g", map[Partition]Offset{p: {}}); !errors.Is(err, ErrFailed) {
			t.Errorf("Commit after that = %v", err)
		}
		if got := values(t, l, p); fmt.Sprint(got) != "[a b]" {
			t.Errorf("records %v", got)
		}
		killed := seed%2 == 0
		var after *vfs.Sim
		if killed {
			after = sim.Kill()
		} else {
			after = sim.Crash(seed)
		}
		l.Close()
		l2 := mustOpen(t, after, "log", &Options{CleanEvery: -1})
		got := fmt.Sprint(values(t, l2, p))
		if got != "[a b]" && got != "[a b c]" {
			t.Fatalf("seed %d: after opening %v", seed, got)
		}
		// What opening shows is durable, also after the failed sync.
		l3 := mustOpen(t, after.Crash(seed), "log", &Options{CleanEvery: -1})
		if again := fmt.Sprint(values(t, l3, p)); again != got {
			t.Fatalf("seed %d: opening showed %v, and after a power cut %v", seed, got, again)
		}
		l2.Close()
		l3.Close()
	}
}

// TestBitFlips damages each part of a log in turn. No wrong byte is ever read, no
// record outside of the damaged batch is lost, and what is lost is named.
func TestBitFlips(t *testing.T) {
	build := func(clean bool) (*vfs.Sim, map[Partition][]string) {
		sim := vfs.NewSim()
		l := mustOpen(t, sim, "log", &Options{SegmentSize: 4096, CleanEvery: -1, CleanRatio: 0.001})
		create(t, l, "t", &TopicOptions{Partitions: 2})
		want := map[Partition][]string{}
		for i := range 60 {
			p := Partition{"t", i % 2}
			v := fmt.Sprint(i, " ", strings.Repeat("x", i*3))
			add(t, l, p, v)
			want[p] = append(want[p], v)
		}
		if clean {
			p := Partition{"t", 0}
			if err := l.Trim(ctx, p, 5); err != nil {
				t.Fatal(err)
			}
			want[p] = want[p][5:]
			if err := l.Clean(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return sim, want
	}
	rng := rand.New(rand.NewPCG(3, 3))
	flips, refused, reported := 0, 0, 0
	for _, clean := range []bool{false, true} {
		base, want := build(clean)
		names, err := base.List("log")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			size, err := base.Stat(filepath.Join("log", name))
			if err != nil {
				t.Fatal(err)
			}
			for off := int64(rng.IntN(scaled(37, 5))); off < size; off += int64(1 + rng.IntN(scaled(97, 11))) {
				sim := base.Crash(1) // a copy: all is durable
				if err := sim.Flip(filepath.Join("log", name), off, rng.IntN(8)); err != nil {
					t.Fatal(err)
				}
				flips++
				l, err := openLocal(sim, "log", &Options{SegmentSize: 4096, CleanEvery: -1})
				if err != nil {
					if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
						t.Fatalf("%s byte %d: %v", name, off, err)
					}
					refused++
					continue
				}
				if _, err := l.Topic(ctx, "t"); err != nil {
					t.Fatalf("%s byte %d: %v", name, off, err)
				}
				lost := 0
				for p, w := range want {
					got := values(t, l, p)
					i := 0
					for _, v := range got {
						var from, to int
						if n, _ := fmt.Sscanf(v, "lost [%d, %d)", &from, &to); n == 2 {
							lost += to - from
							i += to - from
							continue
						}
						if i >= len(w) || v != w[i] {
							t.Fatalf("%s byte %d: %v has %.20q as number %d", name, off, p, v, i)
						}
						i++
					}
					if i != len(w) {
						t.Fatalf("%s byte %d: %v has %d records, want %d, damage %v", name, off, p, i, len(w), l.Recovery())
					}
				}
				if lost > 1 {
					t.Fatalf("%s byte %d: %d records lost by one bit", name, off, lost)
				}
				if lost == 1 || len(l.Recovery().Damage) > 0 {
					reported++
				}
				// And it goes on.
				add(t, l, Partition{"t", 0}, "more")
				if err := l.Close(); err != nil {
					t.Fatalf("%s byte %d: Close = %v", name, off, err)
				}
			}
		}
	}
	t.Logf("%d flips: %d refused to open, %d reported as damage, the others harmless", flips, refused, reported)
	if reported < flips/4 {
		t.Errorf("only %d of %d flips were reported", reported, flips)
	}
}

// TestKill kills a process that writes, again and again, for real. What it
// acknowledged before is there, transactions whole.
func TestKill(t *testing.T) {
	if dir := os.Getenv("ASHLAR_STREAM_KILL"); dir != "" {
		victim(dir)
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	acked := int64(-1)
	rng := rand.New(rand.NewPCG(5, 5))
	for round := range scaled(15, 200) {
		cmd := exec.Command(exe, "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), "ASHLAR_STREAM_KILL="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n, limit := 0, 1+rng.IntN(40); n < limit && lines.Scan(); n++ {
			if _, err := fmt.Sscanf(lines.Text(), "acked %d", &acked); err != nil {
				t.Fatalf("round %d: %q, %s", round, lines.Text(), stderr.String())
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it still said
			fmt.Sscanf(lines.Text(), "acked %d", &acked)
		}
		_ = cmd.Wait() // killed
		l := mustOpen(t, vfs.OS, dir, &Options{SegmentSize: 64 << 10})
		if d := l.Recovery().Damage; len(d) > 0 {
			t.Fatalf("round %d: %v", round, d)
		}
		in, out2 := values(t, l, Partition{"in", 0}), values(t, l, Partition{"out", 0})
		at, err := l.Committed(ctx, "g")
		if err != nil {
			t.Fatal(err)
		}
		if next := at[Partition{"in", 0}].Next; int64(len(out2)) != next || next <= acked {
			t.Fatalf("round %d: %d results, committed %d, acknowledged %d", round, len(out2), next, acked)
		}
		for i, v := range out2 {
			if v != "done "+in[i] {
				t.Fatalf("round %d: result %d is %q of %q", round, i, v, in[i])
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// victim appends numbers and, in transactions, what it made of them.
func victim(dir string) {
	l, err := OpenLocal(dir, &Options{SegmentSize: 64 << 10, CleanEvery: 10 * time.Millisecond})
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	check(err)
	check(l.CreateTopic(ctx, "in", nil))
	check(l.CreateTopic(ctx, "out", nil))
	in, out := Partition{"in", 0}, Partition{"out", 0}
	at, err := l.Committed(ctx, "g")
	check(err)
	next := at[in].Next
	var b Batch
	for {
		_, end, err := l.Bounds(ctx, in)
		check(err)
		if end <= next {
			_, err = l.Append(ctx, in, []Record{{Value: fmt.Append(nil, "a", end)}, {Value: fmt.Append(nil, "b", end)}, {Value: []byte(strings.Repeat("c", 500))}})
			check(err)
		}
		check(l.Read(ctx, in, next, &b))
		var rs []Record
		for _, r := range b.Records {
			rs = append(rs, Record{Value: append([]byte("done "), r.Value...)})
		}
		next = b.Next
		_, err = l.Transact(ctx, &Tx{Group: "g", Offsets: map[Partition]Offset{in: {Next: next}}, Appends: []Append{{out, rs}}})
		check(err)
		fmt.Println("acked", next-1)
	}
}
