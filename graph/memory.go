package graph

import "unsafe"

// A book is a sequence cut into pages of a power of two, and these into chapters, so that
// a copy with a few pages changed shares all others. A look-up follows two pointers; this
// is the only file of the package that needs unsafe for it. Invariant: a page has 1<<bits
// elements, the last one those that are left of n.
type book[T any] struct {
	chapters []*chapter[T]
	n        int
	bits     uint // binary logarithm of the size of a page
}

// A chapter holds the first element of each of its pages.
type chapter[T any] [1 << chapterBits]*T

const chapterBits = 6

// newBook returns s as a book. It uses the memory of s.
func newBook[T any](s []T, bits uint) book[T] {
	b := book[T]{n: len(s), bits: bits}
	for at, page := 0, 0; at < len(s); at, page = at+1<<bits, page+1 {
		if page%(1<<chapterBits) == 0 {
			b.chapters = append(b.chapters, new(chapter[T]))
		}
		b.chapters[page>>chapterBits][page%(1<<chapterBits)] = &s[at]
	}
	return b
}

// at returns element i < n. It panics if there is no such chapter.
func (b *book[T]) at(i uint32) *T {
	var x T
	page := i >> b.bits
	first := b.chapters[page>>chapterBits][page%(1<<chapterBits)]
	return (*T)(unsafe.Add(unsafe.Pointer(first), uintptr(i&(1<<b.bits-1))*unsafe.Sizeof(x)))
}

// row returns the elements first ≤ i < end ≤ n, of which there is at least one and all
// on one page.
func (b *book[T]) row(first, end uint32) []T {
	return unsafe.Slice(b.at(first), end-first)
}

// A revision is a book that is made of another by changing some of its elements.
type revision[T any] struct {
	book        book[T]
	own         []bool // pages that are copies
	ownChapters []bool
}

// begin makes r a revision of b.
func (r *revision[T]) begin(b book[T]) {
	r.book = book[T]{append([]*chapter[T](nil), b.chapters...), b.n, b.bits}
	r.own, r.ownChapters = resize(r.own, len(b.chapters)<<chapterBits), resize(r.ownChapters, len(b.chapters))
	clear(r.own)
	clear(r.ownChapters)
}

// at returns element i, to be changed.
func (r *revision[T]) at(i uint32) *T {
	b := &r.book
	page := i >> b.bits
	if !r.own[page] {
		c := &b.chapters[page>>chapterBits]
		if !r.ownChapters[page>>chapterBits] {
			r.ownChapters[page>>chapterBits] = true
			of := **c
			*c = &of
		}
		r.own[page] = true
		first := &(*c)[page%(1<<chapterBits)]
		from := unsafe.Slice(*first, min(1<<b.bits, b.n-int(page)<<b.bits))
		*first = &append([]T(nil), from...)[0]
	}
	return b.at(i)
}

// littleEndian tells whether the machine's integers are those of files.
var littleEndian = *(*byte)(unsafe.Pointer(&[]uint32{1}[0])) == 1

// A word is what sections of a file are made of: nothing but uint32s and int32s.
type word interface {
	~uint32 | ~int32 | place | lower | input | Turn
}

// asBytes returns the memory of s, as little-endian uint32s.
func asBytes[T word](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)*int(unsafe.Sizeof(s[0])))
	if !littleEndian {
		b = append([]byte(nil), b...)
		swap(b)
	}
	return b
}

// fromBytes returns b as a slice: b itself where that is possible, else a copy. What is
// left at the end is dropped.
func fromBytes[T word](b []byte) []T {
	var x T
	size := int(unsafe.Sizeof(x))
	n := len(b) / size
	if n == 0 {
		return []T{}
	}
	if littleEndian && uintptr(unsafe.Pointer(&b[0]))%unsafe.Alignof(x) == 0 {
		return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), n)
	}
	s := make([]T, n)
	to := unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), n*size)
	copy(to, b)
	if !littleEndian {
		swap(to)
	}
	return s
}

// swap reverses the bytes of each uint32.
func swap(b []byte) {
	for ; len(b) >= 4; b = b[4:] {
		b[0], b[1], b[2], b[3] = b[3], b[2], b[1], b[0]
	}
}
