package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/idem"
	"github.com/ashlar-go/ashlar/stream"
)

// A directory is what routers know by heart: who has subscribed to which topic. Each
// partition has its own, filled from the feed of changes.
type directory [partitions]*shard

type shard struct {
	partition stream.Partition
	mu        sync.RWMutex
	of        map[topicID]map[userID]struct{}
	next      int64 // offset of the next change
	changes   int
}

func newDirectory() *directory {
	var d directory
	for p := range d {
		d[p] = &shard{partition: stream.Partition{Topic: topicChanges, Number: p}, of: map[topicID]map[userID]struct{}{}}
	}
	return &d
}

// fill reads all that is in the feed now. A router does that before it takes its
// first message.
func (d *directory) fill(ctx context.Context, log stream.Log) error {
	var wg sync.WaitGroup
	errs := make([]error, len(d))
	for p, s := range d {
		wg.Go(func() {
			_, end, err := log.Bounds(ctx, s.partition)
			for err == nil && s.next < end {
				err = s.read(ctx, log, &stream.Batch{})
			}
			errs[p] = err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// follow goes on with what changes afterwards, until ctx ends.
func (d *directory) follow(ctx context.Context, log stream.Log) error {
	var wg sync.WaitGroup
	errs := make([]error, len(d))
	for p, s := range d {
		wg.Go(func() {
			var b stream.Batch
			for errs[p] == nil {
				errs[p] = s.read(ctx, log, &b)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(errs...)
}

// read applies the next batch of changes, and waits if there is none.
func (s *shard) read(ctx context.Context, log stream.Log, b *stream.Batch) error {
	if err := log.Read(ctx, s.partition, s.next, b); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range b.Records {
		row, subscribed := changeOf(&b.Records[i])
		if !subscribed {
			delete(s.of[row.topic], row.user)
		} else {
			if s.of[row.topic] == nil {
				s.of[row.topic] = map[userID]struct{}{}
			}
			s.of[row.topic][row.user] = struct{}{}
		}
		s.changes++
	}
	s.next = b.Next
	return nil
}

func (d *directory) shard(t topicID) *shard { return d[partitionOf(t)] }

// subscribers returns who has subscribed to a topic: no database is asked.
func (d *directory) subscribers(t topicID) []userID {
	s := d.shard(t)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Keys(s.of[t]))
}

func (d *directory) count(t topicID) int {
	s := d.shard(t)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.of[t])
}

func (d *directory) changes() (n int) {
	for _, s := range d {
		n += s.changes
	}
	return n
}

// A router takes messages from the log, one task a partition, and sees to it that
// all subscribers get them: Flink in earnest. It commits only when all of a batch
// are delivered or known to be offline, so what it was at when it died is done
// again.
type router struct {
	log       stream.Log
	group     string // whose offsets say how far it is
	directory *directory
	store     *store
	routing   *routing
	polledAt  int           // subscribers from which on a topic is polled
	keepAll   bool          // unpopular notifications are stored too
	keys      *idem.Store   // nil: no server-side keys
	patience  time.Duration // how long to wait for those to come back whose server died

	crash atomic.Bool // makes the next task that has pushed a batch stop before it commits

	pushed     atomic.Int64 // written to a connection, and told so
	unanswered atomic.Int64 // sent to a server that never answered
	stopped    atomic.Int64 // not pushed again, since the key said it was done
	offline    atomic.Int64 // subscribers without a connection
	popular    atomic.Int64 // notifications that are not pushed but polled
}

// pushTimeout is how long a router waits for an answer.
const pushTimeout = 20 * time.Second

var errCrash = errors.New("stopped between push and commit")

// run routes until ctx ends, or until it crashes.
func (r *router) run(ctx context.Context) error {
	group, err := stream.NewGroup(ctx, r.log, r.group, []string{topicMessages}, nil)
	if err != nil {
		return err
	}
	defer group.Close()
	member, err := group.Join(ctx, "router")
	if err != nil {
		return err
	}
	err = member.Run(ctx, r.task)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// task routes the messages of one partition.
func (r *router) task(ctx context.Context, claim *stream.Claim) error {
	b := stream.Batch{MaxBytes: 1 << 10}
	for {
		if err := claim.Read(ctx, &b); err != nil {
			return err
		}
		list := make([]notification, len(b.Records))
		var stored []notification
		var at []int // places of these in list
		for i, record := range b.Records {
			if err := json.Unmarshal(record.Value, &list[i]); err != nil {
				return err
			}
			if r.keepAll || r.isPolled(list[i].Topic) {
				stored, at = append(stored, list[i]), append(at, i)
			}
		}
		// Stored before it is pushed: who is not reached now will find it.
		if err := r.store.put(stored); err != nil {
			return err
		}
		for i, n := range stored {
			list[at[i]] = n // with its Prev
		}
		pushed := 0
		for _, n := range list {
			if r.isPolled(n.Topic) {
				r.popular.Add(1)
				continue
			}
			users := r.directory.subscribers(n.Topic)
			reached, err := r.deliver(ctx, n, users)
			if err != nil {
				return err
			}
			pushed += reached
		}
		if pushed >= 5 && r.crash.CompareAndSwap(true, false) {
			return errCrash
		}
		if err := claim.Commit(ctx, nil); err != nil {
			return err
		}
	}
}

func (r *router) isPolled(t topicID) bool { return r.directory.count(t) >= r.polledAt }

// deliver pushes a notification to users, by as many requests as there are servers
// to which they are connected, and returns how many it reached. What gets no answer
// is tried again.
func (r *router) deliver(ctx context.Context, n notification, users []userID) (reached int, err error) {
	for first := true; len(users) > 0; first = false {
		if !first {
			r.routing.await(ctx, users, r.patience)
		}
		orders := map[string]*order{} // by server
		for _, u := range users {
			server, address, _ := r.routing.find(u)
			if address == "" {
				r.offline.Add(1)
				continue
			}
			if orders[server] == nil {
				orders[server] = &order{server: server, address: address}
			}
			orders[server].users = append(orders[server].users, u)
		}
		var wg sync.WaitGroup
		for _, o := range orders {
			wg.Go(func() { r.send(context.WithoutCancel(ctx), n, o) }) // what is begun is ended
		}
		wg.Wait()
		users = users[:0]
		for _, o := range orders {
			if o.err != nil {
				return reached, o.err
			}
			reached += o.reached
			users = append(users, o.again...)
		}
	}
	return reached, nil
}

// An order is what goes to one server.
type order struct {
	server, address string
	users           []userID
	reached         int
	again           []userID // those for whom there was no answer
	err             error
}

// send begins a key for each user, pushes, and completes the keys.
func (r *router) send(ctx context.Context, n notification, o *order) {
	attempts, err := r.begin(ctx, n, o.users)
	if err != nil {
		o.err = err
		return
	}
	todo := slices.Sorted(maps.Keys(attempts))
	if len(todo) == 0 {
		return
	}
	body, err := json.Marshal(push{n, todo})
	if err != nil {
		o.err = err
		return
	}
	var absent []userID
	timed, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	if err := post(timed, "http://"+o.address+"/push", bytes.NewReader(body), &absent); err != nil {
		// Pushed or not: nobody knows. The key goes back, and it is pushed again.
		r.unanswered.Add(int64(len(todo)))
		r.routing.suspect(o.server, o.address)
		o.again = todo
		o.err = r.finish(ctx, attempts, func(userID) bool { return false })
		return
	}
	o.reached = len(todo) - len(absent)
	r.pushed.Add(int64(o.reached))
	r.offline.Add(int64(len(absent)))
	o.err = r.finish(ctx, attempts, func(u userID) bool { return !slices.Contains(absent, u) })
}

// key is the idempotency key of one notification for one user.
func (n notification) key(u userID) string { return fmt.Sprintf("%d/%d/%d", n.Topic, n.At, u) }

// begin returns an attempt for each user who has not got it yet; nil attempts
// without server-side keys.
func (r *router) begin(ctx context.Context, n notification, users []userID) (map[userID]*idem.Attempt, error) {
	attempts := map[userID]*idem.Attempt{}
	if r.keys == nil {
		for _, u := range users {
			attempts[u] = nil
		}
		return attempts, nil
	}
	var mu sync.Mutex
	err := each(users, func(u userID) error {
		// Has it been done? The Bloom filter knows of nearly all keys that it has
		// not; the database is asked about the others.
		record, known, err := r.keys.Known(ctx, n.key(u))
		if err != nil {
			return err
		}
		if known && record.State == idem.Completed {
			r.stopped.Add(1)
			return nil
		}
		// The key is on the disk when this returns. If a router died with it, its
		// lease is waited for, and then it is this one's.
		a, err := r.keys.Wait(ctx, n.key(u), nil)
		if err != nil {
			return err
		}
		if _, done := a.Result(); done {
			r.stopped.Add(1)
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		attempts[u] = a
		return nil
	})
	return attempts, err
}

// finish completes the keys of those who have it, and gives back the others'.
func (r *router) finish(ctx context.Context, attempts map[userID]*idem.Attempt, has func(userID) bool) error {
	if r.keys == nil {
		return nil
	}
	return each(slices.Collect(maps.Keys(attempts)), func(u userID) error {
		if has(u) {
			return attempts[u].Complete(ctx, nil)
		}
		return attempts[u].Release(ctx)
	})
}

// each calls f for all users at the same time: writes that come together share a
// sync of the disk.
func each(users []userID, f func(userID) error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(users))
	for i, u := range users {
		wg.Go(func() { errs[i] = f(u) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// await waits until all of the users are connected to some server, for so long at
// most.
func (r *routing) await(ctx context.Context, users []userID, patience time.Duration) {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for _, u := range users {
		for {
			_, address, change := r.find(u)
			if address != "" {
				break
			}
			select {
			case <-change:
			case <-limit.C:
				return
			case <-ctx.Done():
				return
			}
		}
	}
}
