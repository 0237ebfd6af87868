package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// MaxKey is the length of the longest key in bytes.
	MaxKey = 1024

	// MaxSize is the size of the largest object in bytes, 5 GiB: what one S3
	// put takes. A store may be set to less.
	MaxSize = 5 << 30

	// Absent, as the version given to PutIf, demands that the key is free.
	Absent = ""
)

// A Store holds objects under keys. Every put is atomic: readers see the object
// before it or the one after it, whole, and an object that was opened goes on
// yielding what it held then. Once a put has returned, every later call sees it.
//
// Errors mean the same in every store; see the variables of this package. After
// any error of a put that is not one of these variables, the put may or may not
// have taken place: read the object to know.
//
// A Store is safe for concurrent use by multiple goroutines.
type Store interface {
	// Put stores what r yields under key, in place of what was there. Size is
	// the number of bytes that r yields, or -1 if that is not known; a body that
	// ends early or goes on beyond it is an error, and nothing is stored. Put
	// reads r in the calling goroutine and does not close it.
	Put(ctx context.Context, key string, r io.Reader, size int64) (Info, error)

	// PutIf is Put on a condition: version is that of the object to replace, or
	// [Absent] when there must be none. Otherwise it returns an error wrapping
	// [ErrConflict] or [ErrExists]. Of several PutIf with the same condition at
	// most one succeeds.
	PutIf(ctx context.Context, key string, r io.Reader, size int64, version string) (Info, error)

	// Get opens the object under key. The caller closes it.
	Get(ctx context.Context, key string) (*Object, error)

	// GetRange opens n bytes of the object from off on, off ≥ 0; all the rest if
	// n is -1. A range is cut at the object's end, and so is empty beyond it.
	GetRange(ctx context.Context, key string, off, n int64) (*Object, error)

	// List yields the objects whose key begins with prefix and is greater than
	// after, in the order of the keys' bytes. To page, stop and go on later
	// with the last key as after. What is put or deleted meanwhile may or may
	// not appear; everything else appears exactly once. An error ends the list.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]

	// Delete removes the object under key. It is no error if there is none.
	Delete(ctx context.Context, key string) error
}

// Info describes an object.
type Info struct {
	Key      string
	Size     int64     // in bytes
	Version  string    // changes with every put in Mem and Dir; on S3, where it is the ETag, with the content
	Modified time.Time // when it was put, by the store's clock
}

// An Object is an open object, or a range of one. It must be closed. It is not
// safe for concurrent use.
type Object struct {
	Info // of the whole object, also when it was opened with GetRange
	io.ReadCloser
}

// PutBytes is [Store.Put] for data in memory.
func PutBytes(ctx context.Context, s Store, key string, data []byte) (Info, error) {
	return s.Put(ctx, key, bytes.NewReader(data), int64(len(data)))
}

// PutBytesIf is [Store.PutIf] for data in memory.
func PutBytesIf(ctx context.Context, s Store, key string, data []byte, version string) (Info, error) {
	return s.PutIf(ctx, key, bytes.NewReader(data), int64(len(data)), version)
}

// GetBytes returns the whole object, which must have at most limit bytes: a
// larger one is [ErrTooLarge] before any memory is taken.
func GetBytes(ctx context.Context, s Store, key string, limit int64) ([]byte, Info, error) {
	obj, err := s.Get(ctx, key)
	if err != nil {
		return nil, Info{}, err
	}
	defer obj.Close()
	if obj.Size > limit {
		return nil, obj.Info, fmt.Errorf("%w: %q has %d bytes, above %d", ErrTooLarge, key, obj.Size, limit)
	}
	data := make([]byte, obj.Size)
	if _, err := io.ReadFull(obj, data); err != nil {
		return nil, obj.Info, err
	}
	return data, obj.Info, nil
}

// Update changes the object under key by compare-and-swap until it succeeds: it
// calls edit with the present content, nil if there is none, and stores what
// edit returns if nobody was faster. Edit may be called several times. An error
// of edit ends the attempt and is returned.
func Update(ctx context.Context, s Store, key string, limit int64, edit func(old []byte) ([]byte, error)) (Info, error) {
	for {
		old, info, err := GetBytes(ctx, s, key, limit)
		if errors.Is(err, ErrNotFound) {
			old, info.Version = nil, Absent
		} else if err != nil {
			return Info{}, err
		}
		data, err := edit(old)
		if err != nil {
			return Info{}, err
		}
		info, err = PutBytesIf(ctx, s, key, data, info.Version)
		if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrExists) {
			return info, err
		}
		if err := ctx.Err(); err != nil {
			return Info{}, err
		}
	}
}

// CheckKey returns nil for a valid key, [ErrTooLarge] for one that is too long
// and [ErrInvalid] for any other. Stores call it; so may programs that take
// keys from outside.
func CheckKey(key string) error {
	if len(key) > MaxKey {
		return fmt.Errorf("%w: key of %d bytes, above %d", ErrTooLarge, len(key), MaxKey)
	}
	if key == "" {
		return fmt.Errorf("%w: empty key", ErrInvalid)
	}
	if !utf8.ValidString(key) {
		return fmt.Errorf("%w: key %q is not UTF-8", ErrInvalid, key)
	}
	if i := strings.IndexFunc(key, func(r rune) bool { return r < 0x20 || r == 0x7f }); i >= 0 {
		return fmt.Errorf("%w: key %q has a control character", ErrInvalid, key)
	}
	for segment := range strings.SplitSeq(key, "/") {
		switch segment {
		case "", ".", "..":
			return fmt.Errorf("%w: key %q has the segment %q", ErrInvalid, key, segment)
		}
	}
	return nil
}

// checkRange returns the range cut at the object's end.
func checkRange(key string, off, n, size int64) (int64, int64, error) {
	if off < 0 || n < -1 {
		return 0, 0, fmt.Errorf("%w: range of %q from %d, %d bytes", ErrInvalid, key, off, n)
	}
	off = min(off, size)
	if n < 0 || n > size-off {
		n = size - off
	}
	return off, n, nil
}

// checkPut checks what a put is given.
func checkPut(key string, size, limit int64) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if size < -1 {
		return fmt.Errorf("%w: size %d of %q", ErrInvalid, size, key)
	}
	return checkSize(key, size, limit)
}

func checkSize(key string, size, limit int64) error {
	if size > limit {
		return fmt.Errorf("%w: %q has more than %d bytes", ErrTooLarge, key, limit)
	}
	return nil
}

// A body reads what a put stores, and holds it to its declared size, the limit
// and the context.
type body struct {
	ctx   context.Context
	r     io.Reader
	key   string
	size  int64 // declared, or -1
	limit int64
	n     int64 // read so far
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	b.n += int64(n)
	switch {
	case b.size >= 0 && b.n > b.size:
		return 0, fmt.Errorf("%w: the body of %q is longer than the declared %d bytes", ErrInvalid, b.key, b.size)
	case b.n > b.limit:
		return 0, checkSize(b.key, b.n, b.limit)
	case err == io.EOF && b.n < b.size:
		return 0, fmt.Errorf("blob: the body of %q ended after %d of %d bytes: %w", b.key, b.n, b.size, io.ErrUnexpectedEOF)
	}
	return n, err
}

// precondition compares what PutIf demands with the present version; ok is
// false if there is no object.
func precondition(key, demanded, present string, ok bool) error {
	switch {
	case demanded == Absent && ok:
		return fmt.Errorf("%w: %q", ErrExists, key)
	case demanded == Absent:
		return nil
	case !ok:
		return fmt.Errorf("%w: %q is gone, demanded %s", ErrConflict, key, demanded)
	case demanded != present:
		return fmt.Errorf("%w: %q has %s, demanded %s", ErrConflict, key, present, demanded)
	}
	return nil
}

// A version is 16 random bytes, so that no two puts share one and a demanded
// version never matches an object that was deleted and put again.
type version [16]byte

func newVersion() (v version) {
	_, _ = rand.Read(v[:]) // it never fails: it ends the program instead
	return v
}

func (v version) String() string { return hex.EncodeToString(v[:]) }
