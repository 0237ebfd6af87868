package main

import (
	"context"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/stream"
)

// The user-status table: a row for each device, with its user and whether it is
// online. It is kept from the events, and beside it how many of a user's devices are
// online, so that "how many users are online now?" is a number that is there
// already:
//
//	device     user  status           user  devices online
//	3f02a9c1   17    online           17    2
//	90b1e777   17    online      ──▶  23    1
//	1188c0de   23    online           ─────────────────────
//	77aa0012   23    offline          users online now: 2
//
// All rows of a user are in one partition, since events are partitioned by user: so
// the partitions' numbers add up. Partitioned by device they would not.
type statusTable struct {
	rows   map[uint32]status // by device
	online map[uint32]uint8  // devices by user, of those who are online
}

type status struct {
	user   uint32
	online bool
}

// newStatusTable makes an empty table with room for some rows.
func newStatusTable(rows int) *statusTable {
	return &statusTable{make(map[uint32]status, rows), map[uint32]uint8{}}
}

// apply takes an event into the table. Hearing the same twice changes nothing.
func (t *statusTable) apply(e event) {
	row, known := t.rows[e.device]
	now := status{e.user, e.kind != offline}
	if known && row == now {
		return
	}
	t.rows[e.device] = now
	if row.online {
		if t.online[row.user]--; t.online[row.user] == 0 {
			delete(t.online, row.user)
		}
	}
	if now.online {
		t.online[now.user]++
	}
}

// scan counts by looking at every row, as a query without the second map would.
func (t *statusTable) scan() (deviceCount, userCount int) {
	users := map[uint32]struct{}{}
	for _, row := range t.rows {
		if row.online {
			deviceCount++
			users[row.user] = struct{}{}
		}
	}
	return deviceCount, len(users)
}

// tables follows the log to the beginning of a minute, one table for each partition,
// from where the tables are on.
type tables struct {
	table [partitions]*statusTable
	next  [partitions]int64
}

func newTables(people int) *tables {
	t := &tables{}
	for p := range partitions {
		t.table[p] = newStatusTable(people * devices / partitions)
	}
	return t
}

func (t *tables) follow(ctx context.Context, l stream.Log, minute int) error {
	until := begin.Add(time.Duration(minute) * time.Minute)
	return parallel(func(p int) error {
		err := each(ctx, l, p, t.next[p], func(offset int64, at time.Time, e event) error {
			if !at.Before(until) {
				return errEnough
			}
			// A search does not change the status: the device was online, and says
			// itself when it goes.
			if e.kind != search {
				t.table[p].apply(e)
			}
			t.next[p] = offset + 1
			return nil
		})
		return enough(err)
	})
}

func (t *tables) users() (n int) {
	for _, table := range t.table {
		n += len(table.online)
	}
	return n
}

func (t *tables) rows() (n int) {
	for _, table := range t.table {
		n += len(table.rows)
	}
	return n
}

func (t *tables) scan() (deviceCount, userCount int) {
	for _, table := range t.table {
		d, u := table.scan()
		deviceCount, userCount = deviceCount+d, userCount+u
	}
	return deviceCount, userCount
}

// parallel calls f for every partition, each in a goroutine of its own, and returns
// one of the errors.
func parallel(f func(p int) error) error {
	var wg sync.WaitGroup
	var errs [partitions]error
	for p := range partitions {
		wg.Go(func() { errs[p] = f(p) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
