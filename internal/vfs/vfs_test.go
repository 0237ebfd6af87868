package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// class reduces an error to what callers may rely on.
func class(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, fs.ErrNotExist):
		return "not exist"
	case errors.Is(err, fs.ErrExist):
		return "exist"
	case errors.Is(err, io.EOF):
		return "EOF"
	case errors.Is(err, vfs.ErrLocked):
		return "locked"
	case errors.Is(err, vfs.ErrTooLarge):
		return "too large"
	}
	return "other"
}

// A world is a file system, the directory under test in it, and its open files.
type world struct {
	fsys  vfs.FS
	dir   string
	files map[int]vfs.File
	locks map[string]io.Closer
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// do carries out operation op on names and numbers, and returns what it saw.
func (w *world) do(op int, a, b string, n int, off, size int64) string {
	f := w.files[n]
	data := bytes.Repeat([]byte{byte('a' + n)}, int(size))
	switch op {
	case 0, 1:
		open := w.fsys.Create
		if op == 1 {
			open = w.fsys.Open
		}
		f, err := open(w.path(a))
		if err == nil {
			if old := w.files[n]; old != nil {
				old.Close()
			}
			w.files[n] = f
		}
		return class(err)
	case 2:
		if f == nil {
			return ""
		}
		k, err := f.WriteAt(data, off)
		return fmt.Sprint(k, class(err))
	case 3:
		if f == nil {
			return ""
		}
		k, err := f.ReadAt(data, off)
		return fmt.Sprintf("%d %s %x", k, class(err), data[:k])
	case 4:
		if f == nil {
			return ""
		}
		err := f.Truncate(off)
		k, err2 := f.Size()
		return fmt.Sprint(class(err), k, class(err2))
	case 5:
		if f == nil {
			return ""
		}
		return class(f.Datasync()) + class(f.Sync())
	case 6:
		return class(w.fsys.Rename(w.path(a), w.path(b)))
	case 7:
		return class(w.fsys.Link(w.path(a), w.path(b)))
	case 8:
		return class(w.fsys.Remove(w.path(a)))
	case 9:
		names, err := w.fsys.List(w.path(filepath.Dir(a)))
		return fmt.Sprint(names, class(err))
	case 10:
		k, err := w.fsys.Stat(w.path(a))
		return fmt.Sprint(k, class(err))
	case 11:
		return class(w.fsys.MkdirAll(w.path(filepath.Join("d", b+"dir"))))
	case 12:
		return class(w.fsys.SyncDir(w.path(filepath.Dir(a))))
	case 13:
		name := w.path("lock" + a[:1])
		if l := w.locks[name]; l != nil && size%2 == 0 {
			delete(w.locks, name)
			return class(l.Close())
		}
		l, err := w.fsys.Lock(name)
		if err == nil {
			w.locks[name] = l
		}
		return class(err)
	case 14:
		err := vfs.WriteFile(w.fsys, w.path(a), data)
		got, err2 := vfs.ReadFile(w.fsys, w.path(a), 700)
		return fmt.Sprint(class(err), len(got), class(err2))
	}
	if f == nil {
		return ""
	}
	return class(vfs.ZeroFill(f, off, size))
}

// TestSimIsLikeOS makes the same random calls on the simulator and on the
// operating system's files: results and classes of errors agree.
func TestSimIsLikeOS(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		sim := vfs.NewSim()
		if err := sim.MkdirAll("top"); err != nil {
			t.Fatal(err)
		}
		worlds := []*world{
			{sim, "top", map[int]vfs.File{}, map[string]io.Closer{}},
			{vfs.OS, t.TempDir(), map[int]vfs.File{}, map[string]io.Closer{}},
		}
		names := []string{"a", "b", "c", "d/e", "none/f"}
		var trace []string
		for range 400 {
			op := rng.IntN(16)
			a, b := names[rng.IntN(len(names))], names[rng.IntN(len(names)-2)]
			n, off, size := rng.IntN(3), rng.Int64N(3000), rng.Int64N(1000)
			// On the system a directory can be renamed and linked over in ways
			// that no store uses: only files are.
			if a == "d/e" && op == 11 {
				continue
			}
			sim, sys := worlds[0].do(op, a, b, n, off, size), worlds[1].do(op, a, b, n, off, size)
			trace = append(trace, fmt.Sprintf("%d(%s, %s, %d, %d, %d) = %.60s", op, a, b, n, off, size, sys))
			if sim != sys {
				t.Fatalf("seed %d: the simulator says\n%.300s\nthe system\n%.300s\nafter\n%s", seed, sim, sys,
					strings.Join(trace[max(0, len(trace)-12):], "\n"))
			}
		}
		for _, w := range worlds {
			for _, f := range w.files {
				f.Close()
			}
			for _, l := range w.locks {
				l.Close()
			}
		}
	}
}

// seeds is enough for every choice of the simulated power cut to come up.
const seeds = 300

func write(t testing.TB, f vfs.File, off int64, s string) {
	t.Helper()
	if _, err := f.WriteAt([]byte(s), off); err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, sim *vfs.Sim, name string) vfs.File {
	t.Helper()
	f, err := sim.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func content(t testing.TB, sim *vfs.Sim, name string) string {
	t.Helper()
	b, err := vfs.ReadFile(sim, name, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	} else if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// outcomes returns the contents of the files after many power cuts, each with how
// often it came up.
func outcomes(t testing.TB, sim *vfs.Sim, names ...string) map[string]int {
	got := map[string]int{}
	for seed := range uint64(seeds) {
		after := sim.Crash(seed)
		var parts []string
		for _, n := range names {
			parts = append(parts, content(t, after, n))
		}
		got[strings.Join(parts, "|")]++
	}
	return got
}

func wantOutcomes(t testing.TB, got map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if got[w] == 0 {
			t.Errorf("%.40q never came up", w)
		}
	}
	if len(got) != len(want) {
		for g := range got {
			if !slices.Contains(want, g) {
				t.Errorf("%.60q came up and must not", g)
			}
		}
	}
}

// TestCrashData: each sector holds one of its states since the last sync,
// whatever the others hold.
func TestCrashData(t *testing.T) {
	sim := vfs.NewSim()
	f := create(t, sim, "f")
	if err := sim.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	sector := func(c string) string { return strings.Repeat(c, vfs.SectorSize) }
	write(t, f, 0, sector("a")+sector("a"))
	if err := f.Datasync(); err != nil {
		t.Fatal(err)
	}
	wantOutcomes(t, outcomes(t, sim, "f"), sector("a")+sector("a"))
	write(t, f, 0, sector("b"))
	write(t, f, vfs.SectorSize, sector("c")) // may be kept when the one before is lost
	write(t, f, 0, sector("d"))
	var want []string
	for _, x := range []string{"a", "b", "d"} {
		for _, y := range []string{"a", "c"} {
			want = append(want, sector(x)+sector(y))
		}
	}
	wantOutcomes(t, outcomes(t, sim, "f"), want...)
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	wantOutcomes(t, outcomes(t, sim, "f"), sector("d")+sector("c"))

	// The size is one of those since.
	write(t, f, 2*vfs.SectorSize, "tail")
	if err := f.Truncate(vfs.SectorSize); err != nil {
		t.Fatal(err)
	}
	zero := sector("\x00")
	wantOutcomes(t, outcomes(t, sim, "f"), sector("d")+sector("c"), sector("d")+sector("c")+"tail", sector("d"),
		sector("d")+sector("c")+"\x00\x00\x00\x00", sector("d")+zero, sector("d")+zero+"tail", sector("d")+zero+"\x00\x00\x00\x00")
}

// TestCrashNames: names come and go one by one until their directory is synced,
// but in order where they concern the same name.
func TestCrashNames(t *testing.T) {
	sim := vfs.NewSim()
	put := func(name, s string) {
		t.Helper()
		f := create(t, sim, name)
		write(t, f, 0, s)
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	put("a", "one")
	put("b", "two")
	wantOutcomes(t, outcomes(t, sim, "a", "b"), "-|-", "one|-", "-|two", "one|two")
	if err := sim.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	if err := sim.Rename("a", "b"); err != nil {
		t.Fatal(err)
	}
	wantOutcomes(t, outcomes(t, sim, "a", "b"), "one|two", "-|one")
	put("a", "new")
	wantOutcomes(t, outcomes(t, sim, "a", "b"), "one|two", "-|one", "new|one")
	if err := sim.Link("a", "c"); err != nil {
		t.Fatal(err)
	}
	if err := sim.Remove("b"); err != nil {
		t.Fatal(err)
	}
	if err := sim.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	wantOutcomes(t, outcomes(t, sim, "a", "b", "c"), "new|-|new")
	// A directory that was synced is no help to another.
	for _, d := range []string{"x", "y"} {
		if err := sim.MkdirAll(d); err != nil {
			t.Fatal(err)
		}
		put(d+"/f", d)
	}
	if err := sim.SyncDir("x"); err != nil {
		t.Fatal(err)
	}
	wantOutcomes(t, outcomes(t, sim, "x/f", "y/f"), "x|-", "x|y")
}

// TestFailedSyncLies: after a failed sync the data is shown, and lost, and a
// second sync that succeeds does not save it; writing it again does.
func TestFailedSyncLies(t *testing.T) {
	sim := vfs.NewSim()
	f := create(t, sim, "f")
	write(t, f, 0, "old")
	if err := errors.Join(f.Sync(), sim.SyncDir(".")); err != nil {
		t.Fatal(err)
	}
	write(t, f, 0, "new")
	eio := errors.New("input/output error")
	sim.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpDatasync {
			return eio
		}
		return nil
	})
	if err := f.Datasync(); !errors.Is(err, eio) {
		t.Fatal(err)
	}
	sim.SetHook(nil)
	if err := f.Datasync(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, sim, "f"); got != "new" {
		t.Errorf("reads show %q", got)
	}
	wantOutcomes(t, outcomes(t, sim, "f"), "old", "new")
	write(t, f, 0, "new")
	if err := f.Datasync(); err != nil {
		t.Fatal(err)
	}
	wantOutcomes(t, outcomes(t, sim, "f"), "new")
}

// TestCutAt: the call that is cut and all after it fail; a write that is cut may
// have happened, a sync has not.
func TestCutAt(t *testing.T) {
	run := func(cut int) *vfs.Sim {
		sim := vfs.NewSim()
		sim.CutAt(cut)
		var errs []error
		f, err := sim.Create("f")
		errs = append(errs, err)
		if f != nil {
			_, err = f.WriteAt([]byte("data"), 0)
			errs = append(errs, err, f.Sync(), sim.SyncDir("."))
		}
		for i, err := range errs {
			if failed := i+1 >= cut; failed != errors.Is(err, vfs.ErrPowerCut) {
				t.Errorf("cut at %d: call %d: %v", cut, i+1, err)
			}
		}
		if _, err := sim.Stat("f"); !errors.Is(err, vfs.ErrPowerCut) {
			t.Errorf("cut at %d: Stat: %v", cut, err)
		}
		return sim
	}
	some := func(cut int) map[string]int {
		got := map[string]int{}
		sim := run(cut)
		for seed := range uint64(seeds) {
			got[content(t, sim.Crash(seed), "f")]++
		}
		return got
	}
	wantOutcomes(t, some(1), "-", "")
	four := "\x00\x00\x00\x00"
	wantOutcomes(t, some(2), "-", "", four, "data")
	wantOutcomes(t, some(3), "-", "", four, "data")
	wantOutcomes(t, some(4), "-", "data")
}

func TestKillAndFlip(t *testing.T) {
	sim := vfs.NewSim()
	f := create(t, sim, "f")
	write(t, f, 0, "abc")
	lock, err := sim.Lock("LOCK")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sim.Lock("LOCK"); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("second Lock: %v", err)
	}
	after := sim.Kill()
	if _, err := sim.Create("g"); !errors.Is(err, vfs.ErrPowerCut) {
		t.Errorf("a killed process writes on: %v", err)
	}
	lock.Close()
	if _, err := after.Lock("LOCK"); err != nil {
		t.Errorf("Lock after a kill: %v", err)
	}
	if got := content(t, after, "f"); got != "abc" {
		t.Errorf("after a kill: %q", got)
	}
	wantOutcomes(t, outcomes(t, after, "f"), "-", "", "\x00\x00\x00", "abc")
	if err := after.Flip("f", 1, 0); err != nil {
		t.Fatal(err)
	}
	if got := content(t, after, "f"); got != "acc" {
		t.Errorf("after a flip: %q", got)
	}
	if after.Flip("f", 3, 0) == nil || after.Flip("none", 0, 0) == nil {
		t.Error("Flip outside of a file")
	}
}

// TestHooks: hooks see every call, may fail it, and may write a part.
func TestHooks(t *testing.T) {
	sim := vfs.NewSim()
	var seen []string
	sim.SetHook(func(op vfs.Op) error {
		seen = append(seen, fmt.Sprint(op.Kind, " ", op.Name))
		if op.Kind == vfs.OpWrite {
			return &vfs.ShortWrite{N: 2, Err: vfs.ErrNoSpace}
		}
		return nil
	})
	f := create(t, sim, "f")
	n, err := f.WriteAt([]byte("abcd"), 0)
	if n != 2 || !errors.Is(err, vfs.ErrNoSpace) {
		t.Errorf("WriteAt = %d, %v", n, err)
	}
	if got := content(t, sim, "f"); got != "ab" {
		t.Errorf("content %q", got)
	}
	want := []string{"create f", "write f", "open f", "read f"}
	if !slices.Equal(seen, want) {
		t.Errorf("hooks saw %v, want %v", seen, want)
	}
}

// TestWriteFile cuts the power at every call of a replacement: the old content or
// the new one is there, never less.
func TestWriteFile(t *testing.T) {
	old, next := strings.Repeat("old", 400), strings.Repeat("next", 500)
	for cut := 1; ; cut++ {
		sim := vfs.NewSim()
		if err := vfs.WriteFile(sim, "f", []byte(old)); err != nil {
			t.Fatal(err)
		}
		sim.CutAt(cut)
		err := vfs.WriteFile(sim, "f", []byte(next))
		if err == nil {
			wantOutcomes(t, outcomes(t, sim, "f"), next)
			break
		}
		for got := range outcomes(t, sim, "f") {
			if got != old && got != next {
				t.Fatalf("cut at %d: %d bytes", cut, len(got))
			}
		}
		// The next one cleans up what is left.
		after := sim.Crash(uint64(cut))
		if err := vfs.WriteFile(after, "f", []byte("third")); err != nil {
			t.Fatalf("after a cut at %d: %v", cut, err)
		}
		wantOutcomes(t, outcomes(t, after, "f"), "third")
	}
	sim := vfs.NewSim()
	if err := vfs.WriteFile(sim, "f", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.ReadFile(sim, "f", 4); !errors.Is(err, vfs.ErrTooLarge) {
		t.Errorf("ReadFile above its limit: %v", err)
	}
}

func BenchmarkDatasync(b *testing.B) {
	for _, size := range []int64{512, 4096, 64 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			f, err := vfs.OS.Create(filepath.Join(b.TempDir(), "f"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			if err := vfs.ZeroFill(f, 0, 16<<20); err != nil {
				b.Fatal(err)
			}
			data := make([]byte, size)
			off := int64(0)
			b.SetBytes(size)
			for b.Loop() {
				if _, err := f.WriteAt(data, off); err != nil {
					b.Fatal(err)
				}
				if err := f.Datasync(); err != nil {
					b.Fatal(err)
				}
				off = (off + size) % (16 << 20)
			}
		})
	}
}
