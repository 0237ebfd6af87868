package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/stream"
)

// Topics of the log.
const (
	topicPlays    = "plays"          // a partition for each region
	topicBatches  = "plays.batches"  // the number of the last batch that each region sent
	topicPrepared = "plays.prepared" // what two-phase commits have promised
	topicBoards   = "plays.boards"   // shards, for consumers that keep them in the log
	groupBoard    = "board"          // the consumers of the boards
	bodyLimit     = 16 << 20         // bytes of a request
	waitForPlays  = time.Second      // how long a reader at the end waits
)

// A broker is the log behind HTTP: plays come in at the API, consumers take them
// out, by offset and as often as they like. It never looks at what is counted.
type broker struct {
	log stream.Transactor

	mu       sync.Mutex // over what follows
	batches  map[int]int
	prepared map[int]promise
	trips    int // requests of consumers, without those that read plays
	replays  int // batches that were there already
}

// A promise is the first half of a two-phase commit: the offset of a partition will
// be this if the coordinator says so. Until then nobody may change it.
type promise struct {
	Tx        string `json:"tx"`
	Partition int    `json:"partition"`
	Next      int64  `json:"next"`
}

func partition(topic string, p int) stream.Partition {
	return stream.Partition{Topic: topic, Number: p}
}

// newBroker makes the topics, or finds what was left in them.
// Plays are kept for so long; 0: for ever.
func newBroker(ctx context.Context, l stream.Transactor, keep time.Duration) (*broker, error) {
	b := &broker{log: l, batches: map[int]int{}, prepared: map[int]promise{}}
	for _, topic := range []string{topicPlays, topicBatches, topicPrepared, topicBoards} {
		o := &stream.TopicOptions{Partitions: len(regions), Compact: topic != topicPlays}
		if topic == topicPlays {
			o.Retention = keep
		}
		if err := l.CreateTopic(ctx, topic, o); err != nil {
			return nil, err
		}
	}
	for p := range regions {
		b.batches[p] = -1
		last, err := lastOf(ctx, l, partition(topicBatches, p))
		if err != nil {
			return nil, err
		}
		if last != nil {
			b.batches[p] = int(binary.LittleEndian.Uint64(last))
		}
		if last, err = lastOf(ctx, l, partition(topicPrepared, p)); err != nil {
			return nil, err
		}
		if last != nil {
			var x promise
			if err := json.Unmarshal(last, &x); err != nil {
				return nil, err
			}
			b.prepared[p] = x
		}
	}
	return b, nil
}

// lastOf returns the value of the last record of a partition, nil if there is none
// or if it is a tombstone.
func lastOf(ctx context.Context, l stream.Log, p stream.Partition) (last []byte, err error) {
	from, next, err := l.Bounds(ctx, p)
	if err != nil {
		return nil, err
	}
	for r, err := range stream.Scan(ctx, l, p, from, next) {
		if err != nil {
			return nil, err
		}
		last = bytes.Clone(r.Value)
	}
	return last, nil
}

// take appends a region's batch of plays and the batch's number in one transaction.
// A sender that got no answer sends again, and the plays are in once.
func (b *broker) take(ctx context.Context, region, batch int, plays []play) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if batch <= b.batches[region] {
		b.replays++
		return nil
	}
	records := make([]stream.Record, len(plays))
	for i, p := range plays {
		records[i] = stream.Record{Key: []byte(p.ID), Value: binary.AppendUvarint(nil, uint64(p.Count)), Time: p.Date}
	}
	number := binary.LittleEndian.AppendUint64(nil, uint64(batch))
	_, err := b.log.Transact(ctx, &stream.Tx{Appends: []stream.Append{
		{Partition: partition(topicPlays, region), Records: records},
		{Partition: partition(topicBatches, region), Records: []stream.Record{{Key: []byte("batch"), Value: number}}},
	}})
	if err == nil {
		b.batches[region] = batch
	}
	return err
}

// playOf reads a record of the log.
func playOf(r *stream.Record) (play, error) {
	n, size := binary.Uvarint(r.Value)
	if size <= 0 || n > 1<<31 {
		return play{}, errors.New("not a play")
	}
	return play{ID: string(r.Key), Date: r.Time.UTC(), Count: uint32(n)}, nil
}

// commit stores how far a partition is done, unless a two-phase commit is between
// its phases: then nobody knows which offset is the right one.
func (b *broker) commit(ctx context.Context, p int, next int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if x, ok := b.prepared[p]; ok {
		return fmt.Errorf("%w: transaction %s", errInDoubt, x.Tx)
	}
	return b.log.Commit(ctx, groupBoard, map[stream.Partition]stream.Offset{partition(topicPlays, p): {Next: next}})
}

var errInDoubt = errors.New("the offset is in doubt")

// prepare is the first phase: the promise is on the disk when it returns.
func (b *broker) prepare(ctx context.Context, x promise) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, ok := b.prepared[x.Partition]; ok && old != x {
		return fmt.Errorf("%w: transaction %s", errInDoubt, old.Tx)
	}
	value, err := json.Marshal(x)
	if err != nil {
		return err
	}
	if _, err = b.log.Append(ctx, partition(topicPrepared, x.Partition), []stream.Record{{Key: []byte("promise"), Value: value}}); err == nil {
		b.prepared[x.Partition] = x
	}
	return err
}

// finish is the second phase: the promise is kept or forgotten. What is not promised
// was finished before.
func (b *broker) finish(ctx context.Context, p int, id string, keep bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	x, ok := b.prepared[p]
	if !ok || x.Tx != id {
		return nil
	}
	tx := &stream.Tx{Appends: []stream.Append{{Partition: partition(topicPrepared, p), Records: []stream.Record{{Key: []byte("promise")}}}}}
	if keep {
		tx.Group = groupBoard
		tx.Offsets = map[stream.Partition]stream.Offset{partition(topicPlays, p): {Next: x.Next}}
	}
	_, err := b.log.Transact(ctx, tx)
	if err == nil {
		delete(b.prepared, p)
	}
	return err
}

// publish appends a shard and stores the offset it belongs to, in one transaction.
func (b *broker) publish(ctx context.Context, p int, next int64, state []byte) error {
	_, err := b.log.Transact(ctx, &stream.Tx{
		Group:   groupBoard,
		Offsets: map[stream.Partition]stream.Offset{partition(topicPlays, p): {Next: next}},
		Appends: []stream.Append{{Partition: partition(topicBoards, p), Records: []stream.Record{{Key: []byte("shard"), Value: state}}}},
	})
	return err
}

// committed returns how far a partition is done.
func (b *broker) committed(ctx context.Context, p int) (int64, error) {
	done, err := b.log.Committed(ctx, groupBoard)
	return max(0, done[partition(topicPlays, p)].Next), err
}

// ServeHTTP is the API, for those who send plays and for consumers:
//
//	POST /plays?region=&batch=     lines of {"id", "date", "count"}: the answer means that they are in the log
//	GET  /plays/{p}?from=&max=     plays from an offset on; at the end it waits a while
//	GET  /end/{p}                  the offset behind the last play
//	GET  /offset/{p}  POST …?next=   how far the board is
//	POST /prepare, /finish         the two phases
//	GET  /boards/{p}  POST …?next=   the shard that is kept in the log
func (b *broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	ctx, path := r.Context(), strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	number := func(name string) int64 {
		n, bad := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
		err = errors.Join(err, bad)
		return n
	}
	p := 0
	if len(path) == 2 {
		var bad error
		if p, bad = strconv.Atoi(path[1]); bad != nil || p < 0 || p >= len(regions) {
			http.NotFound(w, r)
			return
		}
	}
	if path[0] != "plays" {
		b.mu.Lock()
		b.trips++
		b.mu.Unlock()
	}
	var answer []byte
	switch what := r.Method + " " + path[0]; what {
	case "POST plays":
		region, batch := number("region"), number("batch")
		var plays []play
		if err == nil {
			plays, err = parsePlays(body)
		}
		if err != nil || region < 0 || region >= int64(len(regions)) {
			http.Error(w, fmt.Sprint("not taken: ", err), http.StatusBadRequest)
			return
		}
		err = b.take(ctx, int(region), int(batch), plays)
	case "GET plays":
		from, most := number("from"), number("max")
		if err == nil {
			answer, err = b.read(ctx, p, from, int(most))
		}
	case "GET end":
		var next int64
		_, next, err = b.log.Bounds(ctx, partition(topicPlays, p))
		answer = strconv.AppendInt(nil, next, 10)
	case "GET offset":
		var next int64
		next, err = b.committed(ctx, p)
		answer = strconv.AppendInt(nil, next, 10)
	case "POST offset":
		if next := number("next"); err == nil {
			err = b.commit(ctx, p, next)
		}
	case "GET prepared":
		b.mu.Lock()
		answer, err = json.Marshal(b.prepared)
		b.mu.Unlock()
	case "POST prepare":
		var x promise
		if err = json.Unmarshal(body, &x); err == nil {
			err = b.prepare(ctx, x)
		}
	case "POST finish":
		err = b.finish(ctx, p, r.URL.Query().Get("tx"), r.URL.Query().Get("keep") == "true")
	case "GET boards":
		answer, err = lastOf(ctx, b.log, partition(topicBoards, p))
	case "POST boards":
		if next := number("next"); err == nil {
			err = b.publish(ctx, p, next, body)
		}
	default:
		http.NotFound(w, r)
		return
	}
	switch {
	case errors.Is(err, errInDoubt):
		http.Error(w, err.Error(), http.StatusConflict)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		_, _ = w.Write(answer) // the client may be gone
	}
}

// parsePlays reads lines of JSON. All are good, or none is taken.
func parsePlays(body []byte) ([]play, error) {
	var plays []play
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	for {
		var p play
		switch err := d.Decode(&p); {
		case err == io.EOF:
			return plays, nil
		case err != nil:
			return nil, fmt.Errorf("play %d: %w", len(plays)+1, err)
		case p.ID == "" || len(p.ID) > 200 || p.Count == 0 || p.Count > 1000 || p.Date.IsZero():
			return nil, fmt.Errorf("play %d: a play has an id, a date and a count of 1 to 1,000", len(plays)+1)
		}
		plays = append(plays, p)
	}
}

// read returns up to so many plays of a partition from an offset on: the offset
// behind them, then each as length, id, time and count. The same question gets the
// same plays, as long as there are that many.
func (b *broker) read(ctx context.Context, p int, from int64, most int) ([]byte, error) {
	_, end, err := b.log.Bounds(ctx, partition(topicPlays, p))
	if err != nil {
		return nil, err
	}
	var out []byte
	var batch stream.Batch
	next, n := from, 0
	for n < most && (next < end || n == 0) {
		wait, cancel := context.WithTimeout(ctx, waitForPlays)
		err := b.log.Read(wait, partition(topicPlays, p), next, &batch)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			break // nothing new
		}
		if err != nil {
			return nil, err
		}
		next = batch.Next
		for _, r := range batch.Records {
			if n == most {
				next = r.Offset
				break
			}
			out = binary.AppendUvarint(out, uint64(len(r.Key)))
			out = append(out, r.Key...)
			out = binary.AppendVarint(out, r.Time.UnixMilli())
			out = append(out, r.Value...)
			n++
		}
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(next)), out...), nil
}

// listen serves a handler on loopback and returns its address, and what ends it.
func listen(h http.Handler) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() { // ends with the server
		defer close(done)
		_ = server.Serve(l) // always an error: that it was closed
	}()
	return "http://" + l.Addr().String(), func() { server.Close(); <-done }, nil
}

// A client talks to a broker.
type client struct{ url string }

func (c client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(bufio.NewReader(resp.Body))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusConflict:
		return nil, errInDoubt
	case resp.StatusCode != http.StatusOK:
		return nil, &refusal{resp.StatusCode, strings.TrimSpace(string(answer))}
	}
	return answer, nil
}

// A refusal is an answer other than yes.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d: %s", r.code, r.text) }

// send sends plays, as lines of JSON.
func (c client) send(ctx context.Context, region, batch int, plays []play) error {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	for _, p := range plays {
		if err := e.Encode(p); err != nil {
			return err
		}
	}
	_, err := c.do(ctx, "POST", fmt.Sprintf("/plays?region=%d&batch=%d", region, batch), body.Bytes())
	return err
}

// read asks for plays and calls f for each.
func (c client) read(ctx context.Context, p int, from int64, most int, f func(play) error) (next int64, err error) {
	b, err := c.do(ctx, "GET", fmt.Sprintf("/plays/%d?from=%d&max=%d", p, from, most), nil)
	if err != nil {
		return from, err
	}
	r := reader{b: b}
	next = int64(binary.LittleEndian.Uint64(r.take(8)))
	for len(r.b) > 0 {
		x := play{ID: string(r.sized()), Date: time.UnixMilli(r.varint()).UTC(), Count: uint32(r.uvarint())}
		if r.bad {
			return from, errors.New("a broken answer")
		}
		if err := f(x); err != nil {
			return from, err
		}
	}
	return next, nil
}

func (c client) number(ctx context.Context, path string) (int64, error) {
	b, err := c.do(ctx, "GET", path, nil)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(b), 10, 64)
}

func (c client) end(ctx context.Context, p int) (int64, error) {
	return c.number(ctx, fmt.Sprint("/end/", p))
}

func (c client) committed(ctx context.Context, p int) (int64, error) {
	return c.number(ctx, fmt.Sprint("/offset/", p))
}

func (c client) commit(ctx context.Context, p int, next int64) error {
	_, err := c.do(ctx, "POST", fmt.Sprintf("/offset/%d?next=%d", p, next), nil)
	return err
}
