// Package wire holds what goes between client and server: the frames of package
// lock's own connection, and the JSON bodies of the HTTP API that package node
// describes.
package wire

// Paths and names. Part of the protocol: never change.
const (
	Sessions     = "/v1/sessions"
	Locks        = "/v1/locks"
	LeaderHeader = "Leader" // on status 421: the leader's host:port, or absent
)

// Session is the body of POST and PUT /v1/sessions and their answer.
type Session struct {
	ID    string `json:"session"`         // 32 hexadecimal digits, chosen by the client
	TTLms int64  `json:"ttl_ms"`          // the lease
	Label string `json:"label,omitempty"` // who this is, for people
}

// Request is the body of POST /v1/locks/{key}/requests.
type Request struct {
	Session string `json:"session"`
	Req     uint64 `json:"req"`              // rising within the session
	Kind    string `json:"kind,omitempty"`   // "exclusive" (default), "shared" or "permit"
	Weight  uint32 `json:"weight,omitempty"` // permits wanted
	Limit   uint32 `json:"limit,omitempty"`  // permits in all
	Try     bool   `json:"try,omitempty"`    // do not queue
	Value   []byte `json:"value,omitempty"`  // shown to readers while held
}

// States of a request.
const (
	Granted    = "granted"
	Queued     = "queued"
	Held       = "held"         // a try failed
	HeldBySelf = "held_by_self" // the session has another request on the key
	Released   = "released"
	NotHeld    = "not_held"
	Gone       = "gone" // finished long ago
	NoSession  = "no_session"
	Conflict   = "conflict" // the key is in use as another kind of lock
	TooMany    = "too_many"
)

// Outcome answers everything that concerns one request.
type Outcome struct {
	State  string  `json:"state"`
	Token  uint64  `json:"token,omitempty"`
	Ahead  int     `json:"ahead,omitempty"`  // requests before it
	Holder *Holder `json:"holder,omitempty"` // when held
	Error  string  `json:"error,omitempty"`
}

// Holder is a request that holds a lock.
type Holder struct {
	Session string `json:"session"`
	Label   string `json:"label,omitempty"`
	Req     uint64 `json:"req"`
	Kind    string `json:"kind"`
	Weight  uint32 `json:"weight,omitempty"`
	Token   uint64 `json:"token"`
	Since   int64  `json:"since_ms,omitempty"` // the leader's wall clock, for people
	Value   []byte `json:"value,omitempty"`
}

// Waiter is a request in the queue.
type Waiter struct {
	Session string `json:"session"`
	Label   string `json:"label,omitempty"`
	Req     uint64 `json:"req"`
	Kind    string `json:"kind"`
	Weight  uint32 `json:"weight,omitempty"`
	Since   int64  `json:"since_ms,omitempty"`
}

// Lock answers GET /v1/locks/{key}.
type Lock struct {
	Key     string   `json:"key"`
	Limit   uint32   `json:"limit,omitempty"` // of a semaphore
	Holders []Holder `json:"holders"`
	Waiting int      `json:"waiting"`
	Queue   []Waiter `json:"queue,omitempty"` // the first of them
	Index   uint64   `json:"index"`           // log position of this view
}

// Event is the data of a server-sent event; its name is Granted, Lost or End.
type Event struct {
	Req    uint64 `json:"req,omitempty"`
	Key    string `json:"key,omitempty"`
	Token  uint64 `json:"token,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Names of further events.
const (
	Lost = "lost" // the request is no longer in the queue or no longer holds
	End  = "end"  // the session is over
)

// Failure is the body of an error that has no Outcome.
type Failure struct {
	Error string `json:"error"`
}
