package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ashlar-go/ashlar/lock"
)

// A tokenSource is a lock server that only hands out tokens, and its standby.
// This part is logic and needs no real time: a grant takes 10 ms of a simulated
// clock.
type tokenSource struct {
	name  string
	grant func() uint64
	fail  func() // the server dies and its standby takes over
	show  func(token uint64) string
}

// logPositions counts the entries of a log that the standby has too.
func logPositions() tokenSource {
	var index uint64
	return tokenSource{
		name:  "log positions",
		grant: func() uint64 { index++; return index },
		fail:  func() {}, // what a majority has is not lost
		show:  func(t uint64) string { return fmt.Sprint(t) },
	}
}

// timestamps are the milliseconds of the server's own clock. The standby's is
// some seconds behind.
func timestampTokens(behind time.Duration) tokenSource {
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	return tokenSource{
		name:  "timestamps",
		grant: func() uint64 { now = now.Add(10 * time.Millisecond); return uint64(now.UnixMilli()) },
		fail:  func() { now = now.Add(-behind) },
		show:  func(t uint64) string { return time.UnixMilli(int64(t)).UTC().Format("15:04:05.000") },
	}
}

// timestamps plays the freeze with both kinds of tokens and the same guard.
// Twice each: C1 has shown its token when it read the object, or it has worked
// from a copy of its own, so that its token is first seen when it writes.
func timestamps(w io.Writer, appends int) error {
	const behind = 5 * time.Second
	fmt.Fprintf(w, "the server fails over while C1 is frozen; the standby's clock is %v behind\n", behind)
	fmt.Fprintf(w, "  %-14s %-14s %-13s %-13s %-18s %-14s %s\n", "tokens", "C1 shows its", "C1's", "the next", "rightful refused", "C1's write", "lost")
	var wrong error
	for _, source := range []func() tokenSource{logPositions, func() tokenSource { return timestampTokens(behind) }} {
		for _, when := range []string{"reading", "writing"} {
			src := source()
			r, err := failOver(src, when == "reading", appends)
			if err != nil {
				return err
			}
			verdict := "refused"
			if r.accepted {
				verdict = "accepted"
			}
			fmt.Fprintf(w, "  %-14s when %-9s %-13s %-13s %-18s %-14s %d\n", src.name, when, src.show(r.first), src.show(r.second),
				fmt.Sprintf("%d of %d", r.rightful, appends), verdict, r.lost)
			good := r.rightful == 0 && !r.accepted && r.lost == 0
			shut := r.rightful == appends && r.accepted
			destroyed := r.accepted && r.lost == appends
			switch {
			case src.name == "log positions" && !good:
				wrong = errors.New("log positions must refuse the stale write, and nobody else")
			case src.name == "timestamps" && when == "reading" && !shut:
				wrong = errors.New("timestamps should have shut the rightful holders out")
			case src.name == "timestamps" && when == "writing" && !destroyed:
				wrong = errors.New("timestamps should have let the stale write destroy what came after it")
			}
		}
	}
	return wrong
}

type failedOver struct {
	first, second uint64 // tokens of C1 and of the next holder
	rightful      int    // present holders that were refused
	accepted      bool   // C1's stale write
	lost          int    // acknowledged lines that it destroyed
}

func failOver(src tokenSource, shows bool, appends int) (r failedOver, err error) {
	ctx := context.Background()
	guard, err := lock.NewGuard(nil)
	if err != nil {
		return r, err
	}
	var object []string

	// C1 has the lock, and is frozen. The server dies.
	r.first = src.grant()
	if shows {
		if err := guard.Check(ctx, "object", r.first); err != nil {
			return r, err
		}
	}
	src.fail()

	// The lease ran out: others append, one after the other.
	acknowledged := 0
	for i := range appends {
		token := src.grant()
		if i == 0 {
			r.second = token
		}
		err := guard.Do(ctx, "object", token, func() error {
			object = append(object, fmt.Sprint("line ", i))
			return nil
		})
		switch {
		case err == nil:
			acknowledged++
		case errors.Is(err, lock.ErrStale):
			r.rightful++
		default:
			return r, err
		}
	}

	// C1 goes on and writes the object as it knew it, plus its own line.
	err = guard.Do(ctx, "object", r.first, func() error {
		object = []string{staleLine}
		return nil
	})
	switch {
	case err == nil:
		r.accepted = true
		r.lost = acknowledged - (len(object) - 1)
	case !errors.Is(err, lock.ErrStale):
		return r, err
	}
	return r, nil
}
