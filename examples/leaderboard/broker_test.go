package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/stream"
)

func TestParsePlays(t *testing.T) {
	const good = `{"id":"a","date":"2026-03-02T20:00:00Z","count":3}`
	plays, err := parsePlays([]byte(good + "\n" + good + "\n"))
	if want := (play{"a", time.Date(2026, 3, 2, 20, 0, 0, 0, time.UTC), 3}); err != nil || !slices.Equal(plays, []play{want, want}) {
		t.Errorf("two lines are %v, %v", plays, err)
	}
	for _, bad := range []string{
		`{"id":"","date":"2026-03-02T20:00:00Z","count":1}`,
		`{"id":"` + strings.Repeat("x", 201) + `","date":"2026-03-02T20:00:00Z","count":1}`,
		`{"id":"a","date":"2026-03-02","count":1}`,
		`{"id":"a","count":1}`,
		`{"id":"a","date":"2026-03-02T20:00:00Z","count":0}`,
		`{"id":"a","date":"2026-03-02T20:00:00Z","count":-1}`,
		`{"id":"a","date":"2026-03-02T20:00:00Z","count":1001}`,
		`{"id":"a","date":"2026-03-02T20:00:00Z","count":1,"more":1}`,
		`[]`, `{`,
	} {
		if plays, err := parsePlays([]byte(good + bad)); err == nil {
			t.Errorf("%s was taken: %v", bad, plays)
		}
	}
}

// What is promised holds across a restart of the broker too: nobody changes the offset
// until the transaction is over.
func TestPromises(t *testing.T) {
	ctx := t.Context()
	l := stream.NewMem()
	defer l.Close()
	b, err := newBroker(ctx, l, 0)
	if err != nil {
		t.Fatal(err)
	}
	for r := range regions {
		if err := b.take(ctx, r, 0, make([]play, 100)); err != nil {
			t.Fatal(err)
		}
	}
	at := func(want int64) {
		t.Helper()
		if got, err := b.committed(ctx, 1); got != want || err != nil {
			t.Errorf("the offset is %d, %v, want %d", got, err, want)
		}
	}
	for i, c := range []struct {
		keep bool
		want int64
	}{{true, 10}, {false, 10}, {true, 30}} {
		x := promise{fmt.Sprint("tx", i), 1, int64(10 + 10*i)}
		if err := b.prepare(ctx, x); err != nil {
			t.Fatal(err)
		}
		if b, err = newBroker(ctx, l, 0); err != nil { // as after a crash
			t.Fatal(err)
		}
		if err := b.commit(ctx, 1, 99); !errors.Is(err, errInDoubt) {
			t.Errorf("a commit of another: %v, want errInDoubt", err)
		}
		if err := b.prepare(ctx, promise{"other", 1, 99}); !errors.Is(err, errInDoubt) {
			t.Errorf("another transaction: %v, want errInDoubt", err)
		}
		if err := b.commit(ctx, 2, 99); err != nil {
			t.Errorf("another partition: %v", err)
		}
		for range 2 { // the second time nothing is left to do
			if err := b.finish(ctx, 1, x.Tx, c.keep); err != nil {
				t.Fatal(err)
			}
			at(c.want)
		}
	}
	if err := b.commit(ctx, 1, 31); err != nil {
		t.Error(err)
	}
	at(31)
}

// A decision whose line was cut by a crash is none.
func TestLedgerTorn(t *testing.T) {
	name := filepath.Join(t.TempDir(), "decisions")
	l, err := openLedger(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.decide("0@1"); err != nil {
		t.Fatal(err)
	}
	if err := l.decide("0@22"); err != nil {
		t.Fatal(err)
	}
	l.close()
	for cut, want := range map[int64][2]bool{9: {true, true}, 8: {true, false}, 4: {true, false}, 3: {false, false}, 0: {false, false}} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		other := filepath.Join(t.TempDir(), "cut")
		if err := os.WriteFile(other, text[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		l, err := openLedger(other)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]bool{l.decided["0@1"], l.decided["0@22"]}; got != want {
			t.Errorf("cut to %d bytes: %v, want %v", cut, got, want)
		}
		if err := l.decide("3@7"); err != nil {
			t.Fatal(err)
		}
		l.close()
		if l, err = openLedger(other); err != nil || !l.decided["3@7"] {
			t.Errorf("cut to %d bytes: what was decided afterwards is not there: %v", cut, err)
		}
		l.close()
	}
}

// A play counts in its minute until the watermark is a grace past the end of it.
func TestGrace(t *testing.T) {
	m, err := newMinuteBoards()
	if err != nil {
		t.Fatal(err)
	}
	end := opening.Add(time.Minute)
	add := func(at time.Time) {
		t.Helper()
		if err := m.add(play{"a", at, 1}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, counted, again, late uint64) {
		t.Helper()
		if got := m.boards[opening.UnixMilli()].Total(); got != counted || m.again != again || m.late != late {
			t.Errorf("%s: %d counted, %d again, %d late, want %d, %d and %d", what, got, m.again, m.late, counted, again, late)
		}
	}
	add(opening)
	check("the first", 1, 0, 0)
	add(end.Add(bound)) // the watermark is just before the end
	add(opening)
	check("before the watermark has passed", 2, 0, 0)
	add(end.Add(bound + time.Millisecond))
	add(opening)
	check("after it has", 3, 1, 0)
	add(end.Add(bound + grace))
	add(opening)
	check("at the end of the grace", 4, 2, 0)
	add(end.Add(bound + grace + time.Millisecond))
	add(opening)
	check("after the grace", 4, 2, 1)
}
