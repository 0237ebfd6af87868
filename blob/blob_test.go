package blob_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/blob/blobtest"
)

func TestMem(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return blob.NewMem() })
}

func TestDir(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, t.TempDir(), nil) })
}

func TestDirNoSync(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, t.TempDir(), &blob.Options{NoSync: true}) })
}

func open(t testing.TB, dir string, o *blob.Options) *blob.Dir {
	t.Helper()
	d, err := blob.OpenDir(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestDirLivesOn(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil)
	info, err := blob.PutBytes(t.Context(), d, "Kept/x", []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blob.OpenDir(dir, nil); !errors.Is(err, blob.ErrLocked) {
		t.Fatalf("a second opening: %v, want ErrLocked", err)
	}
	obj, err := d.Get(t.Context(), "Kept/x")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := io.ReadAll(obj); err != nil || string(data) != "content" {
		t.Errorf("an open object after Close: %q, %v", data, err)
	}
	if err := obj.Close(); err != nil {
		t.Error(err)
	}
	if n, err := obj.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
		t.Errorf("Read after Close of the object: %d, %v", n, err)
	}
	again := open(t, dir, nil)
	if data, got, err := blob.GetBytes(t.Context(), again, "Kept/x", 100); err != nil || string(data) != "content" ||
		got.Version != info.Version || !got.Modified.Equal(info.Modified) {
		t.Errorf("after opening again: %q, %+v, %v; put returned %+v", data, got, err, info)
	}
}

func TestDirClosed(t *testing.T) {
	d := open(t, t.TempDir(), nil)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := blob.PutBytes(t.Context(), d, "a", nil)
	errs := map[string]error{"Put": err}
	_, errs["PutIf"] = blob.PutBytesIf(t.Context(), d, "a", nil, blob.Absent)
	_, errs["Get"] = d.Get(t.Context(), "a")
	errs["Delete"] = d.Delete(t.Context(), "a")
	for _, err := range d.List(t.Context(), "", "") {
		errs["List"] = err
	}
	for _, name := range []string{"Put", "PutIf", "Get", "Delete", "List"} {
		if !errors.Is(errs[name], blob.ErrClosed) {
			t.Errorf("%s after Close: %v", name, errs[name])
		}
	}
}

func TestDirLimits(t *testing.T) {
	d := open(t, t.TempDir(), &blob.Options{MaxSize: 10})
	for _, size := range []int64{11, -1} {
		if _, err := d.Put(t.Context(), "a", strings.NewReader("eleven byte"), size); !errors.Is(err, blob.ErrTooLarge) {
			t.Errorf("11 bytes, declared %d, limit 10: %v", size, err)
		}
	}
	if _, err := blob.PutBytes(t.Context(), d, "a", []byte("ten bytes.")); err != nil {
		t.Errorf("10 bytes, limit 10: %v", err)
	}
	if _, _, err := blob.GetBytes(t.Context(), d, "a", 9); !errors.Is(err, blob.ErrTooLarge) {
		t.Errorf("GetBytes of 10 bytes, limit 9: %v", err)
	}
	for _, n := range []int64{-1, blob.MaxSize + 1} {
		if _, err := blob.OpenDir(t.TempDir(), &blob.Options{MaxSize: n}); !errors.Is(err, blob.ErrInvalid) {
			t.Errorf("MaxSize %d: %v", n, err)
		}
	}
}

func TestDirRemovesEmptyFolders(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, nil)
	for _, key := range []string{"a/b/c/1", "a/b/2"} {
		if _, err := blob.PutBytes(t.Context(), d, key, nil); err != nil {
			t.Fatal(err)
		}
	}
	exists := func(rel string) bool {
		_, err := os.Stat(filepath.Join(dir, "objects", filepath.FromSlash(rel)))
		return err == nil
	}
	if err := d.Delete(t.Context(), "a/b/c/1"); err != nil {
		t.Fatal(err)
	}
	if exists("d_a/d_b/d_c") || !exists("d_a/d_b/o_2") {
		t.Error("Delete left an empty folder, or removed too much")
	}
	if _, err := blob.PutBytes(t.Context(), d, "a/b/c/1", []byte("again")); err != nil {
		t.Errorf("Put into a folder that was removed: %v", err)
	}
}

func TestDirOfALaterVersion(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "FORMAT"), []byte("ashlar blob 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := blob.OpenDir(dir, nil); !errors.Is(err, blob.ErrVersion) {
		t.Errorf("OpenDir: %v, want ErrVersion", err)
	}
}

func TestUpdateReturnsTheEditorsError(t *testing.T) {
	boom := errors.New("boom")
	s := blob.NewMem()
	_, err := blob.Update(t.Context(), s, "k", 10, func([]byte) ([]byte, error) { return nil, boom })
	if !errors.Is(err, boom) {
		t.Errorf("Update: %v", err)
	}
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
}

// In our stores a key may also be the beginning of others, as on S3 itself.
func TestKeysThatAreAlsoFolders(t *testing.T) {
	m := strings.Repeat("m", 198) // as long as a file name's piece
	keys := []string{"a", "a-", "a-/x", "a.b", "a/b", "a/b-", "a/b/c", "a/b0", "a0", m, m + "!", m + "/q", m + "m"}
	for name, s := range map[string]blob.Store{"mem": blob.NewMem(), "dir": open(t, t.TempDir(), nil)} {
		for i := range keys {
			key := keys[len(keys)-1-i]
			if _, err := blob.PutBytes(t.Context(), s, key, []byte(key)); err != nil {
				t.Fatalf("%s: Put(%q): %v", name, key, err)
			}
		}
		for i := range keys {
			var got []string
			after := ""
			if i > 0 {
				after = keys[i-1]
			}
			for info, err := range s.List(t.Context(), "", after) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, info.Key)
			}
			if !slices.Equal(got, keys[i:]) {
				t.Errorf("%s: List after %q = %q, want %q", name, after, got, keys[i:])
			}
		}
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if data, _, err := blob.GetBytes(t.Context(), s, "a/b", 10); err != nil || string(data) != "a/b" {
			t.Errorf("%s: a/b after Delete(a): %q, %v", name, data, err)
		}
	}
}
