package blob

import (
	"bytes"
	"context"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Mem is a [Store] in memory. It is safe for concurrent use by multiple
// goroutines.
type Mem struct {
	mu      sync.RWMutex
	objects map[string]memObject
	sorted  []string // the keys in order; nil after the set of keys has changed
}

type memObject struct {
	info Info
	data []byte // never changed
}

// NewMem returns an empty store in memory.
func NewMem() *Mem { return &Mem{objects: map[string]memObject{}} }

// Put implements [Store].
func (m *Mem) Put(ctx context.Context, key string, r io.Reader, size int64) (Info, error) {
	return m.put(ctx, key, r, size, nil)
}

// PutIf implements [Store].
func (m *Mem) PutIf(ctx context.Context, key string, r io.Reader, size int64, version string) (Info, error) {
	return m.put(ctx, key, r, size, &version)
}

func (m *Mem) put(ctx context.Context, key string, r io.Reader, size int64, demanded *string) (Info, error) {
	if err := ctx.Err(); err != nil {
		return Info{}, err
	}
	if err := checkPut(key, size, MaxSize); err != nil {
		return Info{}, err
	}
	var buf bytes.Buffer
	// Room for what is declared, within reason: a declared size is not yet a body.
	buf.Grow(int(min(max(size, 0), 16<<20)) + bytes.MinRead)
	if _, err := buf.ReadFrom(&body{ctx: ctx, r: r, key: key, size: size, limit: MaxSize}); err != nil {
		return Info{}, err
	}
	data := slices.Clip(buf.Bytes())

	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.objects[key]
	if demanded != nil {
		if err := precondition(key, *demanded, old.info.Version, ok); err != nil {
			return Info{}, err
		}
	}
	info := Info{Key: key, Size: int64(len(data)), Version: newVersion().String(), Modified: time.Now().Round(0)}
	m.objects[key] = memObject{info, data}
	if !ok {
		m.sorted = nil
	}
	return info, nil
}

// Get implements [Store].
func (m *Mem) Get(ctx context.Context, key string) (*Object, error) {
	return m.GetRange(ctx, key, 0, -1)
}

// GetRange implements [Store].
func (m *Mem) GetRange(ctx context.Context, key string, off, n int64) (*Object, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	m.mu.RLock()
	obj, ok := m.objects[key]
	m.mu.RUnlock()
	if !ok {
		return nil, notFound(key)
	}
	off, n, err := checkRange(key, off, n, obj.info.Size)
	if err != nil {
		return nil, err
	}
	return &Object{obj.info, io.NopCloser(bytes.NewReader(obj.data[off : off+n]))}, nil
}

// List implements [Store].
func (m *Mem) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		keys := m.keys()
		i, found := slices.BinarySearch(keys, max(prefix, after))
		if found && keys[i] == after {
			i++
		}
		for ; i < len(keys) && strings.HasPrefix(keys[i], prefix); i++ {
			if err := ctx.Err(); err != nil {
				yield(Info{}, err)
				return
			}
			m.mu.RLock()
			obj, ok := m.objects[keys[i]]
			m.mu.RUnlock()
			if ok && !yield(obj.info, nil) {
				return
			}
		}
	}
}

// keys returns the keys in order; the caller must not change them.
func (m *Mem) keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sorted == nil {
		m.sorted = slices.Sorted(maps.Keys(m.objects))
	}
	return m.sorted
}

// Delete implements [Store].
func (m *Mem) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := CheckKey(key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[key]; ok {
		delete(m.objects, key)
		m.sorted = nil
	}
	return nil
}
