// Package idemtest is the suite that every [idem.Backend] has to pass: those of
// package idem, those of adapters, and yours.
//
//	func TestMyBackend(t *testing.T) {
//		idemtest.Run(t, func(t *testing.T) (idem.Backend, func(time.Duration)) {
//			return mybackend.New(t.TempDir()), time.Sleep
//		})
//	}
//
// It checks what the interface promises and nothing beyond. Where the backend's
// clock cannot be moved, pass is time.Sleep: the suite asks for less than a second
// at a time.
package idemtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/idem"
)

// Open returns an empty backend, and what lets time pass for it.
type Open func(t *testing.T) (b idem.Backend, pass func(time.Duration))

// Run runs the suite as subtests of t.
func Run(t *testing.T, open Open) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, b idem.Backend, pass func(time.Duration))
	}{
		{"Life", testLife},
		{"Results", testResults},
		{"Takeover", testTakeover},
		{"Stale", testStale},
		{"Released", testReleased},
		{"Mismatch", testMismatch},
		{"Forgotten", testForgotten},
		{"Extend", testExtend},
		{"Keys", testKeys},
		{"OwnMemory", testOwnMemory},
		{"Unfinished", testUnfinished},
		{"OneWins", testOneWins},
		{"Model", testModel},
		{"Context", testContext},
		{"Close", testClose},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, pass := open(t)
			t.Cleanup(func() { _ = b.Close() })
			test.run(t, b, pass)
		})
	}
}

var ctx = context.Background()

const (
	long  = time.Hour
	short = 200 * time.Millisecond // a lease that is waited for
)

func start(key string) idem.Start {
	return idem.Start{Key: key, Hash: []byte("hash"), Lease: long, Keep: long}
}

// begin expects to win.
func begin(t *testing.T, b idem.Backend, s idem.Start, token uint64) idem.Record {
	t.Helper()
	rec, _, won, err := b.Begin(ctx, s)
	if err != nil || !won || rec.Token != token || rec.State != idem.Begun || rec.Key != s.Key || !bytes.Equal(rec.Hash, s.Hash) {
		t.Fatalf("Begin: %+v, won %t, %v; want attempt %d", rec, won, err, token)
	}
	if rec.Began.IsZero() || rec.Lease.Sub(rec.Began) != s.Lease || rec.Expires.Sub(rec.Lease) != s.Keep {
		t.Fatalf("began %v, lease until %v, kept until %v", rec.Began, rec.Lease, rec.Expires)
	}
	return rec
}

// lose expects not to win, and a record in this state.
func lose(t *testing.T, b idem.Backend, s idem.Start, token uint64, state idem.State) idem.Record {
	t.Helper()
	rec, _, won, err := b.Begin(ctx, s)
	if err != nil || won || rec.Token != token || rec.State != state {
		t.Fatalf("Begin: %+v, won %t, %v; want to find attempt %d %v", rec, won, err, token, state)
	}
	return rec
}

func finish(t *testing.T, b idem.Backend, key string, token uint64, state idem.State, result string) {
	t.Helper()
	if err := b.Finish(ctx, key, token, state, []byte(result), long); err != nil {
		t.Fatal(err)
	}
}

// get compares what is stored with what an earlier call returned.
func get(t *testing.T, b idem.Backend, key string) idem.Record {
	t.Helper()
	rec, err := b.Get(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func isStale(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, idem.ErrStale) {
		t.Fatalf("%v, want ErrStale", err)
	}
}

func testLife(t *testing.T, b idem.Backend, _ func(time.Duration)) {
	if _, err := b.Get(ctx, "k"); !errors.Is(err, idem.ErrNotFound) {
		t.Fatalf("%v, want ErrNotFound", err)
	}
	begun := begin(t, b, start("k"), 1)
	if rec := get(t, b, "k"); rec.State != idem.Begun || rec.Token != 1 || !rec.Lease.Equal(begun.Lease) || !rec.Began.Equal(begun.Began) {
		t.Fatalf("stored %+v, want %+v", rec, begun)
	}
	lose(t, b, start("k"), 1, idem.Begun)
	finish(t, b, "k", 1, idem.Completed, "result")
	for range 2 {
		if rec := lose(t, b, start("k"), 1, idem.Completed); string(rec.Result) != "result" {
			t.Fatalf("result %q", rec.Result)
		}
	}
	if rec := get(t, b, "k"); rec.State != idem.Completed || string(rec.Result) != "result" || string(rec.Hash) != "hash" {
		t.Fatalf("stored %+v", rec)
	}
}

func testResults(t *testing.T, b idem.Backend, _ func(time.Duration)) {
	for i, result := range []string{"", "x", "\x00\xff\r\n", strings.Repeat("r", idem.MaxResult)} {
		for j, state := range []idem.State{idem.Completed, idem.Failed} {
			key := fmt.Sprint("k", i, j)
			begin(t, b, start(key), 1)
			finish(t, b, key, 1, state, result)
			if rec := lose(t, b, start(key), 1, state); string(rec.Result) != result {
				t.Fatalf("a result of %d bytes came back as %d", len(result), len(rec.Result))
			}
		}
	}
}

func testTakeover(t *testing.T, b idem.Backend, pass func(time.Duration)) {
	s := start("k")
	s.Lease = short
	first := begin(t, b, s, 1)
	lose(t, b, s, 1, idem.Begun)
	pass(2 * short)
	s.Lease = long
	rec, before, won, err := b.Begin(ctx, s)
	if err != nil || !won || rec.Token != 2 {
		t.Fatalf("%+v, won %t, %v", rec, won, err)
	}
	if before.State != idem.Begun || before.Token != 1 || !before.Began.Equal(first.Began) {
		t.Fatalf("taken over from %+v, want %+v", before, first)
	}
	isStale(t, b.Finish(ctx, "k", 1, idem.Completed, []byte("first"), long))
	isStale(t, b.Extend(ctx, "k", 1, long, long))
	finish(t, b, "k", 2, idem.Completed, "second")
	isStale(t, b.Finish(ctx, "k", 1, idem.Completed, []byte("first"), long))
	if rec := get(t, b, "k"); string(rec.Result) != "second" {
		t.Fatalf("result %q", rec.Result)
	}
}

// A lease that is over harms nobody as long as nobody comes.
func testStale(t *testing.T, b idem.Backend, pass func(time.Duration)) {
	s := start("k")
	s.Lease = short
	begin(t, b, s, 1)
	pass(2 * short)
	isStale(t, b.Finish(ctx, "k", 2, idem.Completed, nil, long))
	isStale(t, b.Finish(ctx, "other", 1, idem.Completed, nil, long))
	isStale(t, b.Extend(ctx, "other", 1, long, long))
	finish(t, b, "k", 1, idem.Completed, "late")
	// Once more, since the answer may have been lost.
	finish(t, b, "k", 1, idem.Completed, "late")
	isStale(t, b.Finish(ctx, "k", 1, idem.Completed, []byte("another"), long))
	isStale(t, b.Finish(ctx, "k", 1, idem.Failed, []byte("late"), long))
	isStale(t, b.Finish(ctx, "k", 1, idem.Released, nil, long))
	isStale(t, b.Extend(ctx, "k", 1, long, long))
}

func testReleased(t *testing.T, b idem.Backend, _ func(time.Duration)) {
	begin(t, b, start("k"), 1)
	finish(t, b, "k", 1, idem.Released, "")
	rec, before, won, err := b.Begin(ctx, start("k"))
	if err != nil || !won || rec.Token != 2 || before.State != idem.Released {
		t.Fatalf("%+v after %+v, won %t, %v", rec, before, won, err)
	}
	isStale(t, b.Finish(ctx, "k", 1, idem.Completed, nil, long))
	finish(t, b, "k", 2, idem.Failed, "no")
	if rec := lose(t, b, start("k"), 2, idem.Failed); string(rec.Result) != "no" {
		t.Fatalf("result %q", rec.Result)
	}
}

func testMismatch(t *testing.T, b idem.Backend, _ func(time.Duration)) {
	for i, hashes := range [][2]string{{"a", "b"}, {"a", ""}, {"", "a"}, {"a", "ab"}, {strings.Repeat("h", idem.MaxHash), strings.Repeat("h", idem.MaxHash-1)}} {
		s := start(fmt.Sprint("k", i))
		s.Hash = []byte(hashes[0])
		begin(t, b, s, 1)
		for range 2 {
			s.Hash = []byte(hashes[1])
			if _, _, won, err := b.Begin(ctx, s); won || !errors.Is(err, idem.ErrMismatch) {
				t.Fatalf("%q after %q: won %t, %v", hashes[1], hashes[0], won, err)
			}
			s.Hash = []byte(hashes[0])
			if _, _, won, err := b.Begin(ctx, s); won || err != nil {
				t.Fatalf("%q again: won %t, %v", hashes[0], won, err)
			}
			_ = b.Finish(ctx, s.Key, 1, idem.Completed, nil, long)
		}
	}
}

func testForgotten(t *testing.T, b idem.Backend, pass func(time.Duration)) {
	begin(t, b, start("k"), 1)
	if err := b.Finish(ctx, "k", 1, idem.Completed, []byte("r"), short); err != nil {
		t.Fatal(err)
	}
	s := start("dead")
	s.Lease, s.Keep = short/2, short/2
	begin(t, b, s, 1)
	begin(t, b, start("stays"), 1)
	pass(2 * short)
	for _, key := range []string{"k", "dead"} {
		if rec, err := b.Get(ctx, key); !errors.Is(err, idem.ErrNotFound) {
			t.Fatalf("%+v, %v, want ErrNotFound", rec, err)
		}
		isStale(t, b.Finish(ctx, key, 1, idem.Completed, []byte("r"), long))
	}
	s = start("k")
	s.Hash = []byte("another request")
	if rec, before, won, err := b.Begin(ctx, s); err != nil || !won || before.Key != "" && before.Token >= rec.Token {
		t.Fatalf("a forgotten key: won %t, %v", won, err)
	}
	for i := range 50 { // whatever clears up on the way leaves the others alone
		begin(t, b, start(fmt.Sprint("more-", i)), 1)
	}
	lose(t, b, start("stays"), 1, idem.Begun)
	lose(t, b, s, get(t, b, "k").Token, idem.Begun)
}

func testExtend(t *testing.T, b idem.Backend, pass func(time.Duration)) {
	s := start("k")
	s.Lease, s.Keep = short, short
	begin(t, b, s, 1)
	if err := b.Extend(ctx, "k", 1, long, long); err != nil {
		t.Fatal(err)
	}
	pass(4 * short) // both would be over
	for i := range 20 {
		begin(t, b, start(fmt.Sprint("more-", i)), 1)
	}
	rec := lose(t, b, s, 1, idem.Begun)
	if rec.Expires.Sub(rec.Lease) != long {
		t.Fatalf("lease until %v, kept until %v", rec.Lease, rec.Expires)
	}
	finish(t, b, "k", 1, idem.Completed, "r")
}

func testKeys(t *testing.T, b idem.Backend, _ func(time.Duration)) {
	keys := []string{
		"a", "A", "a/b", "a:b", "{a}", " a", "ä€😀", "\x00", "\x00\x00", "\xff\xfe", "a\nb", "a b",
		strings.Repeat("k", idem.MaxKey), strings.Repeat("k", idem.MaxKey-1),
	}
	for i, key := range keys {
		begin(t, b, start(key), 1)
		finish(t, b, key, 1, idem.Completed, fmt.Sprint(i))
	}
	for i, key := range keys {
		if rec := lose(t, b, start(key), 1, idem.Completed); string(rec.Result) != fmt.Sprint(i) || rec.Key != key {
			t.Fatalf("key %q has the result %q of %q", key, rec.Result, rec.Key)
		}
	}
}

// Nothing that is handed over or returned is shared.
func testOwnMemory(t *testing.T, b idem.Backend, _ func(time.Duration)) {
	hash, result := []byte("hash"), []byte("result")
	s := start("k")
	s.Hash = hash
	if _, _, _, err := b.Begin(ctx, s); err != nil {
		t.Fatal(err)
	}
	if err := b.Finish(ctx, "k", 1, idem.Completed, result, long); err != nil {
		t.Fatal(err)
	}
	copy(hash, "XXXX")
	copy(result, "XXXXXX")
	rec := get(t, b, "k")
	copy(rec.Hash, "YYYY")
	copy(rec.Result, "YYYYYY")
	if rec := get(t, b, "k"); string(rec.Hash) != "hash" || string(rec.Result) != "result" {
		t.Fatalf("stored %q and %q", rec.Hash, rec.Result)
	}
}

func testUnfinished(t *testing.T, b idem.Backend, pass func(time.Duration)) {
	dead := map[string]bool{}
	for i := range 6 {
		s := start(fmt.Sprint("k", i))
		if i%2 == 0 {
			s.Lease = short
			dead[s.Key] = true
		}
		begin(t, b, s, 1)
	}
	finish(t, b, "k0", 1, idem.Completed, "r")
	delete(dead, "k0")
	pass(2 * short)
	list, err := b.Unfinished(ctx, 10)
	if err != nil || len(list) != len(dead) {
		t.Fatalf("%d unfinished, %v, want %d", len(list), err, len(dead))
	}
	for _, rec := range list {
		if !dead[rec.Key] || rec.State != idem.Begun || rec.Token != 1 {
			t.Fatalf("unfinished: %+v", rec)
		}
	}
	if list, err = b.Unfinished(ctx, 1); err != nil || len(list) != 1 {
		t.Fatalf("%d unfinished, %v, asked for 1", len(list), err)
	}
}

// Of many that begin at the same time, one wins, also when they take over.
func testOneWins(t *testing.T, b idem.Backend, pass func(time.Duration)) {
	for round := range uint64(3) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		wins := 0
		for range 16 {
			wg.Go(func() {
				s := start("k")
				s.Lease = short
				rec, _, won, err := b.Begin(ctx, s)
				mu.Lock()
				defer mu.Unlock()
				if err != nil || rec.Token != round+1 {
					t.Errorf("round %d: %+v, %v", round, rec, err)
				}
				if won {
					wins++
				}
			})
		}
		wg.Wait()
		if wins != 1 {
			t.Fatalf("round %d: %d win", round, wins)
		}
		pass(2 * short)
	}
}

// A long random life of a few keys against a model.
func testModel(t *testing.T, b idem.Backend, _ func(time.Duration)) {
	type model struct {
		token  uint64
		state  idem.State
		result string
	}
	rng := rand.New(rand.NewPCG(1, 2))
	models := map[string]*model{}
	for step := range 1500 {
		key := fmt.Sprint("k", rng.IntN(12))
		m := models[key]
		if m == nil {
			m = &model{}
			models[key] = m
		}
		switch rng.IntN(5) {
		case 0, 1:
			rec, _, won, err := b.Begin(ctx, start(key))
			want := m.state == 0 || m.state == idem.Released
			if want {
				*m = model{token: m.token + 1, state: idem.Begun}
			}
			if err != nil || won != want || rec.Token != m.token || rec.State != m.state || string(rec.Result) != m.result {
				t.Fatalf("step %d: %+v, won %t, %v; want %+v", step, rec, won, err, *m)
			}
		case 2:
			token, state := m.token, []idem.State{idem.Completed, idem.Failed, idem.Released}[rng.IntN(3)]
			if rng.IntN(4) == 0 {
				token = rng.Uint64N(4)
			}
			result := ""
			if state != idem.Released {
				result = fmt.Sprint(rng.IntN(3))
			}
			err := b.Finish(ctx, key, token, state, []byte(result), long)
			switch {
			case token == m.token && m.state == idem.Begun:
				m.state, m.result = state, result
				fallthrough
			case token == m.token && m.state == state && m.result == result && m.token > 0:
				if err != nil {
					t.Fatalf("step %d: %v", step, err)
				}
			default:
				isStale(t, err)
			}
		case 3:
			err := b.Extend(ctx, key, m.token, long, long)
			if m.state == idem.Begun && err != nil || m.state != idem.Begun && !errors.Is(err, idem.ErrStale) {
				t.Fatalf("step %d: extending %+v: %v", step, *m, err)
			}
		case 4:
			rec, err := b.Get(ctx, key)
			if m.state == 0 {
				if !errors.Is(err, idem.ErrNotFound) {
					t.Fatalf("step %d: %v", step, err)
				}
			} else if err != nil || rec.Token != m.token || rec.State != m.state || string(rec.Result) != m.result {
				t.Fatalf("step %d: %+v, %v; want %+v", step, rec, err, *m)
			}
		}
	}
}

func testContext(t *testing.T, b idem.Backend, _ func(time.Duration)) {
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, won, err := b.Begin(gone, start("k")); won || !errors.Is(err, context.Canceled) {
		t.Fatalf("won %t, %v", won, err)
	}
	for _, err := range []error{
		b.Finish(gone, "k", 1, idem.Completed, nil, long), b.Extend(gone, "k", 1, long, long),
		second(b.Get(gone, "k")), second(b.Unfinished(gone, 1)),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	begin(t, b, start("k"), 1)
}

func second[T any](_ T, err error) error { return err }

func testClose(t *testing.T, b idem.Backend, _ func(time.Duration)) {
	begin(t, b, start("k"), 1)
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, won, err := b.Begin(ctx, start("k")); won || !errors.Is(err, idem.ErrClosed) {
		t.Fatalf("won %t, %v", won, err)
	}
	for _, err := range []error{
		b.Finish(ctx, "k", 1, idem.Completed, nil, long), b.Extend(ctx, "k", 1, long, long),
		second(b.Get(ctx, "k")), second(b.Unfinished(ctx, 1)),
	} {
		if !errors.Is(err, idem.ErrClosed) {
			t.Fatal(err)
		}
	}
}
