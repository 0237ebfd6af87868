package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// A board is what the live consumer answers: the merged lists, and up to which
// offsets they count.
type board struct {
	PID     int     `json:"pid"`
	Next    []int64 `json:"next"`
	Total   uint64  `json:"total"`
	All     []entry `json:"all"`    // by the sketches of all partitions
	Minute  int64   `json:"minute"` // start of the latest minute that has plays
	Latest  []entry `json:"latest"` // its list, by cms.TopK
	Late    uint64  `json:"late"`
	Again   uint64  `json:"again"`
	Bytes   int     `json:"bytes"` // of all that is kept
	Restart bool    `json:"restart"`
}

// playLive is the consumer behind the page: it counts for ever, with the offset
// beside the result, and answers GET /board with what is committed.
func playLive() error {
	c, err := newConsumer(client{os.Getenv("API")}, wayBeside, os.Getenv("DIR"), 20_000)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var answer atomic.Pointer[[]byte]
	url, stop, err := listen(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if b := answer.Load(); b != nil {
			_, _ = w.Write(*b) // the reader may be gone
			return
		}
		http.Error(w, "not yet", http.StatusServiceUnavailable)
	}))
	if err != nil {
		return err
	}
	defer stop()
	go func() { // the parent holds our standard input open: when it ends, so do we
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := json.NewEncoder(os.Stdout).Encode(report{URL: url}); err != nil {
		return err
	}
	shards := make([]*shard, len(regions))
	from := make([]int64, len(regions))
	restart := false
	for p := range shards {
		if shards[p], from[p], err = c.load(ctx, p); err != nil {
			return err
		}
		restart = restart || from[p] > 0
	}
	pace := time.NewTicker(150 * time.Millisecond)
	defer pace.Stop()
	for ctx.Err() == nil {
		for p := range shards {
			if from[p], err = c.batch(ctx, p, from[p], shards[p]); err != nil {
				if ctx.Err() != nil {
					return c.close()
				}
				return fmt.Errorf("partition %d: %w", p, err)
			}
		}
		b, err := boardOf(shards)
		if err != nil {
			return err
		}
		b.Restart = restart
		text, err := json.Marshal(b)
		if err != nil {
			return err
		}
		answer.Store(&text)
		select {
		case <-pace.C:
		case <-ctx.Done():
		}
	}
	return c.close()
}

// boardOf merges shards.
func boardOf(shards []*shard) (*board, error) {
	b := &board{PID: os.Getpid(), All: askAgain(shards, candidates, chart), Latest: []entry{}}
	for _, s := range shards {
		b.Next = append(b.Next, s.next)
		b.Total += s.total()
		b.Late += s.minutes.late
		b.Again += s.minutes.again
		b.Bytes += 4*sketchWidth*sketchDepth + topBytes + len(s.minutes.boards)*minuteBytes
		if starts := s.minutes.starts(); len(starts) > 0 {
			b.Minute = max(b.Minute, starts[len(starts)-1])
		}
	}
	t, err := ofMinute(shards, b.Minute)
	if err != nil {
		return nil, err
	}
	b.Latest = listed(t, chart)
	return b, nil
}
