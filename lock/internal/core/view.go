package core

import "time"

// A SessionInfo describes a session.
type SessionInfo struct {
	TTL   time.Duration
	Label string
	Epoch uint64 // its logged commands so far
}

// Session returns a session.
func (s *State) Session(id SessionID) (SessionInfo, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.byID[id]
	if !ok {
		return SessionInfo{}, false
	}
	x := s.sessions.at(i)
	return SessionInfo{TTL: x.ttl, Label: x.label, Epoch: x.epoch}, true
}

// EachSession yields all sessions in no particular order. The state must not be
// called from within.
func (s *State) EachSession(yield func(id SessionID, ttl time.Duration)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id, i := range s.byID {
		yield(id, s.sessions.at(i).ttl)
	}
}

// A Grant is a lock that a session holds.
type Grant struct {
	Req   uint64
	Key   string
	Token uint64
}

// Holds returns what a session holds, in the order in which it asked; of one
// request alone if req is not 0. False means that there is no such session.
func (s *State) Holds(id SessionID, req uint64) (held []Grant, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.byID[id]
	if !ok {
		return nil, false
	}
	for r := s.sessions.at(i).first; r != 0; {
		x := s.requests.at(r)
		if x.token != 0 && (req == 0 || req == x.req) {
			held = append(held, Grant{x.req, x.key, x.token})
		}
		r = x.snext
	}
	return held, true
}

// Request tells where a request stands, as a repeated Enqueue would be answered;
// one that never arrived is [StatusGone].
func (s *State) Request(id SessionID, key string, req uint64) Result {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.byID[id]
	if !ok {
		return Result{Status: StatusNoSession}
	}
	if r, _ := s.find(i, key, req); r != 0 {
		return s.standing(r)
	}
	f, _ := s.sessions.at(i).over(req)
	if f.status == StatusHeld {
		return s.heldBy(s.queues[key])
	}
	return Result{Status: f.status, Token: f.token}
}

// A Party is a holder or a waiter.
type Party struct {
	Session SessionID
	Label   string
	Req     uint64
	Kind    Kind
	Weight  uint32
	Token   uint64 // of a holder
	Since   int64  // when it asked or, of a holder, got it, in ms of the leader's wall clock
	Value   []byte
}

// An Info describes a key.
type Info struct {
	Limit   uint32 // of a semaphore
	Holders []Party
	Waiting int
	Queue   []Party // the first of those that wait
	Index   uint64  // the last log entry that it reflects
}

// Inspect describes a key with at most n of its waiters and n of its holders.
func (s *State) Inspect(key string, n int) Info {
	s.mu.RLock()
	defer s.mu.RUnlock()
	info := Info{Index: s.index}
	q := s.queues[key]
	if q == nil {
		return info
	}
	info.Limit, info.Waiting = q.limit, q.waiting
	list := func(r uint32) (ps []Party) {
		for r != 0 && len(ps) < n && (len(info.Holders) > 0 || r != q.wait) {
			x := s.requests.at(r)
			own := s.sessions.at(x.session)
			p := Party{Session: own.id, Label: own.label, Req: x.req, Kind: x.kind, Weight: x.weight, Token: x.token, Since: x.since}
			if x.value != "" {
				p.Value = []byte(x.value)
			}
			ps = append(ps, p)
			r = x.next
		}
		return ps
	}
	info.Holders = list(q.head)
	info.Queue = list(q.wait)
	return info
}

// Stats counts what there is.
type Stats struct {
	Sessions  int
	Keys      int // with a holder
	Requests  int // that hold or wait
	LastToken uint64
	Handoffs  uint64 // grants through another's command, since the process began
}

// Stats returns the counts of this moment.
func (s *State) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Stats{Sessions: len(s.byID), Keys: len(s.queues), Requests: s.requests.n, LastToken: s.token, Handoffs: s.handoffs}
}
