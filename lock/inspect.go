package lock

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ashlar-go/ashlar/lock/internal/wire"
)

// An Info is what the servers know of one key.
type Info struct {
	Key     string
	Limit   uint32  // of a semaphore, else 0
	Holders []Party // in the order of their grants; none: the key is free
	Waiting int     // how many wait
	Queue   []Party // the first 100 of them, in the order in which they will be served
	Index   uint64  // the position in the replicated log that this view reflects
}

// A Party holds a lock or waits for it.
type Party struct {
	Label  string    // the client's, see Options.Label
	Kind   string    // "exclusive", "shared" or "permit"
	Weight uint32    // permits held or wanted
	Token  uint64    // the fencing token; 0 while it waits
	Since  time.Time // when it was granted or, while it waits, when it asked, by the leader's wall clock
	Value  []byte    // what it published, see Client.Campaign
}

// Inspect returns who holds a key and who waits for it. The answer is
// linearizable: it reflects everything that was answered to anybody before the
// call. By the time it arrives it may be outdated all the same, so it is for
// people and for finding an elected leader, not for deciding whether one holds
// the lock.
func (c *Client) Inspect(ctx context.Context, key string) (Info, error) {
	if err := checkKey(key); err != nil {
		return Info{}, err
	}
	if c.ctx.Err() != nil {
		return Info{}, ErrClosed
	}
	var out wire.Lock
	err := c.servers.retry(ctx, func(ctx context.Context) error {
		a, err := c.servers.call(ctx, wire.AskInspect, []byte(key))
		if err != nil {
			return err
		}
		out = wire.Lock{}
		if err := json.Unmarshal(a.payload, &out); err != nil || a.kind != wire.Inspected {
			return &refusal{fmt.Errorf("lock: answer of kind %d to an inspection: %.80q", a.kind, a.payload)}
		}
		return nil
	})
	if err != nil {
		return Info{}, err
	}
	info := Info{Key: key, Limit: out.Limit, Waiting: out.Waiting, Index: out.Index}
	for _, h := range out.Holders {
		info.Holders = append(info.Holders, Party{h.Label, h.Kind, h.Weight, h.Token, moment(h.Since), h.Value})
	}
	for _, w := range out.Queue {
		info.Queue = append(info.Queue, Party{Label: w.Label, Kind: w.Kind, Weight: w.Weight, Since: moment(w.Since)})
	}
	return info, nil
}

// moment is the time of some milliseconds since 1970, zero for none.
func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
