package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ashlar-go/ashlar/stream"
)

// An ack is the servers' answer to a message.
type ack struct {
	Stream string              `json:"stream"`
	Seq    uint64              `json:"seq"`
	Batch  string              `json:"batch"`
	Count  int                 `json:"count"`
	Error  *jetstream.APIError `json:"error"`
}

// publish sends a message to the stream and returns its sequence number.
func (l *Log) publish(ctx context.Context, m *natsgo.Msg) (uint64, error) {
	r, err := l.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return 0, fmt.Errorf("nats: %w", err)
	}
	var a ack
	if err := json.Unmarshal(r.Data, &a); err != nil {
		return 0, fmt.Errorf("nats: answer %.100q: %w", r.Data, err)
	}
	switch {
	case a.Error != nil && a.Error.ErrorCode == errTooLarge:
		return 0, fmt.Errorf("%w: %w", stream.ErrTooLarge, a.Error)
	case a.Error != nil:
		return 0, fmt.Errorf("nats: %w", a.Error)
	case a.Stream != l.opts.Prefix || a.Seq == 0:
		return 0, fmt.Errorf("nats: the answer %.100q is not from stream %q", r.Data, l.opts.Prefix)
	}
	return a.Seq, nil
}

// publishBatch sends messages that are stored one behind the other, or not at
// all, and returns the sequence number of the last.
func (l *Log) publishBatch(ctx context.Context, ms []*natsgo.Msg) (uint64, error) {
	if len(ms) == 1 {
		return l.publish(ctx, ms[0])
	}
	id := randomID()
	for i, m := range ms {
		m.Header.Set("Nats-Batch-Id", id)
		m.Header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		if i == len(ms)-1 {
			m.Header.Set("Nats-Batch-Commit", "1")
			return l.publish(ctx, m)
		}
		if err := l.nc.PublishMsg(m); err != nil {
			return 0, fmt.Errorf("nats: %w", err)
		}
	}
	return 0, nil // not reached: ms is not empty
}

func wrongLast(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == errWrongLast || api.ErrorCode == errWrongLastConstant)
}

// A msgRequest asks for stored messages.
type msgRequest struct {
	Seq      uint64 `json:"seq,omitempty"`
	LastFor  string `json:"last_by_subj,omitempty"`
	NextFor  string `json:"next_by_subj,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`
}

type storedMsg struct {
	Seq  uint64    `json:"seq"`
	Data []byte    `json:"data"`
	Time time.Time `json:"time"`
}

// errNone says that there is no such message.
var errNone = errors.New("nats: no message")

// stored asks the stream's leader for one message.
func (l *Log) stored(ctx context.Context, req msgRequest) (storedMsg, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return storedMsg{}, err
	}
	r, err := l.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+l.opts.Prefix, body)
	if err != nil {
		return storedMsg{}, fmt.Errorf("nats: %w", err)
	}
	var resp struct {
		Message *storedMsg          `json:"message"`
		Error   *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(r.Data, &resp); err != nil {
		return storedMsg{}, fmt.Errorf("nats: answer %.100q: %w", r.Data, err)
	}
	switch {
	case resp.Error != nil && resp.Error.ErrorCode == errNoMessage:
		return storedMsg{}, errNone
	case resp.Error != nil:
		return storedMsg{}, fmt.Errorf("nats: %w", resp.Error)
	case resp.Message == nil:
		return storedMsg{}, fmt.Errorf("nats: answer %.100q has no message", r.Data)
	}
	return *resp.Message, nil
}

// batchMessages is how many messages are asked for at a time.
const batchMessages = 512

// direct asks any server that has the stream for messages of a subject, from a
// sequence number on. It may be behind the leader. A batch that breaks off is
// returned up to there.
func (l *Log) direct(ctx context.Context, subject string, seq uint64, bytes int) (out []storedMsg, err error) {
	body, err := json.Marshal(msgRequest{Seq: seq, NextFor: subject, Batch: batchMessages, MaxBytes: bytes})
	if err != nil {
		return nil, err
	}
	inbox := l.nc.NewInbox()
	sub, err := l.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	defer func() {
		// It fails when the connection was closed, and then there is nothing to end.
		_ = sub.Unsubscribe()
	}()
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	if err := l.nc.PublishRequest("$JS.API.DIRECT.GET."+l.opts.Prefix, inbox, body); err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	last := uint64(0)
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			if len(out) > 0 {
				return out, nil
			}
			return nil, fmt.Errorf("nats: %w", err)
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case "204", "404":
			return out, nil
		case "503":
			return nil, fmt.Errorf("nats: %w", natsgo.ErrNoResponders)
		default:
			return nil, fmt.Errorf("nats: reading messages: status %s %s", status, m.Header.Get("Description"))
		}
		at, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("nats: a message without sequence number: %w", err)
		}
		if before := m.Header.Get("Nats-Last-Sequence"); before != strconv.FormatUint(last, 10) {
			return out, nil // the connection lost some in between
		}
		last = at
		out = append(out, storedMsg{Seq: at, Data: m.Data})
	}
}
