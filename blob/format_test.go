package blob

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// The file in testdata was written by the first release of the format, under
// the key "Golden/v1": every later one must read it.
func TestGoldenFile(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "v1.object"))
	if err != nil {
		t.Fatal(err)
	}
	sim := vfs.NewSim()
	d, err := openDir(sim, root, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "objects", "d_%47olden", "o_v1")
	if err := sim.MkdirAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFile(sim, path, raw); err != nil {
		t.Fatal(err)
	}
	data, info, err := GetBytes(t.Context(), d, "Golden/v1", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat("ashlar blob v1\n", 5000); string(data) != want {
		t.Errorf("content of %d bytes, want %d", len(data), len(want))
	}
	if want := (Info{"Golden/v1", 75000, "000102030405060708090a0b0c0d0e0f", time.Unix(1_800_000_000, 5)}); info != want {
		t.Errorf("info %+v, want %+v", info, want)
	}
}

func TestFileNames(t *testing.T) {
	for key, want := range map[string]string{
		"a":                             "o_a",
		"photos/cat.jpg":                "d_photos/o_cat.jpg",
		"Photos/Größe":                  "d_%50hotos/o_%47r%c3%b6%c3%9fe",
		"con":                           "o_con",
		"a.":                            "o_a%2e",
		strings.Repeat("x", 197):        "o_" + strings.Repeat("x", 197),
		strings.Repeat("x", 198):        "c_" + strings.Repeat("x", 198) + "/o_",
		strings.Repeat("x", 198) + "/y": "c_" + strings.Repeat("x", 198) + "/d_/o_y",
		strings.Repeat("x", 200):        "c_" + strings.Repeat("x", 198) + "/o_xx",
	} {
		if got := filepath.ToSlash(keyPath(key)); got != want {
			t.Errorf("keyPath(%q) = %s, want %s", key, got, want)
		}
	}
	for _, file := range []string{"", "o", "a", "x_a", "o_A", "o_%4", "o_%zz", "o_%61", "o_%2E", "o_a.", "c_", "o_a b"} {
		if e, ok := parseEntry(file); ok {
			t.Errorf("parseEntry(%q) = %+v, though no key has this file", file, e)
		}
	}
}

// FuzzKeyPath checks that every key has a path of its own which every system
// takes and from which the key can be told.
func FuzzKeyPath(f *testing.F) {
	f.Add("photos/Cat.jpg", "photos")
	f.Add(strings.Repeat("x", 198)+"/y", strings.Repeat("x", 198))
	f.Add("con/nul.", "CON/nul.")
	f.Add("a/b", "a-")
	f.Fuzz(func(t *testing.T, key, other string) {
		if CheckKey(key) != nil {
			return
		}
		names := strings.Split(filepath.ToSlash(keyPath(key)), "/")
		back := ""
		for i, name := range names {
			if len(name) > 250 || strings.ToLower(name) != name || strings.HasSuffix(name, ".") || strings.Trim(name, safe) != "" {
				t.Fatalf("key %q has the file name %q", key, name)
			}
			e, ok := parseEntry(name)
			if !ok || e.folder != (i+1 < len(names)) {
				t.Fatalf("key %q: parseEntry(%q) = %+v, %v", key, name, e, ok)
			}
			back += e.text
		}
		if back != key {
			t.Fatalf("key %q has the path %q, which says %q", key, names, back)
		}
		// The folders of a prefix lead to the key.
		for i := range key {
			dir, rest := folders(key[:i])
			if !slices.Equal(dir, names[:len(dir)]) || !strings.HasSuffix(key[:i], rest) {
				t.Fatalf("folders(%q) = %q, %q; the key's path is %q", key[:i], dir, rest, names)
			}
		}
		// Where two paths part, their entries are in the order of the keys.
		if CheckKey(other) != nil || key == other {
			return
		}
		others := strings.Split(filepath.ToSlash(keyPath(other)), "/")
		for i := range min(len(names), len(others)) {
			if names[i] == others[i] {
				continue
			}
			a, _ := parseEntry(names[i])
			b, _ := parseEntry(others[i])
			if (a.text < b.text) != (key < other) {
				t.Fatalf("keys %q and %q sort otherwise than %q and %q", key, other, names[i], others[i])
			}
			return
		}
		t.Fatalf("the path of one of %q and %q lies in that of the other", key, other)
	})
}

const safe = "abcdefghijklmnopqrstuvwxyz0123456789._-%"

// FuzzHeader checks that a header decodes to an error or to what encodes the same.
func FuzzHeader(f *testing.F) {
	h := header{size: 70_000, modified: 5, version: version{1, 2, 3}}
	f.Add(h.append(nil, "key"), "key", fileLen(h.size))
	f.Add(header{}.append(nil, "k"), "k", fileLen(0))
	f.Add([]byte("BLB\x00\x02"), "k", int64(44))
	f.Fuzz(func(t *testing.T, b []byte, key string, size int64) {
		h, err := parseHeader(b, key, size)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("parseHeader: %v", err)
			}
			return
		}
		if again := h.append(nil, key); !slices.Equal(again, b[:headerLen]) {
			t.Fatalf("header %x is encoded as %x", b[:headerLen], again)
		}
		if fileLen(h.size) != size || h.size < 0 {
			t.Fatalf("object of %d bytes in a file of %d", h.size, size)
		}
	})
}
