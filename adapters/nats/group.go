package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ashlar-go/ashlar/stream"
)

// maxMessages is how many messages servers store in one step.
const maxMessages = 1000

// A group's offsets stand together in the last message of the subject
// PREFIX.g.GROUP. A commit publishes them anew on condition that this message is
// still the last of its subject: that makes the comparison of epochs and the
// commit one step. Records of a transaction stand before it in the same batch.
type group struct {
	l       *Log
	subject string
	ttl     string
	turn    chan struct{} // holds one: whose turn it is to commit

	// Of whose turn it is.
	known bool
	seq   uint64 // of the message with doc; 0: there is none
	doc   groupDoc
}

// A groupDoc is what is stored. By is random for each commit: whoever lost the
// answer to one finds out by it whether it was done.
type groupDoc struct {
	Version int           `json:"v"`
	By      string        `json:"by"`
	Offsets []groupOffset `json:"offsets,omitempty"`
}

type groupOffset struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Next      int64  `json:"next"`
	Epoch     int64  `json:"epoch"`
}

func readGroup(b []byte) (d groupDoc, err error) {
	if err := json.Unmarshal(b, &d); err != nil {
		return groupDoc{}, fmt.Errorf("%w: offsets of a group: %v", stream.ErrCorrupt, err)
	}
	if d.Version != 1 {
		return groupDoc{}, fmt.Errorf("%w: offsets of a group of version %d", stream.ErrVersion, d.Version)
	}
	for i, o := range d.Offsets {
		if o.Partition < 0 || o.Next < stream.Keep || o.Epoch < 0 || i > 0 && compareOffsets(d.Offsets[i-1], o) >= 0 {
			return groupDoc{}, fmt.Errorf("%w: offset %d of a group: %+v", stream.ErrCorrupt, i, o)
		}
	}
	return d, nil
}

func (o groupOffset) partition() stream.Partition {
	return stream.Partition{Topic: o.Topic, Number: o.Partition}
}

func compareOffsets(a, b groupOffset) int { return a.partition().Compare(b.partition()) }

func (d *groupDoc) offsets() map[stream.Partition]stream.Offset {
	out := make(map[stream.Partition]stream.Offset, len(d.Offsets))
	for _, o := range d.Offsets {
		out[o.partition()] = stream.Offset{Next: o.Next, Epoch: o.Epoch}
	}
	return out
}

// with returns d changed by a commit, or ErrStale.
func (d *groupDoc) with(offsets map[stream.Partition]stream.Offset, by string) (groupDoc, error) {
	all := d.offsets()
	for p, o := range offsets {
		old, ok := all[p]
		if ok && o.Epoch < old.Epoch {
			return groupDoc{}, fmt.Errorf("%w: partition %v: epoch %d, the owner's is %d", stream.ErrStale, p, o.Epoch, old.Epoch)
		}
		if ok && o.Next == stream.Keep {
			o.Next = old.Next
		}
		all[p] = o
	}
	out := groupDoc{Version: 1, By: by}
	for _, p := range slices.SortedFunc(maps.Keys(all), stream.Partition.Compare) {
		out.Offsets = append(out.Offsets, groupOffset{p.Topic, p.Number, all[p].Next, all[p].Epoch})
	}
	return out, nil
}

// Commit implements [stream.Log].
func (l *Log) Commit(ctx context.Context, group string, offsets map[stream.Partition]stream.Offset) error {
	_, err := l.Transact(ctx, &stream.Tx{Group: group, Offsets: offsets})
	return err
}

// Transact implements [stream.Transactor], with an atomic batch of at most 1,000
// messages: one for the offsets, and one for each append, or for each record of a
// compacted topic.
func (l *Log) Transact(ctx context.Context, tx *stream.Tx) ([]int64, error) {
	c, leave, err := l.enter(ctx)
	if err != nil {
		return nil, err
	}
	firsts, err := l.transact(c, tx)
	return firsts, leave(err)
}

func (l *Log) transact(ctx context.Context, tx *stream.Tx) ([]int64, error) {
	if len(tx.Offsets) > 0 || tx.Group != "" {
		if err := checkName("group", tx.Group); err != nil {
			return nil, err
		}
	}
	for p, o := range tx.Offsets {
		if _, err := l.find(ctx, p); err != nil {
			return nil, err
		}
		if o.Next < stream.Keep || o.Epoch < 0 {
			return nil, fmt.Errorf("%w: offset %+v of %v", stream.ErrInvalid, o, p)
		}
	}
	var ms []*natsgo.Msg
	var at []int // of each append, its first message
	for _, a := range tx.Appends {
		t, err := l.find(ctx, a.Partition)
		if err == nil {
			err = check(t, a.Partition, a.Records)
		}
		if err != nil {
			return nil, err
		}
		at = append(at, len(ms))
		if ms, err = l.messages(ms, t, a.Partition, a.Records); err != nil {
			return nil, err
		}
	}
	if len(ms) >= maxMessages {
		return nil, fmt.Errorf("%w: transaction of %d messages, above %d", stream.ErrTooLarge, len(ms), maxMessages-1)
	}
	var last uint64
	var err error
	switch {
	case len(tx.Offsets) > 0:
		last, err = l.group("g."+token(tx.Group), "").commit(ctx, tx.Offsets, ms)
	case len(ms) > 0:
		last, err = l.transactAlone(ctx, ms)
	}
	if err != nil {
		return nil, err
	}
	var firsts []int64
	for _, i := range at {
		firsts = append(firsts, offsetOf(last-uint64(len(ms)-i), 0))
	}
	return firsts, nil
}

// transactAlone stores messages without offsets. What tells whether it was done
// is a group of this Log, without offsets, that the servers forget some time
// after. It returns the sequence number behind the last of ms.
func (l *Log) transactAlone(ctx context.Context, ms []*natsgo.Msg) (last uint64, err error) {
	last, err = l.group("x."+l.id, "3600").commit(ctx, nil, ms)
	if err != nil {
		return uint64(len(ms)) + 1, err // any whose messages have offsets
	}
	return last, nil
}

func (l *Log) group(subject, ttl string) *group {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.groups[subject]
	if g == nil {
		g = &group{l: l, subject: l.opts.Prefix + "." + subject, ttl: ttl, turn: make(chan struct{}, 1)}
		l.groups[subject] = g
	}
	return g
}

// commit stores ms and then the offsets, in one step, and returns the sequence
// number of the offsets' message. It asks as often as it takes: of several
// requests only one can find the offsets as they were.
func (g *group) commit(ctx context.Context, offsets map[stream.Partition]stream.Offset, ms []*natsgo.Msg) (uint64, error) {
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	by := randomID()
	tried, unsure := uint64(0), false // the last request's condition, and whether it may have been met
	var seq uint64
	err := g.l.repeat(ctx, func(ctx context.Context) error {
		if err := g.load(ctx); err != nil {
			return err
		}
		switch {
		case g.doc.By == by: // done, and the answer was lost
			seq = g.seq
			return nil
		case unsure && g.seq != tried:
			return fmt.Errorf("nats: commit to %s, outcome unknown: others have committed since", g.subject)
		}
		doc, err := g.doc.with(offsets, by)
		if err != nil {
			return err
		}
		m := natsgo.NewMsg(g.subject)
		if m.Data, err = json.Marshal(doc); err != nil {
			return err
		}
		if len(m.Data) > g.l.opts.MaxBatch {
			return fmt.Errorf("%w: offsets of the group take %d bytes, above %d", stream.ErrTooLarge, len(m.Data), g.l.opts.MaxBatch)
		}
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, fmt.Sprint(g.seq))
		m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
		setTTL(m, g.ttl)
		g.known, tried = false, g.seq
		seq, err = g.l.publishBatch(ctx, append(ms[:len(ms):len(ms)], m))
		var refused *jetstream.APIError
		switch {
		case err == nil:
			g.known, g.seq, g.doc = true, seq, doc
		case wrongLast(err): // by another log, or a request of this one is under way
			return fmt.Errorf("%w: %w", errLater, err)
		case !errors.As(err, &refused) || retriable(err):
			unsure = true
		}
		return err
	})
	return seq, err
}

// load makes the group known, if it is not.
func (g *group) load(ctx context.Context) error {
	if g.known {
		return nil
	}
	m, err := g.l.stored(ctx, msgRequest{LastFor: g.subject})
	if errors.Is(err, errNone) {
		g.known, g.seq, g.doc = true, 0, groupDoc{Version: 1}
		return nil
	}
	if err != nil {
		return err
	}
	doc, err := readGroup(m.Data)
	if err != nil {
		return err
	}
	g.known, g.seq, g.doc = true, m.Seq, doc
	return nil
}

// Committed implements [stream.Log].
func (l *Log) Committed(ctx context.Context, name string) (map[stream.Partition]stream.Offset, error) {
	c, leave, err := l.enter(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkName("group", name); err != nil {
		return nil, leave(err)
	}
	g := &group{l: l, subject: l.opts.Prefix + ".g." + token(name)} // not the one that commits: it would have to wait
	if err := leave(l.repeat(c, g.load)); err != nil {
		return nil, err
	}
	return g.doc.offsets(), nil
}
