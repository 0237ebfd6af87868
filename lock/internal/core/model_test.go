package core

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The model is the same service as plain slices: a queue is a slice of requests
// in the order in which they came, and the holders are found by going through
// it from the front.
type model struct {
	token    uint64
	queues   map[string][]*modelRequest
	sessions map[SessionID]*modelSession
	order    int
}

type modelSession struct {
	id    SessionID
	epoch uint64
	floor uint64
	done  []finished
}

type modelRequest struct {
	s       *modelSession
	c       Command
	token   uint64
	arrival int
}

func newModel() *model {
	return &model{queues: map[string][]*modelRequest{}, sessions: map[SessionID]*modelSession{}}
}

func (m *model) apply(index, term uint64, c *Command) (Result, []Event) {
	s := m.sessions[c.Session]
	switch {
	case c.Op == OpOpen:
		if s != nil {
			s.epoch++
		} else {
			m.sessions[c.Session] = &modelSession{id: c.Session}
		}
		return Result{Status: StatusOK}, nil
	case s == nil:
		return Result{Status: StatusNoSession}, nil
	case c.Op == OpExpire && (c.Term != term || c.Epoch != s.epoch):
		return Result{Status: StatusStale}, nil
	case c.Op == OpExpire, c.Op == OpClose:
		var own []*modelRequest
		for _, q := range m.queues {
			for _, r := range q {
				if r.s == s {
					own = append(own, r)
				}
			}
		}
		slices.SortFunc(own, func(a, b *modelRequest) int { return a.arrival - b.arrival })
		var events []Event
		for _, r := range own {
			events = append(events, Event{Kind: EventLost, Session: s.id, Req: r.c.Req, Key: r.c.Key})
			m.remove(r)
			events = append(events, m.grants(r.c.Key, index)...)
		}
		delete(m.sessions, s.id)
		return Result{Status: StatusOK}, events
	}
	s.epoch++
	q := m.queues[c.Key]
	at := slices.IndexFunc(q, func(r *modelRequest) bool { return r.s == s })
	mine := at >= 0 && q[at].c.Req == c.Req
	over := func() (finished, bool) {
		for _, f := range slices.Backward(s.done) {
			if f.req == c.Req {
				return f, true
			}
		}
		return finished{status: StatusGone}, c.Req <= s.floor
	}
	finish := func(token uint64, st Status) {
		s.done = append(s.done, finished{c.Req, token, st})
		if len(s.done) > remembered {
			s.floor = max(s.floor, s.done[0].req)
			s.done = s.done[1:]
		}
	}
	held := func() Result {
		r := Result{Status: StatusHeld}
		if len(q) > 0 {
			r.Token, r.Holder = q[0].token, q[0].s.id
		}
		return r
	}
	switch c.Op {
	case OpEnqueue:
		if mine {
			if q[at].token != 0 {
				return Result{Status: StatusGranted, Token: q[at].token}, nil
			}
			return Result{Status: StatusQueued, Ahead: uint32(at)}, nil
		}
		if f, ok := over(); ok {
			if f.status == StatusHeld {
				return held(), nil
			}
			return Result{Status: f.status, Token: f.token}, nil
		}
		switch {
		case at >= 0:
			finish(0, StatusHeldBySelf)
			return Result{Status: StatusHeldBySelf}, nil
		case len(q) > 0 && ((q[0].c.Kind == Permit) != (c.Kind == Permit) || q[0].c.Limit != c.Limit):
			finish(0, StatusConflict)
			return Result{Status: StatusConflict}, nil
		}
		r := &modelRequest{s: s, c: *c, arrival: m.order}
		m.order++
		m.queues[c.Key] = append(q, r)
		if m.mayHold(c.Key, len(q)) {
			m.grants(c.Key, index)
			return Result{Status: StatusGranted, Token: r.token}, nil
		}
		waiting := 0
		for _, o := range q {
			if o.token == 0 {
				waiting++
			}
		}
		if c.Try || waiting >= int(c.MaxWaiters) {
			m.queues[c.Key] = q
			if c.Try {
				finish(0, StatusHeld)
				return held(), nil
			}
			finish(0, StatusTooMany)
			return Result{Status: StatusTooMany}, nil
		}
		return Result{Status: StatusQueued, Ahead: uint32(len(q))}, nil
	case OpCancel:
		if !mine {
			f, ok := over()
			if !ok {
				finish(0, StatusGone)
			}
			return Result{Status: StatusReleased, Token: f.token}, nil
		}
		r := q[at]
		finish(r.token, StatusGone)
		m.remove(r)
		events := []Event{{Kind: EventLost, Session: s.id, Req: c.Req, Key: c.Key}}
		return Result{Status: StatusReleased, Token: r.token}, append(events, m.grants(c.Key, index)...)
	case OpRelease:
		if !mine {
			if f, ok := over(); ok && f.token != 0 && f.token == c.Token {
				return Result{Status: StatusReleased, Token: c.Token}, nil
			}
			return Result{Status: StatusNotHeld}, nil
		}
		r := q[at]
		if r.token == 0 || r.token != c.Token {
			return Result{Status: StatusNotHeld}, nil
		}
		finish(r.token, StatusGone)
		m.remove(r)
		return Result{Status: StatusReleased, Token: c.Token}, m.grants(c.Key, index)
	}
	panic("op")
}

func (m *model) remove(r *modelRequest) {
	q := slices.DeleteFunc(m.queues[r.c.Key], func(x *modelRequest) bool { return x == r })
	if len(q) == 0 {
		delete(m.queues, r.c.Key)
	} else {
		m.queues[r.c.Key] = q
	}
}

// mayHold tells whether the i-th request of a queue may hold the lock beside
// all before it.
func (m *model) mayHold(key string, i int) bool {
	q := m.queues[key]
	sum := uint64(0)
	for j, r := range q[:i+1] {
		if j < i && r.token == 0 {
			return false // somebody waits before it
		}
		sum += uint64(r.c.Weight)
		if i > 0 && r.c.Kind == Exclusive {
			return false
		}
	}
	return q[i].c.Kind != Permit || sum <= uint64(q[i].c.Limit)
}

func (m *model) grants(key string, index uint64) (events []Event) {
	for i, r := range m.queues[key] {
		if r.token != 0 {
			continue
		}
		if !m.mayHold(key, i) {
			break
		}
		if i > 0 && r.c.Kind == Shared {
			r.token = m.queues[key][0].token
		} else {
			m.token = max(m.token+1, index)
			r.token = m.token
		}
		events = append(events, Event{Kind: EventGranted, Session: r.s.id, Req: r.c.Req, Key: key, Token: r.token})
	}
	return events
}

// check compares the state with the model and its own invariants.
func (m *model) check(s *State) error {
	if len(s.byID) != len(m.sessions) || len(s.queues) != len(m.queues) {
		return fmt.Errorf("%d sessions, %d queues; model %d, %d", len(s.byID), len(s.queues), len(m.sessions), len(m.queues))
	}
	total := 0
	sum := uint64(0)
	for key, mq := range m.queues {
		q := s.queues[key]
		if q == nil {
			return fmt.Errorf("queue %q is missing", key)
		}
		i, prev := 0, uint32(0)
		waits := false
		for r := q.head; r != 0; r = s.requests.at(r).next {
			x := s.requests.at(r)
			if i >= len(mq) || x.prev != prev || x.req != mq[i].c.Req || x.token != mq[i].token || s.sessions.at(x.session).id != mq[i].s.id ||
				x.value != string(mq[i].c.Value) || x.kind != mq[i].c.Kind {
				return fmt.Errorf("queue %q differs at %d", key, i)
			}
			if (x.token == 0) != (waits || r == q.wait) {
				return fmt.Errorf("queue %q: holders are no prefix", key)
			}
			waits = waits || r == q.wait
			if s.active[place{x.session, q}] != r {
				return fmt.Errorf("queue %q: place of request %d", key, x.req)
			}
			sum ^= s.digest(r, q)
			i, prev = i+1, r
		}
		if i != len(mq) || q.tail != prev || q.holders+q.waiting != i {
			return fmt.Errorf("queue %q: %d of %d, tail %d, last %d", key, i, len(mq), q.tail, prev)
		}
		total += i
	}
	if total != s.requests.n || total != len(s.active) {
		return fmt.Errorf("%d requests, %d places; %d in queues", s.requests.n, len(s.active), total)
	}
	listed := 0
	for id, ms := range m.sessions {
		x := s.sessions.at(s.byID[id])
		sum ^= x.digest()
		n, prev := 0, uint32(0)
		for r := x.first; r != 0; r = s.requests.at(r).snext {
			if s.requests.at(r).sprev != prev {
				return fmt.Errorf("session %v: list is broken", id)
			}
			n, prev = n+1, r
		}
		if n != x.n || x.last != prev || x.epoch != ms.epoch || x.floor != ms.floor || !slices.Equal(x.done, ms.done) {
			return fmt.Errorf("session %v: %d listed, counted %d; epoch %d, model %d", id, n, x.n, x.epoch, ms.epoch)
		}
		listed += n
	}
	if listed != total || sum != s.sum {
		return fmt.Errorf("%d in sessions, %d in queues; digest %x, maintained %x", listed, total, sum, s.sum)
	}
	return nil
}

// randomCommand makes a plausible one: repeated, late and wrong ones included.
func randomCommand(rng *rand.Rand, m *model, reqs map[SessionID]uint64, term uint64) Command {
	id := SessionID{byte(rng.IntN(8))}
	c := Command{Session: id, Key: string(rune('a' + rng.IntN(3))), At: int64(rng.IntN(1 << 20)), MaxWaiters: 4, TTL: MinTTL}
	past := func() uint64 { return 1 + rng.Uint64N(reqs[id]+1) }
	switch n := rng.IntN(100); {
	case n < 10:
		c.Op, c.Value = OpOpen, []byte("label")
	case n < 12:
		c.Op = OpClose
	case n < 16:
		c.Op, c.Term = OpExpire, term-uint64(rng.IntN(2))
		if s := m.sessions[id]; s != nil {
			c.Epoch = s.epoch - uint64(rng.IntN(2))
		}
	case n < 55:
		c.Op, c.Try = OpEnqueue, rng.IntN(5) == 0
		reqs[id]++
		c.Req = reqs[id]
		if rng.IntN(6) == 0 {
			c.Req = past()
		}
		switch c.Key {
		case "b":
			c.Kind = Kind(rng.IntN(2))
		case "c":
			c.Kind, c.Limit = Permit, 5
			c.Weight = 1 + uint32(rng.IntN(5))
			if rng.IntN(20) == 0 {
				c.Limit = 6
			}
		}
		if rng.IntN(4) == 0 {
			c.Value = []byte{byte(rng.IntN(256))}
		}
	case n < 65:
		c.Op, c.Req = OpCancel, past()
	default:
		c.Op, c.Req, c.Token = OpRelease, past(), m.token-min(m.token, uint64(rng.IntN(3)))
		// Mostly a real hold.
		if q := m.queues[c.Key]; len(q) > 0 && rng.IntN(5) > 0 {
			r := q[rng.IntN(min(len(q), 2))]
			c.Session, c.Req, c.Token = r.s.id, r.c.Req, r.token
		}
	}
	return c
}

// runModel is one random history: state against model at every step, encoding
// and decoding of every command, and snapshots, some of which are written only
// after many further commands.
func runModel(seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 7))
	s, m := New(), newModel()
	reqs := map[SessionID]uint64{}
	replicas := []*State{New(), New()} // one always whole, one restored from time to time
	var late []*Snapshot
	var asTaken [][]byte
	index, term := uint64(0), uint64(1)
	last := map[string]uint64{} // the highest exclusive token of a key
	for step := range 200 {
		if rng.IntN(3) > 0 {
			index++ // else another command of the same entry
		}
		if rng.IntN(40) == 0 {
			term++
		}
		c := randomCommand(rng, m, reqs, term)
		enc := c.Append(nil)
		dec, err := DecodeCommand(enc)
		if err != nil || !bytes.Equal(dec.Append(nil), enc) {
			return fmt.Errorf("step %d: %+v: decoded %+v, %v", step, c, dec, err)
		}
		index = max(index, 1)
		want, wantEvents := m.apply(index, term, &c)
		for i, st := range append([]*State{s}, replicas...) {
			var events []Event
			got := st.Apply(index, term, &dec, &events)
			got.Since = 0
			if got != want || !(len(events) == 0 && len(wantEvents) == 0 || reflect.DeepEqual(events, wantEvents)) {
				return fmt.Errorf("step %d, replica %d: %+v = %+v %+v, model %+v %+v", step, i, c, got, events, want, wantEvents)
			}
		}
		for _, e := range wantEvents {
			if e.Kind != EventGranted || m.queues[e.Key] == nil {
				continue
			}
			q := m.queues[e.Key]
			if q[0].c.Kind == Exclusive && q[0].token == e.Token {
				if e.Token <= last[e.Key] {
					return fmt.Errorf("step %d: token %d of %q after %d", step, e.Token, e.Key, last[e.Key])
				}
				last[e.Key] = e.Token
			}
		}
		if err := m.check(s); err != nil {
			return fmt.Errorf("step %d: after %+v: %w", step, c, err)
		}
		if d := s.Digest(); d != replicas[0].Digest() || d != replicas[1].Digest() {
			return fmt.Errorf("step %d: digests differ", step)
		}
		switch rng.IntN(30) {
		case 0:
			late, asTaken = append(late, s.Snapshot()), append(asTaken, encode(replicas[0].Snapshot()))
		case 1:
			b := encode(s.Snapshot())
			fresh := New()
			if err := fresh.Restore(bytes.NewReader(b)); err != nil {
				return fmt.Errorf("step %d: restore: %w", step, err)
			}
			if !bytes.Equal(encode(fresh.Snapshot()), b) || fresh.Digest() != s.Digest() {
				return fmt.Errorf("step %d: restoring changed the state", step)
			}
			replicas[1] = fresh
		}
	}
	for i, p := range late {
		if !bytes.Equal(encode(p), asTaken[i]) {
			return fmt.Errorf("snapshot %d changed after it was taken", i)
		}
	}
	return nil
}

func encode(p *Snapshot) []byte {
	var b bytes.Buffer
	p.WriteTo(&b)
	p.Release()
	return b.Bytes()
}

// TestModel runs random histories of 200 commands: 3,000 of them, or as many as
// ASHLAR_MODEL_SEEDS says.
func TestModel(t *testing.T) {
	seeds := 3000
	if n, err := strconv.Atoi(os.Getenv("ASHLAR_MODEL_SEEDS")); err == nil {
		seeds = n
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !t.Failed() {
				seed := next.Add(1) - 1
				if seed >= int64(seeds) {
					return
				}
				if err := runModel(uint64(seed)); err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
			}
		})
	}
	wg.Wait()
}

func id(n byte) SessionID { return SessionID{n} }

// A service is a state with fewer words around it.
type service struct {
	*State
	t      *testing.T
	index  uint64
	events []Event
}

func (s *service) do(c Command) Result {
	s.t.Helper()
	if c.Op == OpOpen && c.TTL == 0 {
		c.TTL = time.Second
	}
	if c.Op == OpEnqueue && c.MaxWaiters == 0 {
		c.MaxWaiters = 100
	}
	if err := c.Validate(); err != nil {
		s.t.Fatal(err)
	}
	s.index++
	s.events = nil
	return s.Apply(s.index, 1, &c, &s.events)
}

// The end of a session passes on all that it held, and tells those who get it.
func TestSessionEnd(t *testing.T) {
	s := &service{State: New(), t: t}
	for n := range byte(3) {
		s.do(Command{Op: OpOpen, Session: id(n)})
	}
	for _, key := range []string{"x", "y", "z"} {
		s.do(Command{Op: OpEnqueue, Session: id(0), Req: uint64(key[0]), Key: key})
	}
	s.do(Command{Op: OpEnqueue, Session: id(1), Req: 1, Key: "z"})
	s.do(Command{Op: OpEnqueue, Session: id(2), Req: 1, Key: "x"})
	if r := s.do(Command{Op: OpExpire, Session: id(0), Term: 1, Epoch: 2}); r.Status != StatusStale {
		t.Fatalf("an expiry decided before the last command: %v", r.Status)
	}
	if r := s.do(Command{Op: OpExpire, Session: id(0), Term: 2, Epoch: 3}); r.Status != StatusStale {
		t.Fatalf("an expiry of another term: %v", r.Status)
	}
	if r := s.do(Command{Op: OpExpire, Session: id(0), Term: 1, Epoch: 3}); r.Status != StatusOK {
		t.Fatalf("expiry: %v", r.Status)
	}
	want := []Event{
		{EventLost, id(0), 'x', "x", 0},
		{EventGranted, id(2), 1, "x", s.index},
		{EventLost, id(0), 'y', "y", 0},
		{EventLost, id(0), 'z', "z", 0},
		{EventGranted, id(1), 1, "z", s.index + 1},
	}
	if !reflect.DeepEqual(s.events, want) {
		t.Errorf("events %+v, want %+v", s.events, want)
	}
	if got := slices.Sorted(maps.Keys(s.queues)); !slices.Equal(got, []string{"x", "z"}) {
		t.Errorf("queues %v", got)
	}
}

// Two hand-overs in one log entry have the entry's index in common, and must
// have different tokens all the same.
func TestTokensRiseWithinAnEntry(t *testing.T) {
	s := New()
	var events []Event
	for n := range byte(3) {
		s.Apply(5, 1, &Command{Op: OpOpen, Session: id(n), TTL: time.Second}, &events)
		s.Apply(5, 1, &Command{Op: OpEnqueue, Session: id(n), Req: 1, Key: "k", MaxWaiters: 9}, &events)
	}
	tokens := []uint64{s.Request(id(0), "k", 1).Token}
	for n := range byte(2) {
		events = nil
		s.Apply(5, 1, &Command{Op: OpRelease, Session: id(n), Req: 1, Key: "k", Token: tokens[n]}, &events)
		tokens = append(tokens, events[0].Token)
	}
	if !slices.Equal(tokens, []uint64{5, 6, 7}) {
		t.Errorf("tokens %v, want 5 6 7", tokens)
	}
}

// A cancel that overtakes its request keeps it out.
func TestCancelBeforeRequest(t *testing.T) {
	s := &service{State: New(), t: t}
	s.do(Command{Op: OpOpen, Session: id(0)})
	s.do(Command{Op: OpCancel, Session: id(0), Req: 1, Key: "k"})
	if r := s.do(Command{Op: OpEnqueue, Session: id(0), Req: 1, Key: "k"}); r.Status != StatusGone {
		t.Errorf("the late request: %v, want gone", r.Status)
	}
	if n := s.Stats().Requests; n != 0 {
		t.Errorf("%d requests", n)
	}
}

// Readers share a token, so a guard that has seen one does not refuse another.
func TestReadersShareToken(t *testing.T) {
	s := &service{State: New(), t: t}
	for n := range byte(5) {
		s.do(Command{Op: OpOpen, Session: id(n)})
	}
	r1 := s.do(Command{Op: OpEnqueue, Session: id(0), Req: 1, Key: "k", Kind: Shared})
	r2 := s.do(Command{Op: OpEnqueue, Session: id(1), Req: 1, Key: "k", Kind: Shared})
	if r1.Status != StatusGranted || r1 != r2 {
		t.Fatalf("readers: %+v, %+v", r1, r2)
	}
	s.do(Command{Op: OpEnqueue, Session: id(2), Req: 1, Key: "k"})
	if r := s.do(Command{Op: OpEnqueue, Session: id(3), Req: 1, Key: "k", Kind: Shared}); r.Status != StatusQueued || r.Ahead != 3 {
		t.Fatalf("a reader behind a writer: %+v", r)
	}
	s.do(Command{Op: OpRelease, Session: id(0), Req: 1, Key: "k", Token: r1.Token})
	if len(s.events) != 0 {
		t.Fatalf("granted beside a reader: %+v", s.events)
	}
	s.do(Command{Op: OpRelease, Session: id(1), Req: 1, Key: "k", Token: r1.Token})
	if len(s.events) != 1 || s.events[0].Session != id(2) || s.events[0].Token <= r1.Token {
		t.Fatalf("after the readers: %+v", s.events)
	}
	// A writer that gives up lets the readers behind it in.
	s.do(Command{Op: OpEnqueue, Session: id(4), Req: 1, Key: "k"})
	s.do(Command{Op: OpRelease, Session: id(2), Req: 1, Key: "k", Token: s.token})
	s.do(Command{Op: OpEnqueue, Session: id(2), Req: 2, Key: "k", Kind: Shared})
	s.do(Command{Op: OpCancel, Session: id(4), Req: 1, Key: "k"})
	if len(s.events) != 2 || s.events[1].Kind != EventGranted || s.events[1].Session != id(2) {
		t.Fatalf("after the writer gave up: %+v", s.events)
	}
}

func TestInspect(t *testing.T) {
	s := &service{State: New(), t: t}
	if i := s.Inspect("k", 5); i.Holders != nil || i.Waiting != 0 {
		t.Errorf("a free key: %+v", i)
	}
	for n := range byte(10) {
		s.do(Command{Op: OpOpen, Session: id(n), Value: []byte{'A' + n}})
		s.do(Command{Op: OpEnqueue, Session: id(n), Req: 1, Key: "k", Kind: Permit, Weight: 1, Limit: 2, At: int64(n), Value: []byte{n}})
	}
	i := s.Inspect("k", 3)
	if len(i.Holders) != 2 || i.Waiting != 8 || len(i.Queue) != 3 || i.Limit != 2 || i.Index != s.index {
		t.Fatalf("%+v", i)
	}
	if h := i.Holders[1]; h.Label != "B" || h.Token == 0 || h.Since != 1 || !bytes.Equal(h.Value, []byte{1}) {
		t.Errorf("holder %+v", h)
	}
	if w := i.Queue[0]; w.Label != "C" || w.Token != 0 {
		t.Errorf("waiter %+v", w)
	}
	if g, ok := s.Holds(id(1), 0); !ok || len(g) != 1 || g[0].Key != "k" {
		t.Errorf("Holds = %+v, %v", g, ok)
	}
	if _, ok := s.Holds(id(77), 0); ok {
		t.Error("Holds of an unknown session")
	}
}

// A million waiters on one key fit, at no more than 300 bytes each.
func TestMemoryPerWaiter(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 100_000
	}
	s := New()
	var events []Event
	const sessions = 1000
	for i := range sessions {
		s.Apply(1, 1, &Command{Op: OpOpen, Session: SessionID{byte(i), byte(i >> 8)}, TTL: time.Second}, &events)
	}
	heap := func() uint64 {
		var ms runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&ms)
		return ms.HeapAlloc
	}
	before := heap()
	// One request per session and key, so the waiters sit on as many keys as
	// that takes; the cost is the request's.
	for i := range n {
		c := Command{
			Op: OpEnqueue, Session: SessionID{byte(i % sessions), byte(i % sessions >> 8)}, Req: uint64(i/sessions + 1),
			Key: keyNames[i/sessions%len(keyNames)], MaxWaiters: 1 << 20,
		}
		if r := s.Apply(2, 1, &c, &events); r.Status != StatusQueued && r.Status != StatusGranted {
			t.Fatalf("waiter %d: %v", i, r.Status)
		}
	}
	per := (heap() - before) / uint64(n)
	t.Logf("%d bytes per waiter", per)
	if per > 300 {
		t.Errorf("%d bytes per waiter, above 300", per)
	}
	runtime.KeepAlive(s)
}

var keyNames = func() (names []string) {
	for i := range 1000 {
		names = append(names, fmt.Sprintf("key %d", i))
	}
	return names
}()
