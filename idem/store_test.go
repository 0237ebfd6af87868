package idem_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ashlar-go/ashlar/idem"
)

var ctx = context.Background()

func open(t testing.TB, dir string, opts *idem.Options) *idem.Store {
	t.Helper()
	s, err := idem.Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func begin(t testing.TB, s *idem.Store, key string) *idem.Attempt {
	t.Helper()
	a, err := s.Begin(ctx, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestLife(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	a, err := s.Begin(ctx, "k", []byte("hash"))
	if err != nil {
		t.Fatal(err)
	}
	if _, done := a.Result(); done || a.State() != idem.Begun || a.Token() != 1 || a.Key() != "k" {
		t.Fatalf("a new attempt: done %t, %v, %d", done, a.State(), a.Token())
	}
	if _, taken := a.Taken(); taken {
		t.Fatal("taken over from nobody")
	}
	_, err = s.Begin(ctx, "k", []byte("hash"))
	var running *idem.RunningError
	if !errors.As(err, &running) || !errors.Is(err, idem.ErrRunning) || running.Key != "k" || time.Until(running.Until) < 20*time.Second {
		t.Fatalf("a duplicate: %v", err)
	}
	if _, err := s.Begin(ctx, "k", []byte("other")); !errors.Is(err, idem.ErrMismatch) {
		t.Fatalf("another request: %v", err)
	}
	if err := a.Complete(ctx, []byte("answer")); err != nil {
		t.Fatal(err)
	}
	// Another process finds it.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, nil)
	b, err := s.Begin(ctx, "k", []byte("hash"))
	if err != nil {
		t.Fatal(err)
	}
	if result, done := b.Result(); !done || string(result) != "answer" || b.State() != idem.Completed {
		t.Fatalf("%q, done %t, %v", result, done, b.State())
	}
	if st := s.Stats(); st.Replays != 1 || st.Begun != 0 {
		t.Fatalf("%+v", st)
	}
}

func TestOpenTwice(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, nil)
	if _, err := idem.Open(dir, nil); !errors.Is(err, idem.ErrLocked) {
		t.Fatalf("%v", err)
	}
}

func TestArguments(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	for _, c := range []struct {
		key  string
		hash []byte
		want error
	}{
		{"", nil, idem.ErrInvalid},
		{strings.Repeat("k", idem.MaxKey+1), nil, idem.ErrTooLarge},
		{"k", make([]byte, idem.MaxHash+1), idem.ErrTooLarge},
	} {
		if _, err := s.Begin(ctx, c.key, c.hash); !errors.Is(err, c.want) {
			t.Errorf("Begin with %d and %d bytes: %v", len(c.key), len(c.hash), err)
		}
	}
	if _, _, err := s.Known(ctx, ""); !errors.Is(err, idem.ErrInvalid) {
		t.Errorf("Known: %v", err)
	}
	a := begin(t, s, "k")
	if err := a.Complete(ctx, make([]byte, idem.MaxResult+1)); !errors.Is(err, idem.ErrTooLarge) {
		t.Errorf("a large result: %v", err)
	}
	for _, o := range []idem.Options{{Lease: -1}, {Keep: -1}} {
		if _, err := idem.New(idem.NewMem(nil), &o); !errors.Is(err, idem.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := idem.New(idem.NewMem(nil), &idem.Options{Sole: true, Expect: math.MaxInt}); !errors.Is(err, idem.ErrInvalid) {
		t.Errorf("a filter without end: %v", err)
	}
}

// An attempt whose process has died is taken over, and cannot complete any more.
func TestTakeover(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), &idem.Options{Lease: time.Minute, Now: c.now})
	first := begin(t, s, "k")
	began := c.now()
	c.pass(2 * time.Minute)
	list, err := s.Unfinished(ctx, 10)
	if err != nil || len(list) != 1 || list[0].Key != "k" || !list[0].Began.Equal(began) {
		t.Fatalf("unfinished: %+v, %v", list, err)
	}
	second := begin(t, s, "k")
	if since, taken := second.Taken(); !taken || !since.Equal(began) || second.Token() != 2 {
		t.Fatalf("attempt %d, taken %t from %v", second.Token(), taken, since)
	}
	for _, err := range []error{first.Complete(ctx, nil), first.Fail(ctx, nil), first.Release(ctx), first.Extend(ctx)} {
		if !errors.Is(err, idem.ErrStale) {
			t.Fatalf("the first: %v", err)
		}
	}
	if err := second.Complete(ctx, []byte("r")); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Begun != 2 || st.Taken != 1 || st.Stale != 4 {
		t.Fatalf("%+v", st)
	}
}

// A waiting duplicate gets the first one's result, at once.
func TestWait(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	a := begin(t, s, "k")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			b, err := s.Wait(ctx, "k", nil)
			if err != nil {
				t.Error(err)
				return
			}
			if result, done := b.Result(); !done || string(result) != "r" {
				t.Errorf("%q, done %t", result, done)
			}
		})
	}
	for s.Stats().Running < 8 { // all have asked
		time.Sleep(time.Millisecond)
	}
	if err := a.Complete(ctx, []byte("r")); err != nil {
		t.Fatal(err)
	}
	wg.Wait()

	begin(t, s, "other")
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := s.Wait(short, "other", nil); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, idem.ErrRunning) {
		t.Fatalf("%v", err)
	}
}

// Do does the work once for all that ask at the same time and afterwards.
func TestDo(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	var done atomic.Int32
	work := func(context.Context, *idem.Attempt) ([]byte, error) {
		done.Add(1)
		return []byte("r"), nil
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if r, err := s.Do(ctx, "k", nil, work); err != nil || string(r) != "r" {
				t.Errorf("%q, %v", r, err)
			}
		})
	}
	wg.Wait()
	if done.Load() != 1 {
		t.Fatalf("done %d times", done.Load())
	}

	// A passing error releases the key; a Failure stays.
	passing, tries := errors.New("no connection"), 0
	try := func(context.Context, *idem.Attempt) ([]byte, error) {
		if tries++; tries == 1 {
			return nil, passing
		}
		return nil, fmt.Errorf("declined: %w", &idem.Failure{Result: []byte("no money")})
	}
	if _, err := s.Do(ctx, "pay", nil, try); !errors.Is(err, passing) {
		t.Fatal(err)
	}
	for range 3 {
		_, err := s.Do(ctx, "pay", nil, try)
		var f *idem.Failure
		if !errors.As(err, &f) || string(f.Result) != "no money" {
			t.Fatal(err)
		}
	}
	if tries != 2 {
		t.Fatalf("tried %d times", tries)
	}

	// A panic is like a crash: the key stays begun.
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = s.Do(ctx, "panic", nil, func(context.Context, *idem.Attempt) ([]byte, error) { panic("x") })
	}()
	if _, err := s.Begin(ctx, "panic", nil); !errors.Is(err, idem.ErrRunning) {
		t.Fatal(err)
	}
}

// Do keeps its lease while the work goes on, and the work hears when it is lost.
func TestDoKeepsLease(t *testing.T) {
	b := idem.NewMem(nil)
	s, err := idem.New(b, &idem.Options{Lease: 60 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	other, err := idem.New(b, nil) // another process
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Do(ctx, "long", nil, func(wctx context.Context, a *idem.Attempt) ([]byte, error) {
		rec, err := b.Get(ctx, "long")
		if err != nil {
			return nil, err
		}
		for first := rec.Lease; !rec.Lease.After(first.Add(100 * time.Millisecond)); { // several leases long
			if _, err := other.Begin(ctx, "long", nil); !errors.Is(err, idem.ErrRunning) {
				return nil, fmt.Errorf("another one begins: %w", err)
			}
			if rec, err = b.Get(ctx, "long"); err != nil {
				return nil, err
			}
			time.Sleep(time.Millisecond)
		}
		return nil, wctx.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Do(ctx, "lost", nil, func(wctx context.Context, a *idem.Attempt) ([]byte, error) {
		// As if this process had slept, and another had done the work.
		if err := b.Finish(ctx, "lost", 1, idem.Released, nil, time.Hour); err != nil {
			return nil, err
		}
		if _, err := other.Begin(ctx, "lost", nil); err != nil {
			return nil, err
		}
		<-wctx.Done()
		return []byte("too late"), nil
	})
	if !errors.Is(err, idem.ErrStale) {
		t.Fatalf("%v, want ErrStale", err)
	}
}

// A backend that cannot be reached when a lease is to be extended.
type unreachable struct {
	idem.Backend
	hang bool
}

func (u *unreachable) Extend(ctx context.Context, key string, token uint64, lease, keep time.Duration) error {
	if u.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return errors.New("no connection")
}

// Work ends before another one may begin, also when nobody can say so.
func TestDoOutOfReach(t *testing.T) {
	for _, hang := range []bool{false, true} {
		b := idem.NewMem(nil)
		s, err := idem.New(&unreachable{b, hang}, &idem.Options{Lease: 900 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Do(ctx, "k", nil, func(wctx context.Context, a *idem.Attempt) ([]byte, error) {
			<-wctx.Done()
			rec, err := b.Get(ctx, "k")
			if err != nil || !time.Now().Before(rec.Lease) {
				t.Errorf("hang %t: the work is told at %v, the lease ended at %v (%v)", hang, time.Now(), rec.Lease, err)
			}
			return nil, context.Cause(wctx)
		})
		if !errors.Is(err, idem.ErrStale) {
			t.Errorf("hang %t: %v", hang, err)
		}
	}
}

// Work whose result is too large is done once all the same.
func TestDoTooLarge(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	done := 0
	for i := range 3 {
		_, err := s.Do(ctx, "k", nil, func(context.Context, *idem.Attempt) ([]byte, error) {
			done++
			return make([]byte, idem.MaxResult+1), nil
		})
		var f *idem.Failure
		if i == 0 && !errors.Is(err, idem.ErrTooLarge) || i > 0 && !errors.As(err, &f) {
			t.Fatal(err)
		}
	}
	if done != 1 {
		t.Fatalf("done %d times", done)
	}
}

// Keys that were stored to be remembered for longer are known for longer.
func TestFilterAfterShorterKeep(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	s := open(t, dir, &idem.Options{Keep: 100 * time.Hour, Now: c.now})
	if err := begin(t, s, "k").Complete(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Known(ctx, "other"); !errors.Is(err, idem.ErrClosed) {
		t.Fatalf("closed: %v", err)
	}
	s = open(t, dir, &idem.Options{Keep: time.Hour, Now: c.now})
	for range 33 {
		c.pass(3 * time.Hour)
		if _, known, err := s.Known(ctx, "k"); !known || err != nil {
			t.Fatalf("known %t, %v", known, err)
		}
	}
}

// The filter answers for keys that were never begun, and never wrongly, over many
// periods and after a restart.
func TestFilter(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	opts := &idem.Options{Lease: time.Minute, Keep: time.Hour, Expect: 1000, Now: c.now}
	s := open(t, dir, opts)
	type key struct {
		name  string
		until time.Time
	}
	var keys []key
	ask := func() {
		t.Helper()
		for _, k := range keys {
			rec, known, err := s.Known(ctx, k.name)
			if err != nil || known != k.until.After(c.now()) {
				t.Fatalf("%s: known %t, %v, until %v, now %v", k.name, known, err, k.until, c.now())
			}
			if known && rec.Key != k.name {
				t.Fatalf("%+v", rec)
			}
		}
	}
	for i := range 120 {
		a := begin(t, s, fmt.Sprint("k", i))
		until := c.now().Add(time.Hour + time.Minute)
		switch i % 3 {
		case 0:
			until = c.now().Add(time.Hour)
			if err := a.Complete(ctx, nil); err != nil {
				t.Fatal(err)
			}
		case 1:
			c.pass(50 * time.Second)
			if err := a.Extend(ctx); err != nil {
				t.Fatal(err)
			}
			until = c.now().Add(time.Hour + time.Minute)
		}
		keys = append(keys, key{a.Key(), until})
		c.pass(2 * time.Minute)
		if i%10 == 0 {
			ask()
		}
		if i == 60 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, opts)
			ask()
		}
	}
	before := s.Stats()
	for i := range 2000 {
		if _, known, err := s.Known(ctx, fmt.Sprint("never-", i)); known || err != nil {
			t.Fatalf("known %t, %v", known, err)
		}
	}
	after := s.Stats()
	if saved := after.Saved - before.Saved; saved < 1900 || saved+after.Reads-before.Reads != 2000 {
		t.Fatalf("%d of 2000 reads saved", saved)
	}
	// Days later the old keys are gone from the disk too.
	c.pass(48 * time.Hour)
	for i := range 40 {
		begin(t, s, fmt.Sprint("late-", i))
	}
	ask()
}

// Without Sole there is no filter: another process may know more.
func TestShared(t *testing.T) {
	b := idem.NewMem(nil)
	s, err := idem.New(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := idem.New(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	begin(t, other, "k")
	if _, known, err := s.Known(ctx, "k"); !known || err != nil {
		t.Fatalf("known %t, %v", known, err)
	}
	if st := s.Stats(); st.Saved != 0 || st.Reads != 1 {
		t.Fatalf("%+v", st)
	}
	// A waiter notices what another process finishes.
	a, err := other.Begin(ctx, "w", nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		w, err := s.Wait(ctx, "w", nil)
		if err == nil {
			if _, done := w.Result(); !done {
				err = errors.New("no result")
			}
		}
		got <- err
	}()
	for s.Stats().Running == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := a.Complete(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

// The work and its completion in one transaction: both or neither.
func TestCompleteInTransaction(t *testing.T) {
	c := newClock()
	db := openDB(t, filepath.Join(t.TempDir(), "db"))
	b, err := idem.OpenBolt(db, c.now)
	if err != nil {
		t.Fatal(err)
	}
	s, err := idem.New(b, &idem.Options{Lease: time.Minute, Sole: true, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	first := begin(t, s, "k")
	c.pass(time.Hour)
	second := begin(t, s, "k")
	work := func(a *idem.Attempt, crash error) error {
		return db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists([]byte("work"))
			if err != nil {
				return err
			}
			n := append(bucket.Get([]byte("done")), 'x')
			if err := bucket.Put([]byte("done"), n); err != nil {
				return err
			}
			if err := b.Complete(tx, a, n); err != nil {
				return err
			}
			return crash
		})
	}
	if err := work(first, nil); !errors.Is(err, idem.ErrStale) {
		t.Fatalf("the overtaken one: %v", err)
	}
	crash := errors.New("crash")
	if err := work(second, crash); !errors.Is(err, crash) {
		t.Fatal(err)
	}
	if err := work(second, nil); err != nil {
		t.Fatal(err)
	}
	third := begin(t, s, "k")
	if result, done := third.Result(); !done || string(result) != "x" {
		t.Fatalf("%q, done %t", result, done)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.View(func(tx *bbolt.Tx) error { return nil }); err != nil {
		t.Fatalf("the database is closed with the store: %v", err)
	}
}

// A file of a later format is left alone; one that is no database is an error.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, filepath.Join(dir, "idem.db"))
	err := db.Update(func(tx *bbolt.Tx) error {
		root, err := tx.CreateBucket([]byte("idem"))
		if err != nil {
			return err
		}
		meta, err := root.CreateBucket([]byte("meta"))
		if err != nil {
			return err
		}
		return meta.Put([]byte("version"), []byte{9})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := idem.Open(dir, nil); !errors.Is(err, idem.ErrVersion) {
		t.Fatalf("%v", err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "idem.db"), []byte(strings.Repeat("no database ", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := idem.Open(other, nil); err == nil {
		t.Fatal("opened")
	}
}

// Damage to a record is named and hurts no other key.
func TestDamage(t *testing.T) {
	db := openDB(t, filepath.Join(t.TempDir(), "db"))
	b, err := idem.OpenBolt(db, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := idem.New(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := begin(t, s, "bad")
	begin(t, s, "good")
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("idem")).Bucket([]byte("keys")).Put([]byte("bad"), []byte{1, 2, 3})
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin(ctx, "bad", nil); !errors.Is(err, idem.ErrCorrupt) || !strings.Contains(err.Error(), "bad") {
		t.Errorf("Begin: %v", err)
	}
	if err := a.Complete(ctx, nil); !errors.Is(err, idem.ErrCorrupt) {
		t.Errorf("Complete: %v", err)
	}
	if err := a.Extend(ctx); !errors.Is(err, idem.ErrCorrupt) {
		t.Errorf("Extend: %v", err)
	}
	if _, _, err := s.Known(ctx, "bad"); !errors.Is(err, idem.ErrCorrupt) {
		t.Errorf("Known: %v", err)
	}
	if _, known, err := s.Known(ctx, "good"); !known || err != nil {
		t.Errorf("the good one: known %t, %v", known, err)
	}
}

// Calls that come together share transactions, and each gets its own answer.
func TestTogether(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := range 20 {
				a, err := s.Begin(ctx, fmt.Sprint(w, "-", i), nil)
				if err != nil {
					t.Error(err)
					return
				}
				if err := a.Complete(ctx, []byte(a.Key())); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for w := range 32 {
		for i := range 20 {
			a := begin(t, s, fmt.Sprint(w, "-", i))
			if r, done := a.Result(); !done || string(r) != a.Key() {
				t.Fatalf("%s: %q, done %t", a.Key(), r, done)
			}
		}
	}
}
