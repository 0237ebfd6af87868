package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

const root = "/store"

// script does a fixed row of operations and tells what each has made true: a
// state is the content by key. It stops at the first error.
func script(d *Dir, promised func(map[string]string)) error {
	ctx := context.Background()
	state := map[string]string{}
	var last Info
	put := func(key, data string) (err error) {
		last, err = PutBytes(ctx, d, key, []byte(data))
		return err
	}
	long := strings.Repeat("0123456789abcdef", 5000) // two blocks
	steps := []func() error{
		func() error { return put("a", "one") },
		func() error { return put("dir/b", long) },
		func() error { return put("a", "two") },
		func() error {
			_, err := PutBytesIf(ctx, d, "a", []byte("three"), last.Version)
			return err
		},
		func() error { return put("dir/sub/c", "") },
		func() error { return d.Delete(ctx, "dir/b") },
		func() error { return put("dir/b", "short") },
		func() error { return d.Delete(ctx, "a") },
		func() error { return put("A", "last") },
	}
	after := []func(){
		func() { state["a"] = "one" },
		func() { state["dir/b"] = long },
		func() { state["a"] = "two" },
		func() { state["a"] = "three" },
		func() { state["dir/sub/c"] = "" },
		func() { delete(state, "dir/b") },
		func() { state["dir/b"] = "short" },
		func() { delete(state, "a") },
		func() { state["A"] = "last" },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			// What was under way may or may not be there afterwards.
			after[i]()
			promised(maps.Clone(state))
			return err
		}
		after[i]()
		promised(maps.Clone(state))
	}
	return nil
}

// contents reads the whole store; any damage is an error.
func contents(d *Dir) (map[string]string, error) {
	got := map[string]string{}
	for info, err := range d.List(context.Background(), "", "") {
		if err != nil {
			return nil, err
		}
		data, _, err := GetBytes(context.Background(), d, info.Key, 1<<20)
		if err != nil {
			return nil, err
		}
		got[info.Key] = string(data)
	}
	return got, nil
}

// TestPowerCut cuts the power at each call of the script in turn. After the cut
// the store holds what had been promised, or that with the operation that was
// under way, and never a part of an object.
func TestPowerCut(t *testing.T) {
	for cut := 1; ; cut++ {
		sim := vfs.NewSim()
		sim.CutAt(cut)
		states := []map[string]string{{}}
		d, err := openDir(sim, root, nil)
		if err == nil {
			err = script(d, func(s map[string]string) { states = append(states, s) })
		}
		if err == nil {
			if cut < 40 {
				t.Fatalf("the script needs only %d calls: has it lost its syncs?", cut-1)
			}
			return // the power outlived the script
		}
		for seed := range uint64(40) {
			after, err := openDir(sim.Crash(seed), root, nil)
			if err != nil {
				t.Fatalf("cut at call %d, seed %d: %v", cut, seed, err)
			}
			got, err := contents(after)
			if err != nil {
				t.Fatalf("cut at call %d, seed %d: %v", cut, seed, err)
			}
			// Either the state before the operation under way or the one after.
			ok := slices.ContainsFunc(states[max(0, len(states)-2):], func(s map[string]string) bool { return maps.Equal(s, got) })
			if !ok {
				t.Fatalf("cut at call %d, seed %d: store holds %.60q, promised %.60q", cut, seed, got, states[len(states)-1])
			}
			if left, err := after.fs.List(filepath.Join(root, tmpName)); err != nil || len(left) > 0 {
				t.Fatalf("cut at call %d, seed %d: %q left in tmp (%v)", cut, seed, left, err)
			}
			if _, err := PutBytes(context.Background(), after, "new", []byte("x")); err != nil {
				t.Fatalf("cut at call %d, seed %d: Put afterwards: %v", cut, seed, err)
			}
		}
	}
}

// TestKilledProcess ends the process, not the machine, at each call: what it had
// written is there, synced or not. What the next process sees must be whole, and
// no power cut may take it back.
func TestKilledProcess(t *testing.T) {
	for cut := 1; ; cut++ {
		sim := vfs.NewSim()
		n := 0
		sim.SetHook(func(op vfs.Op) error {
			if op.N > 0 {
				n++
			}
			if n >= cut {
				return errors.New("killed")
			}
			return nil
		})
		states := []map[string]string{{}}
		d, err := openDir(sim, root, nil)
		if err == nil {
			err = script(d, func(s map[string]string) { states = append(states, s) })
		}
		if err == nil {
			return
		}
		next := sim.Kill()
		d, err = openDir(next, root, nil)
		if err != nil {
			t.Fatalf("killed at call %d: %v", cut, err)
		}
		seen, err := contents(d)
		if err != nil {
			t.Fatalf("killed at call %d: %v", cut, err)
		}
		if !slices.ContainsFunc(states, func(s map[string]string) bool { return maps.Equal(s, seen) }) {
			t.Fatalf("killed at call %d: store holds %.60q", cut, seen)
		}
		for seed := range uint64(20) {
			after, err := openDir(next.Crash(seed), root, nil)
			if err != nil {
				t.Fatalf("killed at call %d, then a power cut, seed %d: %v", cut, seed, err)
			}
			if got, err := contents(after); err != nil || !maps.Equal(got, seen) {
				t.Fatalf("killed at call %d, then a power cut, seed %d: store holds %.60q (%v); before it was seen with %.60q",
					cut, seed, got, err, seen)
			}
		}
	}
}

// TestReadersSeeOnlyWhatIsDurable stalls the sync of a directory, after the new
// object has its name: a reader must wait for it, since a power cut could still
// take the object back.
func TestReadersSeeOnlyWhatIsDurable(t *testing.T) {
	sim := vfs.NewSim()
	d, err := openDir(sim, root, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := PutBytes(ctx, d, "k", []byte("old")); err != nil {
		t.Fatal(err)
	}
	stalled, goOn := make(chan bool, 1), make(chan bool)
	sim.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpSyncDir {
			stalled <- true
			<-goOn
		}
		return nil
	})
	put := make(chan error, 1)
	go func() {
		_, err := PutBytes(ctx, d, "k", []byte("new"))
		put <- err
	}()
	select {
	case <-stalled:
	case err := <-put:
		t.Fatalf("Put returned %v without a sync of the folder", err)
	}
	if d.stripe("k").TryRLock() {
		t.Fatal("a reader may open the object while its name is not durable")
	}
	read := make(chan string, 1)
	go func() {
		data, _, err := GetBytes(ctx, d, "k", 10)
		read <- fmt.Sprint(string(data), err)
	}()
	select {
	case got := <-read:
		t.Fatalf("read %q before the sync returned", got)
	default:
	}
	close(goOn)
	if err := <-put; err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != "new<nil>" {
		t.Fatalf("read %q after the put", got)
	}
}

// TestFailedSyncs fails one sync after the other. A put whose file could not be
// synced changes nothing; after a directory could not be, nothing goes on.
func TestFailedSyncs(t *testing.T) {
	boom := errors.New("boom")
	ctx := t.Context()
	for _, kind := range []vfs.OpKind{vfs.OpSync, vfs.OpSyncDir} {
		sim := vfs.NewSim()
		d, err := openDir(sim, root, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := PutBytes(ctx, d, "k", []byte("old")); err != nil {
			t.Fatal(err)
		}
		sim.SetHook(func(op vfs.Op) error {
			if op.Kind == kind {
				return boom
			}
			return nil
		})
		if _, err := PutBytes(ctx, d, "k", []byte("new")); !errors.Is(err, boom) {
			t.Fatalf("%v fails: Put returned %v", kind, err)
		}
		sim.SetHook(nil)
		data, _, err := GetBytes(ctx, d, "k", 10)
		switch {
		case kind == vfs.OpSync && (err != nil || string(data) != "old"):
			t.Errorf("the file's sync failed: Get = %q, %v, want the old object", data, err)
		case kind == vfs.OpSyncDir && !errors.Is(err, boom):
			t.Errorf("the folder's sync failed: Get = %q, %v, want the failure", data, err)
		}
		if _, err := PutBytes(ctx, d, "k", []byte("next")); (err == nil) != (kind == vfs.OpSync) {
			t.Errorf("%v failed before: the next Put returned %v", kind, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if left, err := sim.List(filepath.Join(root, tmpName)); err != nil || len(left) > 0 {
			t.Errorf("%v failed: %q left in tmp (%v)", kind, left, err)
		}
	}
}

// TestFullDisk fails each write with a full disk: the put says so and the store
// lives on.
func TestFullDisk(t *testing.T) {
	for writes := 1; writes <= 3; writes++ {
		sim := vfs.NewSim()
		d, err := openDir(sim, root, nil)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		sim.SetHook(func(op vfs.Op) error {
			if op.Kind == vfs.OpWrite {
				if n++; n == writes {
					return &vfs.ShortWrite{N: op.Len / 2, Err: vfs.ErrNoSpace}
				}
			}
			return nil
		})
		data := make([]byte, blockLen+1) // two blocks and the header: three writes
		if _, err := PutBytes(t.Context(), d, "k", data); !errors.Is(err, vfs.ErrNoSpace) {
			t.Errorf("write %d on a full disk: %v", writes, err)
		}
		if got, err := contents(d); err != nil || len(got) > 0 {
			t.Errorf("write %d on a full disk left %d objects, %v", writes, len(got), err)
		}
		if _, err := PutBytes(t.Context(), d, "k", data); err != nil {
			t.Errorf("Put with space again: %v", err)
		}
	}
}

// TestEveryFlippedBitIsFound flips each bit of the header and some of each part
// of the blocks.
func TestEveryFlippedBitIsFound(t *testing.T) {
	sim := vfs.NewSim()
	d, err := openDir(sim, root, nil)
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("x"), blockLen+100)
	if _, err := PutBytes(t.Context(), d, "k", data); err != nil {
		t.Fatal(err)
	}
	name := d.path("k")
	size, err := sim.Stat(name)
	if err != nil || size != fileLen(int64(len(data))) {
		t.Fatalf("file of %d bytes (%v), want %d", size, err, fileLen(int64(len(data))))
	}
	for off := int64(0); off < size; off++ {
		if off > headerLen && off%997 != 0 && size-off > 8 {
			continue
		}
		if err := sim.Flip(name, off, int(off%8)); err != nil {
			t.Fatal(err)
		}
		_, _, err := GetBytes(t.Context(), d, "k", 1<<20)
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("bit flipped at %d of %d: Get = %v", off, size, err)
		}
		if err := sim.Flip(name, off, int(off%8)); err != nil {
			t.Fatal(err)
		}
	}
	// A range that does not touch the damage is still good, a list names it.
	if err := sim.Flip(name, size-1, 0); err != nil {
		t.Fatal(err)
	}
	obj, err := d.GetRange(t.Context(), "k", 0, blockLen)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(obj); err != nil || len(got) != blockLen {
		t.Errorf("the undamaged block: %d bytes, %v", len(got), err)
	}
	if err := sim.Flip(name, 9, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := PutBytes(t.Context(), d, "l", nil); err != nil {
		t.Fatal(err)
	}
	var listed []string
	for info, err := range d.List(t.Context(), "", "") {
		listed = append(listed, fmt.Sprint(info.Key, " ", errors.Is(err, ErrCorrupt)))
	}
	if !slices.Equal(listed, []string{"k true", "l false"}) {
		t.Errorf("List with a damaged object: %q", listed)
	}
	// Put replaces it, PutIf cannot know what it replaces.
	if _, err := PutBytesIf(t.Context(), d, "k", nil, Absent); !errors.Is(err, ErrCorrupt) {
		t.Errorf("PutIf on a damaged object: %v", err)
	}
	if _, err := PutBytes(t.Context(), d, "k", nil); err != nil {
		t.Errorf("Put over a damaged object: %v", err)
	}
}

// TestMisplacedFile gives an object's file the name of another key.
func TestMisplacedFile(t *testing.T) {
	sim := vfs.NewSim()
	d, err := openDir(sim, root, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := PutBytes(t.Context(), d, "k", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := sim.Rename(d.path("k"), d.path("l")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Get(t.Context(), "l"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Get: %v, want ErrCorrupt", err)
	}
}
