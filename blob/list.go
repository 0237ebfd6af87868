package blob

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strings"
)

// List implements [Store]. An object that cannot be read is yielded with an
// error and an Info that has only its Key; the list goes on if the loop does.
func (d *Dir) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		names, rest := folders(prefix)
		w := walk{d: d, ctx: ctx, after: after, yield: yield}
		w.folder(filepath.Join(append([]string{d.dir, objectName}, names...)...), strings.TrimSuffix(prefix, rest), rest)
	}
}

// A walk visits a part of the tree in the order of the keys.
type walk struct {
	d     *Dir
	ctx   context.Context
	after string
	yield func(Info, error) bool
}

// folder visits what is in a folder, whose keys all begin with base, and goes on
// with rest. It returns false when the walk is over.
func (w *walk) folder(dir, base, rest string) bool {
	entries, err := w.read(dir)
	if err != nil {
		w.yield(Info{}, err)
		return false
	}
	for _, e := range entries {
		key := base + e.text
		switch {
		case !strings.HasPrefix(e.text, rest):
		case e.folder && key < w.after && !strings.HasPrefix(w.after, key):
			// all of it comes before
		case e.folder:
			if !w.folder(filepath.Join(dir, e.file), key, "") {
				return false
			}
		case key > w.after:
			if !w.object(key) {
				return false
			}
		}
	}
	return true
}

// read returns the entries of a folder in order; none if it is not there.
func (w *walk) read(dir string) ([]entry, error) {
	if err := w.d.begin(w.ctx); err != nil {
		return nil, err
	}
	defer w.d.running.Done()
	files, err := w.d.fs.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(files))
	for _, file := range files {
		if e, ok := parseEntry(file); ok {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.text, b.text) })
	return entries, nil
}

// object yields the object under key, if it is still there.
func (w *walk) object(key string) bool {
	info, err := w.stat(key)
	switch {
	case errors.Is(err, ErrNotFound):
		return true
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrVersion):
		return w.yield(Info{Key: key}, err)
	case err != nil:
		w.yield(Info{}, err)
		return false
	}
	return w.yield(info, nil)
}

func (w *walk) stat(key string) (Info, error) {
	if err := w.d.begin(w.ctx); err != nil {
		return Info{}, err
	}
	defer w.d.running.Done()
	f, h, err := w.d.open(key)
	if err != nil {
		return Info{}, err
	}
	return h.info(key), f.Close()
}
