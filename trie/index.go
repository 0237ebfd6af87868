package trie

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// An Index is an image that can be replaced while it is used: readers take the image
// that there is, without a lock, and keep it until they are through. The zero Index has
// an empty image. It is safe for concurrent use by multiple goroutines.
type Index struct{ image atomic.Pointer[Image] }

var empty = func() *Image {
	m, err := NewBuilder(nil).Build()
	if err != nil {
		panic(err)
	}
	return m
}()

// Swap publishes an image and returns the one before. Cursors of that one go on with
// it; it must not be unmapped before they are gone.
func (x *Index) Swap(m *Image) (before *Image) {
	if before = x.image.Swap(m); before == nil {
		before = empty
	}
	return before
}

// Image returns the image that there is now.
func (x *Index) Image() *Image {
	if m := x.image.Load(); m != nil {
		return m
	}
	return empty
}

// Cursor returns a cursor on the image that there is now.
func (x *Index) Cursor() Cursor { return x.Image().Cursor() }

// Complete completes on the image that there is now, as [Image.Complete] does.
func (x *Index) Complete(dst []Suggestion, prefix string, k int) []Suggestion {
	return x.Image().Complete(dst, prefix, k)
}

// Merge appends the k best of two lists of suggestions, such as a user's own terms and
// everybody's, each the best first. A term that is in both counts with the sum of its
// weights if that is in the lists: of the own list's terms those are the ones to
// boost.
func Merge(dst, own, all []Suggestion, k int) []Suggestion {
	begin := len(dst)
	for _, s := range own {
		for _, t := range all {
			if t.Term == s.Term {
				s.Weight += min(t.Weight, ^uint64(0)-s.Weight)
			}
		}
		dst = append(dst, s)
	}
outer:
	for _, t := range all {
		for _, s := range own {
			if s.Term == t.Term {
				continue outer
			}
		}
		dst = append(dst, t)
	}
	sortSuggestions(dst[begin:])
	return dst[:begin+min(max(0, k), len(dst)-begin)]
}

func sortSuggestions(list []Suggestion) {
	slices.SortStableFunc(list, func(a, b Suggestion) int {
		if c := cmp.Compare(b.Weight, a.Weight); c != 0 {
			return c
		}
		return cmp.Compare(a.Term, b.Term)
	})
}
