package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/bloom"
	"github.com/ashlar-go/ashlar/idem"
)

// A looking is what it took to find out which of many keys had been seen.
type looking struct {
	reads, saved uint64
	lost         int // new keys that were taken for seen
	twice        int // seen keys that were taken for new
	took         time.Duration
	bits         uint64
}

// lookUp gives keys to a store and then asks for each of others, one in ten of
// which was given before, whether it was seen.
func lookUp(ctx context.Context, dir, name string, keys, expect int) (l looking, err error) {
	s, err := idem.Open(filepath.Join(dir, "filter "+name), &idem.Options{Expect: expect})
	if err != nil {
		return l, err
	}
	defer s.Close()
	// So many at a time that a sync of the disk serves many of them.
	var wg sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, 256)
	for w := range errs {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < keys && errs[w] == nil; i = int(next.Add(1)) - 1 {
				a, err := s.Begin(ctx, oldKey(i), nil)
				if err == nil {
					err = a.Complete(ctx, nil)
				}
				errs[w] = err
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return l, err
	}
	before := s.Stats()
	began := time.Now()
	for i := range keys {
		key, seen := newKey(i), i%10 == 0
		if seen {
			key = oldKey(i)
		}
		_, known, err := s.Known(ctx, key)
		switch {
		case err != nil:
			return l, err
		case known && !seen:
			l.lost++
		case !known && seen:
			l.twice++
		}
	}
	l.took = time.Since(began)
	after := s.Stats()
	l.reads, l.saved = after.Reads-before.Reads, after.Saved-before.Saved
	return l, nil
}

// filterAlone believes the filter, without a store behind it.
func filterAlone(keys int) (l looking, err error) {
	f, err := bloom.NewGenerations(uint64(keys), 0.01, 2)
	if err != nil {
		return l, err
	}
	for i := range keys {
		f.AddString(oldKey(i))
	}
	began := time.Now()
	for i := range keys {
		key, seen := newKey(i), i%10 == 0
		if seen {
			key = oldKey(i)
		}
		switch known := f.ContainsString(key); {
		case known && !seen:
			l.lost++
		case !known && seen:
			l.twice++
		}
	}
	l.took, l.bits = time.Since(began), f.Bits()
	return l, nil
}

func oldKey(i int) string { return fmt.Sprintf("7/%d/%d", 1_700_000_000_000_000+int64(i), i%1000) }
func newKey(i int) string { return fmt.Sprintf("8/%d/%d", 1_800_000_000_000_000+int64(i), i%1000) }
