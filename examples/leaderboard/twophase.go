package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
)

// Two-phase commit makes two places that know nothing of each other, the log with
// the offset and the store with the result, change together or not at all:
//
//	consumer (coordinator)     log: offset          store: result
//	  prepare  ───────────────▶ promised, on disk
//	  prepare  ───────────────────────────────────▶ promised, on disk
//	  DECISION on its own disk: from here on it is done, whoever dies
//	  commit   ───────────────────────────────────▶ the promise is kept
//	  commit   ───────────────▶ the promise is kept
//
// Five waits for a disk where one does if both are in the same place. And between
// prepare and commit both sides must hold still: if the coordinator dies there,
// nobody but its successor can say how it ended.

// A ledger holds the coordinator's decisions: lines of a file. A transaction that is
// not in it was not decided, and is taken back.
type ledger struct {
	file    *os.File
	decided map[string]bool
	writes  int
}

func openLedger(name string) (*ledger, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	l := &ledger{file: f, decided: map[string]bool{}}
	size := int64(0)
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			break // a line without its end was never synced: no decision
		}
		l.decided[line[:len(line)-1]] = true
		size += int64(len(line))
	}
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	_, err = f.Seek(size, 0)
	return l, err
}

func (l *ledger) decide(id string) error {
	l.writes++
	if _, err := l.file.WriteString(id + "\n"); err != nil {
		return err
	}
	l.decided[id] = true
	return l.file.Sync()
}

func (l *ledger) close() { l.file.Close() }

// twoPhase commits an offset and a result together.
func (c *consumer) twoPhase(ctx context.Context, p int, from, next int64, state []byte) error {
	id := fmt.Sprintf("%d@%d", p, from)
	body, err := json.Marshal(promise{id, p, next})
	if err != nil {
		return err
	}
	if _, err := c.api.do(ctx, "POST", "/prepare", body); err != nil {
		return err
	}
	c.at("offset prepared")
	if err := c.store.prepare(id, p, state); err != nil {
		return err
	}
	c.at("result prepared")
	if err := c.ledger.decide(id); err != nil {
		return err
	}
	c.at("decided")
	if err := c.store.finish(id, true); err != nil {
		return err
	}
	c.at("result committed")
	if _, err := c.api.do(ctx, "POST", fmt.Sprintf("/finish/%d?tx=%s&keep=true", p, id), nil); err != nil {
		return err
	}
	c.at("committed")
	return nil
}

// settle is what the successor of a dead coordinator does first: it asks both sides
// what they were promised, and the ledger what became of it.
func (c *consumer) settle(ctx context.Context) error {
	ids, err := c.store.prepared()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := c.store.finish(id, c.ledger.decided[id]); err != nil {
			return err
		}
	}
	answer, err := c.api.do(ctx, "GET", "/prepared", nil)
	if err != nil {
		return err
	}
	promised := map[int]promise{}
	if err := json.Unmarshal(answer, &promised); err != nil {
		return err
	}
	for _, p := range slices.Sorted(maps.Keys(promised)) {
		x := promised[p]
		if _, err := c.api.do(ctx, "POST", fmt.Sprintf("/finish/%d?tx=%s&keep=%t", p, x.Tx, c.ledger.decided[x.Tx]), nil); err != nil {
			return err
		}
	}
	return nil
}
