package core

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

var (
	// ErrInvalid is returned for a command with a field outside its range, and
	// for bytes that are no command.
	ErrInvalid = errors.New("lock: invalid command")
	// ErrCorrupt is returned by Restore for bytes that are no snapshot.
	ErrCorrupt = errors.New("lock: corrupt snapshot")
	// ErrVersion is returned for a command or snapshot of a newer version.
	ErrVersion = errors.New("lock: unknown version")
)

// Limits, in bytes but where said otherwise.
const (
	MaxKey        = 1024
	MaxValue      = 1024
	MaxLabel      = 256
	MinTTL        = time.Second
	MaxTTL        = 24 * time.Hour
	MaxSessions   = 1 << 20 // open at one time
	MaxPerSession = 1 << 16 // requests of one session at one time
)

// A SessionID names a session. Clients draw it at random.
type SessionID [16]byte

// String returns the id as 32 hexadecimal digits.
func (id SessionID) String() string { return hex.EncodeToString(id[:]) }

// ParseSessionID undoes String.
func ParseSessionID(s string) (id SessionID, err error) {
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("%w: session %.40q is not 32 hexadecimal digits", ErrInvalid, s)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return id, fmt.Errorf("%w: session %.40q is not 32 hexadecimal digits", ErrInvalid, s)
	}
	return id, nil
}

// An Op says what a command does. Part of the log format: never renumber.
type Op uint8

// The operations.
const (
	OpOpen    Op = iota + 1 // begin a session
	OpClose                 // end it
	OpExpire                // end it because its lease ran out
	OpEnqueue               // ask for a lock
	OpCancel                // withdraw a request, whatever its state
	OpRelease               // give a lock back, by token
)

var opNames = [...]string{
	OpOpen: "open", OpClose: "close", OpExpire: "expire", OpEnqueue: "enqueue",
	OpCancel: "cancel", OpRelease: "release",
}

// String returns the operation as a word.
func (o Op) String() string {
	if o >= OpOpen && int(o) < len(opNames) {
		return opNames[o]
	}
	return fmt.Sprintf("op(%d)", uint8(o))
}

// A Kind is how a lock is held. Part of the log format: never renumber.
type Kind uint8

// The kinds.
const (
	Exclusive Kind = iota // alone
	Shared                // together with other shared holders
	Permit                // together with others as long as weights do not exceed the limit
)

// String returns the kind as the HTTP API spells it.
func (k Kind) String() string {
	switch k {
	case Exclusive:
		return "exclusive"
	case Shared:
		return "shared"
	case Permit:
		return "permit"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// A Command is one change. Which fields count depends on Op.
type Command struct {
	Op      Op
	Session SessionID

	TTL   time.Duration // Open
	Epoch uint64        // Expire: the session's, as its end was decided
	Term  uint64        // Expire: the leader's

	Req   uint64 // Enqueue, Cancel, Release: the client's number, from 1, rising
	Key   string // the same
	Token uint64 // Release

	Kind          Kind   // Enqueue
	Weight, Limit uint32 // Enqueue of a Permit; otherwise zero
	Try           bool   // Enqueue: do not wait
	MaxWaiters    uint32 // Enqueue: the leader's bound for the queue
	Value         []byte // Enqueue: shown while held. Open: the label

	At int64 // the leader's wall clock in ms, which people are shown and nothing depends on
}

// Validate reports the first field that is out of range.
func (c *Command) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s", ErrInvalid, c.Op, fmt.Sprintf(format, args...))
	}
	switch c.Op {
	case OpOpen:
		if c.TTL < MinTTL || c.TTL > MaxTTL {
			return bad("ttl %v is not in [%v, %v]", c.TTL, MinTTL, MaxTTL)
		}
		if len(c.Value) > MaxLabel || !utf8.Valid(c.Value) {
			return bad("label of %d bytes: want at most %d of UTF-8", len(c.Value), MaxLabel)
		}
		return nil
	case OpClose, OpExpire:
		return nil
	case OpEnqueue, OpCancel, OpRelease:
	default:
		return bad("unknown operation")
	}
	if !ValidKey(c.Key) {
		return bad("key %.40q of %d bytes: want 1 to %d bytes of UTF-8", c.Key, len(c.Key), MaxKey)
	}
	if c.Req == 0 {
		return bad("request 0: they are numbered from 1")
	}
	if c.Op != OpEnqueue {
		return nil
	}
	switch {
	case c.Kind > Permit:
		return bad("unknown %v", c.Kind)
	case c.Kind == Permit && (c.Weight < 1 || c.Weight > c.Limit):
		return bad("weight %d is not in [1, limit %d]", c.Weight, c.Limit)
	case c.Kind != Permit && (c.Weight != 0 || c.Limit != 0):
		return bad("weight %d and limit %d are for permits", c.Weight, c.Limit)
	case len(c.Value) > MaxValue:
		return bad("value of %d bytes: want at most %d", len(c.Value), MaxValue)
	}
	return nil
}

// ValidKey tells whether a lock can have this key.
func ValidKey(key string) bool { return key != "" && len(key) <= MaxKey && utf8.ValidString(key) }

// commandVersion is the first byte of an encoded command.
const commandVersion = 1

// Append appends the command's encoding: version 1, the operation, the session's
// 16 bytes, at, and the operation's fields in the order below. Integers are
// minimal uvarints.
//
//	open     ttl in ns · label
//	close
//	expire   epoch · term
//	enqueue  req · kind, 1 byte · try, 1 byte · weight · limit · max waiters · key · value
//	cancel   req · key
//	release  req · token · key
func (c *Command) Append(b []byte) []byte {
	b = append(b, commandVersion, byte(c.Op))
	b = append(b, c.Session[:]...)
	num := func(x uint64) { b = binary.AppendUvarint(b, x) }
	str := func(s string) { num(uint64(len(s))); b = append(b, s...) }
	num(uint64(c.At))
	switch c.Op {
	case OpOpen:
		num(uint64(c.TTL))
		str(string(c.Value))
	case OpExpire:
		num(c.Epoch)
		num(c.Term)
	case OpEnqueue:
		num(c.Req)
		try := byte(0)
		if c.Try {
			try = 1
		}
		b = append(b, byte(c.Kind), try)
		num(uint64(c.Weight))
		num(uint64(c.Limit))
		num(uint64(c.MaxWaiters))
		str(c.Key)
		num(uint64(len(c.Value)))
		b = append(b, c.Value...)
	case OpCancel:
		num(c.Req)
		str(c.Key)
	case OpRelease:
		num(c.Req)
		num(c.Token)
		str(c.Key)
	}
	return b
}

// DecodeCommand undoes Append. The result does not alias b. Errors wrap
// [ErrInvalid] or [ErrVersion].
func DecodeCommand(b []byte) (Command, error) {
	var c Command
	if len(b) < 2+len(c.Session) {
		return c, fmt.Errorf("%w: %d bytes", ErrInvalid, len(b))
	}
	if b[0] != commandVersion {
		return c, fmt.Errorf("%w: command version %d", ErrVersion, b[0])
	}
	c.Op = Op(b[1])
	copy(c.Session[:], b[2:])
	d := decoder{b: b[2+len(c.Session):]}
	c.At = int64(d.num())
	switch c.Op {
	case OpOpen:
		c.TTL, c.Value = time.Duration(d.num()), []byte(d.str())
	case OpExpire:
		c.Epoch, c.Term = d.num(), d.num()
	case OpEnqueue:
		c.Req, c.Kind = d.num(), Kind(d.octet())
		try := d.octet()
		d.bad = d.bad || try > 1
		c.Try = try == 1
		c.Weight, c.Limit, c.MaxWaiters = d.num32(), d.num32(), d.num32()
		c.Key, c.Value = d.str(), []byte(d.str())
	case OpCancel:
		c.Req, c.Key = d.num(), d.str()
	case OpRelease:
		c.Req, c.Token, c.Key = d.num(), d.num(), d.str()
	}
	if d.bad || len(d.b) > 0 {
		return Command{}, fmt.Errorf("%w: malformed %v of %d bytes", ErrInvalid, c.Op, len(b))
	}
	if err := c.Validate(); err != nil {
		return Command{}, err
	}
	return c, nil
}

// A decoder reads fields off b; bad is set once one is missing or not minimal.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) num() uint64 {
	x, n := binary.Uvarint(d.b)
	if n <= 0 || n > 1 && d.b[n-1] == 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return x
}

func (d *decoder) num32() uint32 {
	x := d.num()
	d.bad = d.bad || x > 1<<32-1
	return uint32(x)
}

func (d *decoder) octet() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	x := d.b[0]
	d.b = d.b[1:]
	return x
}

func (d *decoder) str() string {
	n := d.num()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}
