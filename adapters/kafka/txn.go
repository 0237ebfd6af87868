package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ashlar-go/ashlar/stream"
)

// A group commits offsets, and transactions that contain offsets, of one group;
// the group without a name is for transactions without offsets.
//
// Its transactional id is the group's name. Who begins to commit takes the id
// over (InitProducerID): the cluster aborts what the former one had open and
// refuses its later requests. Only then are the offsets read and the epochs
// compared, so that between that and the commit nobody else can commit:
//
//	old log   take over ─ read offsets ─ compare ────────────────── EndTxn  fenced
//	new log   ························· take over ─ read ─ compare ─ EndTxn  done
//	old log   take over ─ read ─ compare: ErrStale if its epoch was overtaken
//
// While one log commits, taking over and reading happen once.
type group struct {
	l    *Log
	name string // with the prefix
	txn  string // transactional id

	mu      sync.Mutex
	queue   []*commit
	running bool

	// Of the goroutine that runs.
	coordinator int32 // of the transactional id; -1: not known

	alone  int  // so many of the queue go in a transaction of their own
	ready  bool // by, next and stored are valid
	by     producer
	next   map[stream.Partition]int32 // sequences
	stored map[stream.Partition]note
}

// A commit is a transaction that waits. Its records are read only while it is in
// the queue, under the group's lock; the offsets are a copy.
type commit struct {
	offsets map[stream.Partition]stream.Offset
	appends []stream.Append
	counts  []int // of each append's records
	sizes   []int
	gone    bool
	done    chan committed
}

type committed struct {
	firsts []int64
	err    error
}

// Commit implements [stream.Log]. It is a transaction of its own, which is what
// makes its epochs safe; commits of a group that wait at the same time share one.
func (l *Log) Commit(ctx context.Context, group string, offsets map[stream.Partition]stream.Offset) error {
	_, err := l.Transact(ctx, &stream.Tx{Group: group, Offsets: offsets})
	return err
}

// Transact implements [stream.Transactor]. The records for one partition go in
// one batch, which [Options.MaxBatch] limits. When it returns without error the
// records can be read.
func (l *Log) Transact(ctx context.Context, tx *stream.Tx) ([]int64, error) {
	c, leave, err := l.enter(ctx, false)
	if err != nil {
		return nil, err
	}
	firsts, err := l.transact(c, tx)
	return firsts, leave(err)
}

func (l *Log) transact(ctx context.Context, tx *stream.Tx) ([]int64, error) {
	if len(tx.Offsets) > 0 || tx.Group != "" {
		if err := checkGroup(tx.Group); err != nil {
			return nil, err
		}
	}
	for p, o := range tx.Offsets {
		if _, _, err := l.find(ctx, p, false); err != nil {
			return nil, err
		}
		if o.Next < stream.Keep || o.Epoch < 0 {
			return nil, fmt.Errorf("%w: offset %+v of %v", stream.ErrInvalid, o, p)
		}
	}
	w := &commit{offsets: maps.Clone(tx.Offsets), appends: tx.Appends, done: make(chan committed, 1)}
	total := map[stream.Partition]int{}
	for _, a := range tx.Appends {
		size, err := l.check(ctx, a.Partition, a.Records)
		if err != nil {
			return nil, err
		}
		if total[a.Partition] += size; total[a.Partition] > l.opts.MaxBatch-batchHeader {
			return nil, fmt.Errorf("%w: %v: batch above %d bytes", stream.ErrTooLarge, a.Partition, l.opts.MaxBatch)
		}
		w.counts = append(w.counts, len(a.Records))
		w.sizes = append(w.sizes, size)
	}
	if len(tx.Offsets)+len(tx.Appends) == 0 {
		return nil, nil
	}
	name := ""
	if len(tx.Offsets) > 0 {
		name = tx.Group
	}
	g := l.group(name)
	g.mu.Lock()
	g.queue = append(g.queue, w)
	if !g.running {
		g.running = true
		l.wg.Add(1) // this call holds one, so Close has not stopped waiting
		go g.run()
	}
	g.mu.Unlock()
	select {
	case d := <-w.done:
		return d.firsts, d.err
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		w.gone = true
		for i, q := range g.queue {
			if q == w {
				g.queue = append(g.queue[:i:i], g.queue[i+1:]...)
				break
			}
		}
		return nil, ctx.Err()
	}
}

func checkGroup(name string) error {
	if name == "" {
		return fmt.Errorf("%w: empty name of a group", stream.ErrInvalid)
	}
	if len(name) > maxGroup {
		return fmt.Errorf("%w: name of a group has %d bytes, above %d", stream.ErrTooLarge, len(name), maxGroup)
	}
	return nil
}

func (l *Log) group(name string) *group {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.groups[name]
	if g == nil {
		g = &group{l: l, coordinator: -1, name: l.opts.Prefix + name, txn: l.opts.Prefix + "ashlar-group." + name}
		if name == "" {
			g.txn = l.opts.Prefix + "ashlar-log." + l.id
		}
		l.groups[name] = g
	}
	return g
}

// An attempt is some commits on their way to be one transaction.
type attempt struct {
	commits []*commit
	notes   map[stream.Partition]note // to be stored
	batches map[stream.Partition][]byte
	counts  map[stream.Partition]int
	firsts  map[stream.Partition]int64
	by      string
}

// errAgain is the cause of an attempt that did not take effect, and may be made
// again after taking over.
var errAgain = errors.New("kafka: transaction was interrupted")

func again(err error) error { return fmt.Errorf("%w: %w", errAgain, err) }

// run commits what waits, until nothing does.
func (g *group) run() {
	defer g.l.wg.Done()
	for {
		ctx, cancel := context.WithTimeout(g.l.ctx, g.l.opts.Timeout)
		more := g.step(ctx)
		cancel()
		if !more {
			return
		}
	}
}

// step commits one transaction, in as many attempts as it takes. It reports
// whether to go on.
func (g *group) step(ctx context.Context) bool {
	var a *attempt
	for back := (backoff{}); ; {
		err := g.takeOver(ctx)
		if err == nil {
			if a = g.take(); a == nil {
				return g.wantsMore()
			}
			if err = g.try(ctx, a); err == nil {
				g.answer(a, nil)
				return true
			}
			g.ready = false
		}
		var refused *refusedError
		switch {
		case errors.Is(err, errAgain):
			e := back.wait(ctx)
			if e == nil {
				g.putBack(a)
				a = nil
				continue
			}
			err = fmt.Errorf("kafka: group %q: %w: %v", g.name, e, err)
		case a != nil && len(a.commits) > 1 && errors.As(err, &refused): // one of them is to blame
			g.alone = len(a.commits)
			g.putBack(a)
			a = nil
			continue
		}
		if a == nil {
			a = g.take() // to be told the error
		}
		g.answer(a, err)
		// An open transaction stops readers until it is aborted. If that fails the
		// next commit does it, or the cluster in time.
		if ctx.Err() == nil {
			_ = g.takeOver(ctx)
		}
		return g.wantsMore()
	}
}

func (g *group) wantsMore() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running = len(g.queue) > 0
	return g.running
}

func (g *group) answer(a *attempt, err error) {
	if a == nil {
		return
	}
	g.alone = max(0, g.alone-len(a.commits))
	at := maps.Clone(a.firsts)
	for _, w := range a.commits {
		d := committed{err: err}
		if err == nil {
			for i, ap := range w.appends {
				d.firsts = append(d.firsts, at[ap.Partition])
				at[ap.Partition] += int64(w.counts[i])
			}
		}
		w.done <- d
	}
}

// take removes from the queue what goes in one transaction, encodes it, and
// answers those whose epochs were overtaken. Without being ready it takes all.
func (g *group) take() *attempt {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) == 0 {
		return nil
	}
	a := &attempt{
		notes: map[stream.Partition]note{}, batches: map[stream.Partition][]byte{},
		counts: map[stream.Partition]int{}, firsts: map[stream.Partition]int64{}, by: randomID(),
	}
	if !g.ready {
		a.commits, g.queue = g.queue, nil
		return a
	}
	lists := map[stream.Partition][][]stream.Record{}
	sizes := map[stream.Partition]int{}
	for len(g.queue) > 0 {
		w := g.queue[0]
		if !g.fits(w, sizes) || g.alone > 0 && len(a.commits) > 0 {
			break
		}
		g.queue = g.queue[1:]
		if err := g.stage(a, w); err != nil {
			w.done <- committed{err: err}
			continue
		}
		a.commits = append(a.commits, w)
		for i, ap := range w.appends {
			lists[ap.Partition] = append(lists[ap.Partition], ap.Records)
			sizes[ap.Partition] += w.sizes[i]
			a.counts[ap.Partition] += len(ap.Records)
		}
	}
	if len(a.commits) == 0 {
		return nil
	}
	for p, list := range lists {
		a.batches[p] = encodeBatch(list, g.by, g.next[p], true, g.l.compressor)
	}
	return a
}

// fits reports whether the records of w go in the batches that sizes has begun.
func (g *group) fits(w *commit, sizes map[stream.Partition]int) bool {
	more := map[stream.Partition]int{}
	for i, ap := range w.appends {
		more[ap.Partition] += w.sizes[i]
	}
	for p, n := range more {
		if sizes[p] > 0 && sizes[p]+n > g.l.opts.MaxBatch-batchHeader {
			return false
		}
	}
	return true
}

// stage puts the offsets of w into a, all or none.
func (g *group) stage(a *attempt, w *commit) error {
	for pass := range 2 {
		for p, o := range w.offsets {
			old, ok := a.notes[p]
			if !ok {
				old, ok = g.stored[p]
			}
			if pass == 0 {
				if ok && o.Epoch < old.Epoch {
					return fmt.Errorf("%w: group %q, partition %v: epoch %d, the owner's is %d", stream.ErrStale, g.name, p, o.Epoch,
						old.Epoch)
				}
				continue
			}
			if o.Next == stream.Keep && ok {
				o.Next = old.Next
			}
			a.notes[p] = note{o, a.by}
		}
	}
	return nil
}

// putBack undoes take, for those that still wait.
func (g *group) putBack(a *attempt) {
	if a == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var back []*commit
	for _, w := range a.commits {
		if !w.gone {
			back = append(back, w)
		}
	}
	g.queue = append(back, g.queue...)
}

// takeOver makes the group ready, if it is not.
func (g *group) takeOver(ctx context.Context) error {
	if g.ready {
		return nil
	}
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID = &g.txn
	// Half of what a call may take: one that finds the transaction of a process that
	// died is still waiting when the cluster has aborted it.
	req.TransactionTimeoutMillis = int32(min(g.l.opts.Timeout.Milliseconds()/2, 15*60_000))
	resp, err := req.RequestWith(ctx, g.l.cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return g.failure("taking over", err)
	}
	stored, err := g.l.fetchOffsets(ctx, g.name)
	if err != nil {
		return g.failure("reading offsets", err)
	}
	g.by, g.next, g.stored, g.ready = producer{resp.ProducerID, resp.ProducerEpoch}, map[stream.Partition]int32{}, stored, true
	return nil
}

// failure marks an error as one after which to begin again, if it is.
func (g *group) failure(doing string, err error) error {
	err = fmt.Errorf("kafka: group %q: %s: %w", g.name, doing, err)
	if retriable(err) || fenced(err) {
		return again(err)
	}
	return err
}

// fenced reports whether err says that another producer has taken over, or that
// the cluster has forgotten this one or given it up.
func fenced(err error) bool {
	for _, k := range []*kerr.Error{
		kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.UnknownProducerID,
		kerr.InvalidTxnState, kerr.TransactionAbortable, kerr.OutOfOrderSequenceNumber,
	} {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

// try makes a transaction of a.
func (g *group) try(ctx context.Context, a *attempt) error {
	if len(a.batches) > 0 {
		if err := g.addPartitions(ctx, a); err != nil {
			return err
		}
		if err := g.produceAll(ctx, a); err != nil {
			return err
		}
	}
	if len(a.notes) > 0 {
		if err := g.commitOffsets(ctx, a); err != nil {
			return err
		}
	}
	if err := g.end(ctx, a); err != nil {
		return err
	}
	for p, n := range a.notes {
		g.stored[p] = n
	}
	for p, n := range a.counts {
		g.next[p] = addSequence(g.next[p], n)
	}
	return nil
}

// concurrent repeats a request while the transaction before is being completed.
func concurrent(ctx context.Context, ask func() error) error {
	var back backoff
	for {
		err := ask()
		if !errors.Is(err, kerr.ConcurrentTransactions) {
			return err
		}
		if e := back.wait(ctx); e != nil {
			return err
		}
	}
}

func (g *group) addPartitions(ctx context.Context, a *attempt) error {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = g.txn, g.by.id, g.by.epoch
	for name, numbers := range byTopic(a.batches) {
		t := kmsg.NewAddPartitionsToTxnRequestTopic()
		t.Topic, t.Partitions = g.l.full(name), numbers
		req.Topics = append(req.Topics, t)
	}
	return concurrent(ctx, func() error {
		resp, err := req.RequestWith(ctx, g.l.cl)
		if err != nil {
			return g.failure("adding partitions", err)
		}
		var other error
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				// One bad partition makes the others' OPERATION_NOT_ATTEMPTED.
				if err := kerr.ErrorForCode(p.ErrorCode); errors.Is(err, kerr.OperationNotAttempted) {
					other = g.failure("adding partitions", err)
				} else if err != nil {
					return g.failure("adding partitions", err)
				}
			}
		}
		return other
	})
}

func byTopic[V any](m map[stream.Partition]V) map[string][]int32 {
	out := map[string][]int32{}
	for p := range m {
		out[p.Topic] = append(out[p.Topic], int32(p.Number))
	}
	return out
}

func (g *group) produceAll(ctx context.Context, a *attempt) error {
	type result struct {
		p     stream.Partition
		first int64
		err   error
	}
	results := make(chan result, len(a.batches))
	for p, batch := range a.batches {
		g.l.wg.Add(1)
		go func() {
			defer g.l.wg.Done()
			first, err := g.l.produce(ctx, p, batch, &g.txn)
			results <- result{p, first, err}
		}()
	}
	var err error
	for range a.batches {
		r := <-results
		a.firsts[r.p] = r.first
		if r.err != nil && err == nil {
			err = g.failure("appending", r.err) // whatever is stored will be aborted
		}
	}
	return err
}

func (g *group) commitOffsets(ctx context.Context, a *attempt) error {
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = g.txn, g.by.id, g.by.epoch, g.name
	err := concurrent(ctx, func() error {
		resp, err := add.RequestWith(ctx, g.l.cl)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err != nil {
			return g.failure("adding offsets", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = g.txn, g.by.id, g.by.epoch, g.name
	req.Generation = -1
	for name, numbers := range byTopic(a.notes) {
		t := kmsg.NewTxnOffsetCommitRequestTopic()
		t.Topic = g.l.full(name)
		for _, number := range numbers {
			n := a.notes[stream.Partition{Topic: name, Number: int(number)}]
			p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = number, n.offset(), -1, kmsg.StringPtr(n.String())
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, g.l.cl)
	if err != nil {
		return g.failure("committing offsets", err)
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return g.failure("committing offsets", err)
			}
		}
	}
	return nil
}

// end commits the transaction. The first answer means that it is decided, the
// second that it is complete: brokers tell readers in between.
func (g *group) end(ctx context.Context, a *attempt) error {
	var back backoff
	unsure := false // an earlier request may have been done
	for decided := false; ; {
		err, maybe := g.endOnce(ctx)
		unsure = unsure || maybe
		switch {
		case err == nil && decided:
			return nil
		case err == nil:
			decided = true
			continue
		case retriable(err):
			if e := back.wait(ctx); e == nil {
				continue
			}
		}
		switch {
		case decided:
			g.ready = false // whatever that was is the next transaction's to find out
			return nil
		case fenced(err) && !unsure:
			return g.failure("commit", err)
		case fenced(err):
			return g.settle(ctx, a, err)
		}
		return fmt.Errorf("kafka: group %q: commit, outcome unknown: %w", g.name, errors.Join(context.Cause(ctx), err))
	}
}

// endOnce sends one request, where the client would send more by itself. It
// reports beside the error whether the commit may be done all the same.
func (g *group) endOnce(ctx context.Context) (err error, maybe bool) {
	if g.coordinator < 0 {
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.CoordinatorType, find.CoordinatorKey, find.CoordinatorKeys = 1, g.txn, []string{g.txn}
		resp, err := find.RequestWith(ctx, g.l.cl)
		if err != nil {
			return err, false
		}
		node, code := resp.NodeID, resp.ErrorCode
		if len(resp.Coordinators) > 0 {
			node, code = resp.Coordinators[0].NodeID, resp.Coordinators[0].ErrorCode
		}
		if err := kerr.ErrorForCode(code); err != nil {
			return err, false
		}
		g.coordinator = node
	}
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = g.txn, g.by.id, g.by.epoch, true
	resp, err := g.l.cl.Broker(int(g.coordinator)).Request(ctx, req)
	if err == nil {
		err = kerr.ErrorForCode(resp.(*kmsg.EndTxnResponse).ErrorCode)
		maybe = errors.Is(err, kerr.RequestTimedOut)
	} else {
		maybe = true
	}
	if err != nil {
		g.coordinator = -1 // it may have moved
	}
	return err, maybe
}

// settle finds out what became of a transaction whose commit was answered, maybe
// not the first time, by fencing. Taking over waits until it is complete.
func (g *group) settle(ctx context.Context, a *attempt, cause error) error {
	before := g.stored
	g.ready = false
	var back backoff
	for {
		err := g.takeOver(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, errAgain) {
			return fmt.Errorf("%w (commit, outcome unknown: %v)", err, cause)
		}
		if e := back.wait(ctx); e != nil {
			return fmt.Errorf("kafka: group %q: commit, outcome unknown: %w: %v", g.name, e, cause)
		}
	}
	for p := range a.notes {
		switch g.stored[p].by {
		case a.by:
			return nil
		case before[p].by:
			return again(cause)
		}
		return fmt.Errorf("kafka: group %q: commit, outcome unknown: others have committed since: %w", g.name, cause)
	}
	// Nobody else has this log's own id, so the cluster gave the transaction up.
	return again(cause)
}

// Committed implements [stream.Log].
func (l *Log) Committed(ctx context.Context, group string) (map[stream.Partition]stream.Offset, error) {
	c, leave, err := l.enter(ctx, true)
	if err != nil {
		return nil, err
	}
	out, err := l.committed(c, group)
	return out, leave(err)
}

func (l *Log) committed(ctx context.Context, group string) (map[stream.Partition]stream.Offset, error) {
	if err := checkGroup(group); err != nil {
		return nil, err
	}
	var back backoff
	for {
		stored, err := l.fetchOffsets(ctx, l.opts.Prefix+group)
		if err == nil {
			out := make(map[stream.Partition]stream.Offset, len(stored))
			for p, n := range stored {
				out[p] = n.Offset
			}
			return out, nil
		}
		if !retriable(err) {
			return nil, err
		}
		if e := back.wait(ctx); e != nil {
			return nil, fmt.Errorf("kafka: %w: %v", e, err)
		}
	}
}

// fetchOffsets returns what is committed for a group, by its full name, when no
// transaction over it is open.
func (l *Log) fetchOffsets(ctx context.Context, full string) (map[stream.Partition]note, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group, req.RequireStable = full, true
	rg := kmsg.NewOffsetFetchRequestGroup()
	rg.Group = full
	req.Groups = append(req.Groups, rg)
	resp, err := req.RequestWith(ctx, l.cl)
	if err != nil {
		return nil, fmt.Errorf("kafka: offsets of group %q: %w", full, err)
	}
	out := map[stream.Partition]note{}
	for _, g := range resp.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return nil, fmt.Errorf("kafka: offsets of group %q: %w", full, err)
		}
		for _, t := range g.Topics {
			name, ok := l.short(t.Topic)
			if !ok {
				continue
			}
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("kafka: offsets of group %q: %w", full, err)
				}
				if p.Offset < 0 {
					continue
				}
				metadata := ""
				if p.Metadata != nil {
					metadata = *p.Metadata
				}
				n, err := readNote(p.Offset, metadata)
				if err != nil {
					return nil, err
				}
				out[stream.Partition{Topic: name, Number: int(p.Partition)}] = n
			}
		}
	}
	return out, nil
}
