package core

import (
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
)

// A Status is a command's outcome.
type Status uint8

// The outcomes.
const (
	StatusOK         Status = iota + 1
	StatusGranted           // the request holds the lock: Token
	StatusQueued            // it waits: Ahead
	StatusReleased          // it is over, by Release or Cancel
	StatusHeld              // a try failed: Holder, Token, Since
	StatusHeldBySelf        // the session has another request on the key
	StatusConflict          // the key is in use as another kind of lock
	StatusNotHeld           // there is nothing to release under this token
	StatusGone              // the request was over before
	StatusNoSession         // the session does not exist
	StatusTooMany           // a limit is reached
	StatusStale             // an Expire decided in another term, or before the session's last command
	StatusInvalid           // not a command
)

var statusNames = [...]string{
	StatusOK: "ok", StatusGranted: "granted", StatusQueued: "queued", StatusReleased: "released",
	StatusHeld: "held", StatusHeldBySelf: "held by self", StatusConflict: "conflict", StatusNotHeld: "not held",
	StatusGone: "gone", StatusNoSession: "no session", StatusTooMany: "too many", StatusStale: "stale", StatusInvalid: "invalid",
}

// String returns the outcome in words.
func (s Status) String() string {
	if s >= StatusOK && int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "unknown status"
}

// A Result answers one command.
type Result struct {
	Status Status
	Token  uint64    // Granted, Released: the grant's; Held: the holder's
	Ahead  uint32    // Queued: requests before it, counted up to 10,000
	Holder SessionID // Held: the first holder
	Since  int64     // Held: when that was granted, in ms of the leader's wall clock
}

// An EventKind says what happened to a request.
type EventKind uint8

// The kinds of event.
const (
	EventGranted EventKind = iota + 1 // it holds the lock, through another's command
	EventLost                         // its session ended, or it was cancelled
)

// An Event is something that a client may be waiting for.
type Event struct {
	Kind    EventKind
	Session SessionID
	Req     uint64
	Key     string
	Token   uint64
}

// A State is the lock service's state. One goroutine applies commands; any
// number may read meanwhile: it is safe for concurrent use by multiple
// goroutines. Use [New].
type State struct {
	mu sync.RWMutex

	index uint64 // of the last applied entry
	token uint64 // the last one given
	seq   uint64 // requests that ever entered a queue
	sum   uint64 // digests of all sessions and requests, combined

	sessions arena[session]
	requests arena[request]
	byID     map[SessionID]uint32
	queues   map[string]*queue
	active   map[place]uint32 // the request of a session in a queue

	handoffs uint64 // not part of the state: grants through another's command
}

// A moment is what a grant takes from the entry that causes it.
type moment struct {
	index uint64 // of the entry
	wall  int64  // the command's At
}

// A place is where at most one request can be.
type place struct {
	session uint32
	queue   *queue
}

type session struct {
	id          SessionID
	ttl         time.Duration
	label       string
	epoch       uint64     // its logged commands
	floor       uint64     // requests up to here that are neither active nor in done are over
	done        []finished // the last ones, oldest first; never written in place, for snapshots share it
	first, last uint32     // its requests, in the order in which they came
	n           int
}

// A finished request is remembered for those who ask again.
type finished struct {
	req    uint64
	token  uint64 // 0: it never held the lock
	status Status // what its Enqueue is answered from now on
}

// remembered is how many finished requests a session remembers.
const remembered = 128

type request struct {
	seq   uint64 // its place in the order of all
	req   uint64
	token uint64 // 0: it waits
	since int64  // when it came and, once granted, when that was
	key   string
	value string

	session       uint32
	prev, next    uint32 // in the queue
	sprev, snext  uint32 // in the session's list
	weight, limit uint32
	kind          Kind
}

// A queue is one key that is held. It exists as long as it has a request.
//
// Invariant: the requests before wait are granted, those from wait on are not.
type queue struct {
	key        string
	hash       uint64
	head, tail uint32
	wait       uint32 // the first that waits, or 0
	holders    int
	waiting    int
	used       uint64 // permits
	limit      uint32 // of a semaphore; 0: it is none
	alone      bool   // held exclusively
}

// New returns a state without sessions.
func New() *State {
	return &State{
		sessions: newArena[session](), requests: newArena[request](),
		byID: map[SessionID]uint32{}, queues: map[string]*queue{}, active: map[place]uint32{},
	}
}

// Apply executes one command of the log entry at index and term, and appends
// what others are waiting for to events.
func (s *State) Apply(index, term uint64, c *Command, events *[]Event) Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index = index
	now := moment{index, c.At}
	if c.Op == OpOpen {
		return s.open(c)
	}
	id, ok := s.byID[c.Session]
	if !ok {
		return Result{Status: StatusNoSession}
	}
	switch c.Op {
	case OpExpire:
		if c.Term != term || c.Epoch != s.sessions.at(id).epoch {
			return Result{Status: StatusStale}
		}
		s.end(id, now, events)
		return Result{Status: StatusOK}
	case OpClose:
		s.end(id, now, events)
		return Result{Status: StatusOK}
	}
	s.editSession(id, func(x *session) { x.epoch++ })
	switch c.Op {
	case OpEnqueue:
		return s.enqueue(now, id, c)
	case OpCancel:
		return s.cancel(now, id, c, events)
	case OpRelease:
		return s.release(now, id, c, events)
	}
	return Result{Status: StatusInvalid}
}

func (s *State) open(c *Command) Result {
	if id, ok := s.byID[c.Session]; ok {
		s.editSession(id, func(x *session) { x.epoch++ })
		return Result{Status: StatusOK}
	}
	if len(s.byID) >= MaxSessions {
		return Result{Status: StatusTooMany}
	}
	x := session{id: c.Session, ttl: c.TTL, label: string(c.Value)}
	s.byID[c.Session] = s.sessions.put(x)
	s.sum ^= x.digest()
	return Result{Status: StatusOK}
}

// editSession changes a session.
func (s *State) editSession(id uint32, f func(*session)) {
	x := s.sessions.edit(id)
	s.sum ^= x.digest()
	f(x)
	s.sum ^= x.digest()
}

// end removes a session and all its requests.
func (s *State) end(id uint32, now moment, events *[]Event) {
	for {
		r := s.sessions.at(id).first
		if r == 0 {
			break
		}
		x := *s.requests.at(r)
		*events = append(*events, Event{Kind: EventLost, Session: s.sessions.at(id).id, Req: x.req, Key: x.key})
		s.unlink(r, now, events)
	}
	x := s.sessions.at(id)
	s.sum ^= x.digest()
	delete(s.byID, x.id)
	s.sessions.drop(id)
}

// finish remembers how a request ended.
func (s *State) finish(id uint32, req, token uint64, status Status) {
	s.editSession(id, func(x *session) {
		if len(x.done) >= remembered {
			x.floor = max(x.floor, x.done[0].req)
			x.done = x.done[1:]
		}
		x.done = append(x.done, finished{req, token, status})
	})
}

// over finds out whether a request that is not active is over.
func (x *session) over(req uint64) (f finished, over bool) {
	for i := len(x.done) - 1; i >= 0; i-- {
		if x.done[i].req == req {
			return x.done[i], true
		}
	}
	return finished{req: req, status: StatusGone}, req <= x.floor
}

// find returns the active request that a command names.
func (s *State) find(id uint32, key string, req uint64) (r uint32, q *queue) {
	q = s.queues[key]
	if q == nil {
		return 0, nil
	}
	r = s.active[place{id, q}]
	if r != 0 && s.requests.at(r).req != req {
		return 0, q
	}
	return r, q
}

func (s *State) enqueue(now moment, id uint32, c *Command) Result {
	r, q := s.find(id, c.Key, c.Req)
	if r != 0 {
		return s.standing(r)
	}
	x := s.sessions.at(id)
	if f, over := x.over(c.Req); over {
		if f.status == StatusHeld {
			return s.heldBy(q)
		}
		return Result{Status: f.status, Token: f.token}
	}
	refuse := func(res Result) Result {
		s.finish(id, c.Req, 0, res.Status)
		return res
	}
	if q != nil {
		switch {
		case s.active[place{id, q}] != 0:
			return refuse(Result{Status: StatusHeldBySelf})
		case (q.limit != 0) != (c.Kind == Permit) || q.limit != c.Limit:
			return refuse(Result{Status: StatusConflict})
		}
	}
	if x.n >= MaxPerSession {
		return refuse(Result{Status: StatusTooMany})
	}
	if q != nil && (q.wait != 0 || !q.admits(c.Kind, c.Weight)) {
		if c.Try {
			return refuse(s.heldBy(q))
		}
		if q.waiting >= int(c.MaxWaiters) {
			return refuse(Result{Status: StatusTooMany})
		}
	}
	s.seq++
	r, q = s.link(request{
		seq: s.seq, req: c.Req, since: c.At, key: c.Key, value: string(c.Value), session: id,
		weight: c.Weight, limit: c.Limit, kind: c.Kind,
	})
	s.grant(q, now, nil)
	res := Result{Status: StatusQueued, Ahead: uint32(min(q.holders+q.waiting-1, countAhead))}
	if t := s.requests.at(r).token; t != 0 {
		res = Result{Status: StatusGranted, Token: t}
	}
	return res
}

// heldBy answers a try that failed with the holder of this moment, if there
// is one.
func (s *State) heldBy(q *queue) Result {
	res := Result{Status: StatusHeld}
	if q != nil {
		h := s.requests.at(q.head)
		res.Token, res.Holder, res.Since = h.token, s.sessions.at(h.session).id, h.since
	}
	return res
}

// countAhead bounds the work of telling how many are ahead.
const countAhead = 10_000

// standing answers with an active request's present state.
func (s *State) standing(r uint32) Result {
	x := s.requests.at(r)
	if x.token != 0 {
		return Result{Status: StatusGranted, Token: x.token}
	}
	ahead := uint32(0)
	for p := x.prev; p != 0 && ahead < countAhead; p = s.requests.at(p).prev {
		ahead++
	}
	return Result{Status: StatusQueued, Ahead: ahead}
}

// admits tells whether the holders leave room for one more.
func (q *queue) admits(k Kind, weight uint32) bool {
	switch {
	case q.holders == 0:
		return true
	case k == Permit:
		return q.used+uint64(weight) <= uint64(q.limit)
	}
	return k == Shared && !q.alone
}

// link adds a request at the end of its queue and of its session's list.
func (s *State) link(x request) (uint32, *queue) {
	q := s.queues[x.key]
	if q == nil {
		q = &queue{key: x.key, hash: xxhash.Sum64String(x.key), limit: x.limit}
		s.queues[x.key] = q
	}
	x.key = q.key // one copy of the string
	own := s.sessions.at(x.session)
	x.prev, x.sprev = q.tail, own.last
	r := s.requests.put(x)
	if q.tail != 0 {
		s.requests.edit(q.tail).next = r
	} else {
		q.head = r
	}
	q.tail = r
	if q.wait == 0 {
		q.wait = r
	}
	q.waiting++
	if own.last != 0 {
		s.requests.edit(own.last).snext = r
	}
	own = s.sessions.edit(x.session) // links take no part in the digest
	if own.first == 0 {
		own.first = r
	}
	own.last = r
	own.n++
	s.active[place{x.session, q}] = r
	s.sum ^= s.digest(r, q)
	return r, q
}

// hold marks the first that waits as granted.
func (s *State) hold(q *queue, token uint64, since int64) {
	r := q.wait
	s.sum ^= s.digest(r, q)
	x := s.requests.edit(r)
	x.token, x.since = token, since
	s.sum ^= s.digest(r, q)
	q.wait = x.next
	q.waiting--
	q.holders++
	q.used += uint64(x.weight)
	q.alone = x.kind == Exclusive
}

// grant gives the lock to those at the front of the queue for whom there is
// room. Events, if not nil, hears of each.
func (s *State) grant(q *queue, now moment, events *[]Event) {
	for q.wait != 0 {
		x := s.requests.at(q.wait)
		if !q.admits(x.kind, x.weight) {
			return
		}
		var token uint64
		if x.kind == Shared && q.holders > 0 {
			token = s.requests.at(q.head).token
		} else {
			s.token = max(s.token+1, now.index)
			token = s.token
		}
		s.hold(q, token, now.wall)
		if events != nil {
			s.handoffs++
			*events = append(*events, Event{Kind: EventGranted, Session: s.sessions.at(x.session).id, Req: x.req, Key: x.key, Token: token})
		}
	}
}

// unlink removes a request, whatever its state, and passes on what it held.
func (s *State) unlink(r uint32, now moment, events *[]Event) {
	x := *s.requests.at(r)
	q := s.queues[x.key]
	s.sum ^= s.digest(r, q)
	if x.token != 0 {
		q.holders--
		q.used -= uint64(x.weight)
		if q.holders == 0 {
			q.alone = false
		}
	} else {
		q.waiting--
		if q.wait == r {
			q.wait = x.next
		}
	}
	if x.prev != 0 {
		s.requests.edit(x.prev).next = x.next
	} else {
		q.head = x.next
	}
	if x.next != 0 {
		s.requests.edit(x.next).prev = x.prev
	} else {
		q.tail = x.prev
	}
	own := s.sessions.edit(x.session)
	own.n--
	if x.sprev != 0 {
		s.requests.edit(x.sprev).snext = x.snext
	} else {
		own.first = x.snext
	}
	if x.snext != 0 {
		s.requests.edit(x.snext).sprev = x.sprev
	} else {
		own.last = x.sprev
	}
	delete(s.active, place{x.session, q})
	s.requests.drop(r)
	if q.head == 0 {
		delete(s.queues, q.key)
		return
	}
	// A waiter that gives up may have been in the way of those behind it.
	s.grant(q, now, events)
}

func (s *State) cancel(now moment, id uint32, c *Command, events *[]Event) Result {
	r, _ := s.find(id, c.Key, c.Req)
	if r == 0 {
		// It may still be on its way: it must not be let in when it comes.
		f, over := s.sessions.at(id).over(c.Req)
		if !over {
			s.finish(id, c.Req, 0, StatusGone)
		}
		return Result{Status: StatusReleased, Token: f.token}
	}
	token := s.requests.at(r).token
	s.finish(id, c.Req, token, StatusGone)
	*events = append(*events, Event{Kind: EventLost, Session: c.Session, Req: c.Req, Key: c.Key})
	s.unlink(r, now, events)
	return Result{Status: StatusReleased, Token: token}
}

func (s *State) release(now moment, id uint32, c *Command, events *[]Event) Result {
	r, _ := s.find(id, c.Key, c.Req)
	if r == 0 {
		if f, over := s.sessions.at(id).over(c.Req); over && f.token != 0 && f.token == c.Token {
			return Result{Status: StatusReleased, Token: c.Token}
		}
		return Result{Status: StatusNotHeld}
	}
	if t := s.requests.at(r).token; t == 0 || t != c.Token {
		return Result{Status: StatusNotHeld}
	}
	s.finish(id, c.Req, c.Token, StatusGone)
	s.unlink(r, now, events)
	return Result{Status: StatusReleased, Token: c.Token}
}

// mix is the finaliser of splitmix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func fold(xs ...uint64) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, x := range xs {
		h = mix(h+0x9e3779b97f4a7c15) ^ mix(x+h)
	}
	return h
}

// digest covers all of a request but its links, which follow from seq.
func (s *State) digest(r uint32, q *queue) uint64 {
	x := s.requests.at(r)
	id := s.sessions.at(x.session).id
	return fold(x.seq, x.req, x.token, uint64(x.since), q.hash, xxhash.Sum64String(x.value), xxhash.Sum64(id[:]),
		uint64(x.weight)<<32|uint64(x.limit), uint64(x.kind))
}

func (x *session) digest() uint64 {
	var last finished
	if n := len(x.done); n > 0 {
		last = x.done[n-1]
	}
	return fold(xxhash.Sum64(x.id[:]), uint64(x.ttl), xxhash.Sum64String(x.label), x.epoch, x.floor, uint64(len(x.done)),
		last.req, last.token, uint64(last.status))
}

// Digest returns a hash of the state in constant time; equal states have equal
// ones. Of a session's finished requests it covers the last.
func (s *State) Digest() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return fold(s.index, s.token, s.seq, s.sum) | 1
}
