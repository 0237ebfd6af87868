// Package blobtest is the suite that every [blob.Store] has to pass: the stores
// of package blob, those of adapters, and yours.
//
//	func TestMyStore(t *testing.T) {
//		blobtest.Run(t, func(t *testing.T) blob.Store { return mystore.New(t.TempDir()) })
//	}
//
// It checks what the interface promises and nothing beyond, so that a store on
// an S3 server passes too: that versions of equal contents differ is not asked,
// nor that "a" and "a/b" can both be keys.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/ashlar-go/ashlar/blob"
)

// Run runs the suite as subtests of t. Open returns an empty store and cleans up
// after itself with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, blob.Store)
	}{
		{"PutGetDelete", testPutGetDelete},
		{"Ranges", testRanges},
		{"Sizes", testSizes},
		{"Bodies", testBodies},
		{"Keys", testKeys},
		{"PutIf", testPutIf},
		{"List", testList},
		{"OpenObjectsKeepTheirContent", testSnapshot},
		{"Counter", testCounter},
		{"CreateOnce", testCreateOnce},
		{"Context", testContext},
		{"Model", testModel},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

var ctx = context.Background()

// put stores data and returns what the store says about it.
func put(t *testing.T, s blob.Store, key, data string) blob.Info {
	t.Helper()
	info, err := blob.PutBytes(ctx, s, key, []byte(data))
	if err != nil {
		t.Fatalf("Put(%q): %v", key, err)
	}
	return info
}

// get returns the content of an object.
func get(t *testing.T, s blob.Store, key string) string {
	t.Helper()
	data, _, err := blob.GetBytes(ctx, s, key, 1<<30)
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	return string(data)
}

// wantErr fails unless err wraps want.
func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

// list returns the keys of a listing.
func list(t *testing.T, s blob.Store, prefix, after string) []string {
	t.Helper()
	var keys []string
	for info, err := range s.List(ctx, prefix, after) {
		if err != nil {
			t.Fatalf("List(%q, %q): %v", prefix, after, err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func testPutGetDelete(t *testing.T, s blob.Store) {
	_, err := s.Get(ctx, "a")
	wantErr(t, "Get of a key that never was", err, blob.ErrNotFound)
	if err := s.Delete(ctx, "a"); err != nil {
		t.Fatalf("Delete of a key that never was: %v", err)
	}
	before := time.Now().Add(-time.Hour) // the store's clock may be another machine's
	info := put(t, s, "a", "one")
	if info.Key != "a" || info.Size != 3 || info.Version == blob.Absent || info.Modified.Before(before) {
		t.Fatalf("Put returned %+v", info)
	}
	obj, err := s.Get(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if obj.Key != "a" || obj.Size != 3 || obj.Version != info.Version || obj.Modified.Sub(info.Modified).Abs() > time.Second {
		t.Fatalf("Get returned %+v, Put %+v", obj.Info, info)
	}
	if err := iotest.TestReader(obj, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := obj.Close(); err != nil {
		t.Fatal(err)
	}
	second := put(t, s, "a", "two and more")
	if second.Version == info.Version {
		t.Fatal("another content has the same version")
	}
	if got := get(t, s, "a"); got != "two and more" {
		t.Fatalf("content %q after the second put", got)
	}
	if err := s.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Get(ctx, "a")
	wantErr(t, "Get after Delete", err, blob.ErrNotFound)
	if keys := list(t, s, "", ""); len(keys) != 0 {
		t.Fatalf("List after Delete: %q", keys)
	}
}

func testRanges(t *testing.T, s blob.Store) {
	data := pattern(200_000)
	info := put(t, s, "r", string(data))
	size := int64(len(data))
	cases := [][2]int64{
		{0, -1},
		{0, 0},
		{0, 1},
		{0, size},
		{0, size + 1},
		{size, -1},
		{size, 5},
		{size + 9, 3},
		{size - 1, -1},
		{5, 0},
		{65535, 2},
		{65536, 65536},
		{131071, 3},
		{1, 1 << 62},
		{1 << 62, 1 << 62},
	}
	for range 50 {
		off := rand.Int64N(size)
		cases = append(cases, [2]int64{off, rand.Int64N(size - off + 1)})
	}
	for _, c := range cases {
		obj, err := s.GetRange(ctx, "r", c[0], c[1])
		if err != nil {
			t.Fatalf("GetRange(%d, %d): %v", c[0], c[1], err)
		}
		got, err := io.ReadAll(obj)
		if err := errors.Join(err, obj.Close()); err != nil {
			t.Fatalf("reading range (%d, %d): %v", c[0], c[1], err)
		}
		from := min(c[0], size)
		to := size
		if c[1] >= 0 && c[1] < size-from {
			to = from + c[1]
		}
		if !bytes.Equal(got, data[from:to]) {
			t.Fatalf("GetRange(%d, %d) yields %d bytes, want %d; or others", c[0], c[1], len(got), to-from)
		}
		if obj.Size != size || obj.Version != info.Version {
			t.Fatalf("GetRange(%d, %d) says %+v, want the whole object's %+v", c[0], c[1], obj.Info, info)
		}
	}
	for _, c := range [][2]int64{{-1, 5}, {0, -2}} {
		_, err := s.GetRange(ctx, "r", c[0], c[1])
		wantErr(t, fmt.Sprint("GetRange", c), err, blob.ErrInvalid)
	}
	_, err := s.GetRange(ctx, "none", 0, 1)
	wantErr(t, "GetRange of a key that never was", err, blob.ErrNotFound)
}

// pattern returns n bytes in which no two blocks are equal.
func pattern(n int) []byte {
	data := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(data)
	return data
}

func testSizes(t *testing.T, s blob.Store) {
	for _, n := range []int{0, 1, 511, 512, 65535, 65536, 65537, 131072, 3_000_001} {
		data := pattern(n)
		for _, declared := range []int64{int64(n), -1} {
			info, err := s.Put(ctx, "size", iotest.HalfReader(bytes.NewReader(data)), declared)
			if err != nil || info.Size != int64(n) {
				t.Fatalf("Put of %d bytes, declared %d: %+v, %v", n, declared, info, err)
			}
			if got := get(t, s, "size"); got != string(data) {
				t.Fatalf("%d bytes, declared %d: %d others came back", n, declared, len(got))
			}
		}
	}
}

func testBodies(t *testing.T, s blob.Store) {
	put(t, s, "b", "before")
	boom := errors.New("boom")
	cases := []struct {
		name string
		body io.Reader
		size int64
		want error
	}{
		{"fails", iotest.ErrReader(boom), -1, boom},
		{"fails later", io.MultiReader(bytes.NewReader(pattern(100_000)), iotest.ErrReader(boom)), -1, boom},
		{"was cut off", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF)), -1, io.ErrUnexpectedEOF},
		{"ends early", strings.NewReader("four"), 5, io.ErrUnexpectedEOF},
		{"is empty, declared 1", strings.NewReader(""), 1, io.ErrUnexpectedEOF},
		{"goes on", strings.NewReader("four"), 3, blob.ErrInvalid},
		{"has a negative size", strings.NewReader("four"), -2, blob.ErrInvalid},
		{"is declared beyond the limit", strings.NewReader("four"), blob.MaxSize + 1, blob.ErrTooLarge},
	}
	for _, c := range cases {
		_, err := s.Put(ctx, "b", c.body, c.size)
		wantErr(t, "a body that "+c.name, err, c.want)
		if got := get(t, s, "b"); got != "before" {
			t.Fatalf("a body that %s: content is now %q", c.name, got)
		}
	}
	if keys := list(t, s, "", ""); !slices.Equal(keys, []string{"b"}) {
		t.Fatalf("failed puts left %q", keys)
	}
}

func testKeys(t *testing.T, s blob.Store) {
	good := []string{
		"a", "A", "con", "nul.txt", "COM1", "aux/prn", ".hidden", "..x", "end.", "end ", " ", "a b", "%41", "%", "a%2fb",
		"Grüße/Ärger.txt", "日本語", "\U0001F600", "tmp", "LOCK", "FORMAT", "objects", "o_a", "d_a/x", "c_a/x", "a:b", "a\\b",
		"*?<>|\"", "~/x", "e\u0301", "\u00e9", "a.tmp",
		strings.Repeat("x", 197), strings.Repeat("x", 198), strings.Repeat("x", 199), strings.Repeat("y", 255),
		strings.Repeat("Z", 300) + "/tail", strings.Repeat("long", 250), strings.Repeat("s/", 100) + "end",
	}
	for i, key := range good {
		put(t, s, key, strconv.Itoa(i))
	}
	for i, key := range good {
		if got := get(t, s, key); got != strconv.Itoa(i) {
			t.Errorf("key %q holds %q, want %d", key, got, i)
		}
	}
	slices.Sort(good)
	if got := list(t, s, "", ""); !slices.Equal(got, good) {
		t.Errorf("List = %q\nwant   %q", got, good)
	}
	bad := map[string]error{
		"": blob.ErrInvalid, "/": blob.ErrInvalid, "/a": blob.ErrInvalid, "a/": blob.ErrInvalid, "a//b": blob.ErrInvalid,
		".": blob.ErrInvalid, "..": blob.ErrInvalid, "../x": blob.ErrInvalid, "a/../b": blob.ErrInvalid, "a/.": blob.ErrInvalid,
		"\xff": blob.ErrInvalid, "a\x00b": blob.ErrInvalid, "line\n": blob.ErrInvalid, "\x7f": blob.ErrInvalid,
		strings.Repeat("k", blob.MaxKey+1): blob.ErrTooLarge,
	}
	for key, want := range bad {
		_, err := blob.PutBytes(ctx, s, key, nil)
		wantErr(t, fmt.Sprintf("Put(%.20q)", key), err, want)
		_, err = blob.PutBytesIf(ctx, s, key, nil, blob.Absent)
		wantErr(t, fmt.Sprintf("PutIf(%.20q)", key), err, want)
		_, err = s.Get(ctx, key)
		wantErr(t, fmt.Sprintf("Get(%.20q)", key), err, want)
		wantErr(t, fmt.Sprintf("Delete(%.20q)", key), s.Delete(ctx, key), want)
	}
}

func testPutIf(t *testing.T, s blob.Store) {
	_, err := blob.PutBytesIf(ctx, s, "p", []byte("x"), "0123")
	wantErr(t, "PutIf on a version where there is no object", err, blob.ErrConflict)
	first, err := blob.PutBytesIf(ctx, s, "p", []byte("1"), blob.Absent)
	if err != nil {
		t.Fatal(err)
	}
	_, err = blob.PutBytesIf(ctx, s, "p", []byte("2"), blob.Absent)
	wantErr(t, "PutIf(Absent) on a key that is taken", err, blob.ErrExists)
	second, err := blob.PutBytesIf(ctx, s, "p", []byte("2"), first.Version)
	if err != nil {
		t.Fatalf("PutIf on the present version: %v", err)
	}
	_, err = blob.PutBytesIf(ctx, s, "p", []byte("3"), first.Version)
	wantErr(t, "PutIf on an older version", err, blob.ErrConflict)
	if got := get(t, s, "p"); got != "2" {
		t.Fatalf("content %q after a refused PutIf", got)
	}
	if err := s.Delete(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	_, err = blob.PutBytesIf(ctx, s, "p", []byte("3"), second.Version)
	wantErr(t, "PutIf on the version of a deleted object", err, blob.ErrConflict)
	if _, err := blob.PutBytesIf(ctx, s, "p", []byte("4"), blob.Absent); err != nil {
		t.Fatalf("PutIf(Absent) after Delete: %v", err)
	}
}

func testList(t *testing.T, s blob.Store) {
	// '-' < '.' < '/' < '0': where a folder sorts among files whose names begin
	// with its own is what stores get wrong.
	keys := []string{
		"a-", "a.b", "a/b-", "a/b/c", "a/b0", "a0", "ab", "b/" + strings.Repeat("m", 400),
		"b/" + strings.Repeat("m", 198) + "/q", "b/" + strings.Repeat("m", 198) + "!", "z",
	}
	want := map[string]blob.Info{}
	for _, key := range rand.Perm(len(keys)) {
		want[keys[key]] = put(t, s, keys[key], strings.Repeat("#", key))
	}
	slices.Sort(keys)
	prefixes := []string{
		"", "a", "a/", "a/b", "a/b/", "a-", "b", "b/", "b/m", "b/" + strings.Repeat("m", 198),
		"b/" + strings.Repeat("m", 199), "b/" + strings.Repeat("m", 198) + "/", "c", "z", "zz", "/", "a//", "\xff",
	}
	for _, prefix := range prefixes {
		for _, after := range append([]string{"", "\x00", "a/bb", "zzz", "b/mm"}, keys...) {
			var expect []string
			for _, key := range keys {
				if strings.HasPrefix(key, prefix) && key > after {
					expect = append(expect, key)
				}
			}
			if got := list(t, s, prefix, after); !slices.Equal(got, expect) {
				t.Fatalf("List(%.30q, %.30q) = %.30q\nwant %.30q", prefix, after, got, expect)
			}
		}
	}
	for info, err := range s.List(ctx, "", "") {
		if w := want[info.Key]; err != nil || info.Size != w.Size || info.Version != w.Version {
			t.Fatalf("List yields %+v, %v, want %+v", info, err, w)
		}
	}
	// Pages of three, with a loop that stops.
	var paged []string
	for after := ""; ; {
		n := 0
		for info, err := range s.List(ctx, "", after) {
			if err != nil {
				t.Fatal(err)
			}
			paged, after = append(paged, info.Key), info.Key
			if n++; n == 3 {
				break
			}
		}
		if n < 3 {
			break
		}
	}
	if !slices.Equal(paged, keys) {
		t.Fatalf("pages of three: %q", paged)
	}
	// A loop may change what it lists.
	for info, err := range s.List(ctx, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(ctx, info.Key); err != nil {
			t.Fatal(err)
		}
	}
	if left := list(t, s, "", ""); len(left) > 0 {
		t.Fatalf("deleting all that is listed leaves %q", left)
	}
}

func testSnapshot(t *testing.T, s blob.Store) {
	old, young := pattern(300_000), bytes.Repeat([]byte("new"), 100_000)
	put(t, s, "o", string(old))
	obj, err := s.Get(ctx, "o")
	if err != nil {
		t.Fatal(err)
	}
	defer obj.Close()
	head := make([]byte, 10)
	if _, err := io.ReadFull(obj, head); err != nil {
		t.Fatal(err)
	}
	put(t, s, "o", string(young))
	if err := s.Delete(ctx, "o"); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(obj)
	if err != nil || !bytes.Equal(append(head, rest...), old) {
		t.Fatalf("an open object changed under its reader (%d bytes, %v)", 10+len(rest), err)
	}
}

// testCounter has goroutines count in one object by compare-and-swap: no count
// is lost.
func testCounter(t *testing.T, s blob.Store) {
	const workers, each = 8, 25
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				_, err := blob.Update(ctx, s, "count", 64, func(old []byte) ([]byte, error) {
					if old == nil {
						return []byte("1"), nil
					}
					n, err := strconv.Atoi(string(old))
					return strconv.AppendInt(nil, int64(n+1), 10), err
				})
				if err != nil {
					t.Errorf("Update: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := get(t, s, "count"); got != strconv.Itoa(workers*each) {
		t.Fatalf("count = %s after %d increments", got, workers*each)
	}
}

func testCreateOnce(t *testing.T, s blob.Store) {
	for round := range 10 {
		key := fmt.Sprintf("once/%d", round)
		var mu sync.Mutex
		var winners []int
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				_, err := blob.PutBytesIf(ctx, s, key, []byte(strconv.Itoa(i)), blob.Absent)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					winners = append(winners, i)
				} else if !errors.Is(err, blob.ErrExists) {
					t.Errorf("PutIf: %v", err)
				}
			})
		}
		wg.Wait()
		if len(winners) != 1 || get(t, s, key) != strconv.Itoa(winners[0]) {
			t.Fatalf("winners %v, content %q", winners, get(t, s, key))
		}
	}
}

func testContext(t *testing.T, s blob.Store) {
	put(t, s, "c", "x")
	done, cancel := context.WithCancel(ctx)
	cancel()
	_, err := blob.PutBytes(done, s, "c", []byte("y"))
	wantErr(t, "Put", err, context.Canceled)
	_, err = s.Get(done, "c")
	wantErr(t, "Get", err, context.Canceled)
	wantErr(t, "Delete", s.Delete(done, "c"), context.Canceled)
	var last error
	for _, last = range s.List(done, "", "") {
	}
	wantErr(t, "List", last, context.Canceled)

	// Cancelled while the body is read: nothing is stored.
	later, cancel := context.WithCancel(ctx)
	defer cancel()
	n := 0
	body := readerFunc(func(p []byte) (int, error) {
		if n++; n == 3 {
			cancel()
		}
		if n > 1000 {
			return 0, io.EOF
		}
		return len(p), nil
	})
	_, err = s.Put(later, "c", body, -1)
	wantErr(t, "Put", err, context.Canceled)
	if got := get(t, s, "c"); got != "x" {
		t.Fatalf("content %q after cancelled calls", got)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// testModel does random operations on the store and on a map.
func testModel(t *testing.T, s blob.Store) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	type object struct {
		data    string
		version string
	}
	model := map[string]object{}
	keys := []string{"a", "b", "B", "dir/a", "dir/b", "dir-2/a", "dir/sub/a", "other"}
	for i := range 400 {
		key := keys[rng.IntN(len(keys))]
		old, ok := model[key]
		data := strings.Repeat(strconv.Itoa(i)+";", rng.IntN(40))
		switch op := rng.IntN(6); op {
		case 0:
			model[key] = object{data, put(t, s, key, data).Version}
		case 1, 2:
			demanded := blob.Absent
			if op == 2 {
				demanded = old.version
				if rng.IntN(3) == 0 { // another object's version, or that of none
					demanded = model[keys[rng.IntN(len(keys))]].version
				}
			}
			var want error
			switch {
			case demanded == blob.Absent && ok:
				want = blob.ErrExists
			case demanded != old.version:
				want = blob.ErrConflict
			}
			info, err := blob.PutBytesIf(ctx, s, key, []byte(data), demanded)
			if !errors.Is(err, want) {
				t.Fatalf("step %d: PutIf(%q, %q) = %v, want %v", i, key, demanded, err, want)
			}
			if err == nil {
				model[key] = object{data, info.Version}
			}
		case 3:
			if err := s.Delete(ctx, key); err != nil {
				t.Fatalf("step %d: Delete(%q): %v", i, key, err)
			}
			delete(model, key)
		case 4:
			got, info, err := blob.GetBytes(ctx, s, key, 1<<20)
			if !ok {
				wantErr(t, fmt.Sprintf("step %d: Get(%q)", i, key), err, blob.ErrNotFound)
			} else if err != nil || string(got) != old.data || info.Version != old.version {
				t.Fatalf("step %d: Get(%q) = %q, %+v, %v; model %+v", i, key, got, info, err, old)
			}
		case 5:
			if got, want := list(t, s, "", ""), slices.Sorted(maps.Keys(model)); !slices.Equal(got, want) {
				t.Fatalf("step %d: List = %q, model %q", i, got, want)
			}
		}
	}
}
