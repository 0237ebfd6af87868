package redis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Command is what a [Client] sends: first the words of Name, then Keys, then Args,
// as in EVALSHA, digest, number of keys; the keys; the arguments. Strings may hold any
// bytes.
type Command struct {
	Name []string
	Keys []string // all of one slot, where the servers are a cluster; at least one
	Args []string
}

// A Reply is what came back for a [Command].
type Reply struct {
	// Value is an int64, a string, nil, or a []any of these.
	Value any
	// Err is the server's error, or why there is no answer.
	Err error
}

// A Client sends commands to Redis. Packages goredis and rueidisclient beside this one
// make it from the clients that most programs have. It has to be safe for concurrent
// use by multiple goroutines.
type Client interface {
	// Do sends commands, together where it can, and returns their replies in the same
	// order. The text of a server's error begins with the server's, NOSCRIPT and the
	// like. It should give up when the context ends. Where it does not, callers return in
	// time all the same, but each call that hangs keeps its goroutine and commands until it
	// ends: of a Limiter's and a Near's Check at most Options.Flights each, of what else is
	// asked one for each call.
	Do(ctx context.Context, cmds []Command) []Reply
	// Cluster tells whether keys of different slots are on different servers.
	Cluster() bool
	// Heeds tells whether Do returns when its context's deadline is over. Requests that come
	// alone are then sent without a goroutine of their own, which is faster.
	Heeds() bool
}

// A script is run by its digest, and sent whole where the server does not have it: at
// its first use, after a restart, a failover or SCRIPT FLUSH.
type script struct{ source, digest string }

func newScript(source string) *script {
	sum := sha1.Sum([]byte(source)) // the digest that Redis knows scripts by
	return &script{source, hex.EncodeToString(sum[:])}
}

// A run is one use of a script.
type run struct {
	keys, args []string
}

func (s *script) run(ctx context.Context, c Client, runs []run) []Reply {
	cmds := make([]Command, len(runs))
	names := make([]string, 3*len(runs))
	for i, r := range runs {
		name := names[3*i : 3*i+3 : 3*i+3]
		name[0], name[1], name[2] = "EVALSHA", s.digest, strconv.Itoa(len(r.keys))
		cmds[i] = Command{name, r.keys, r.args}
	}
	replies := c.Do(ctx, cmds)
	if len(replies) != len(cmds) {
		return failed(len(cmds), fmt.Errorf("%w: %d replies to %d commands", ErrReply, len(replies), len(cmds)))
	}
	var again []Command
	var at []int
	for i, r := range replies {
		// Of all of these the server has done nothing.
		if r.Err != nil && (says(r.Err, "NOSCRIPT") || says(r.Err, "READONLY") || says(r.Err, "TRYAGAIN")) {
			again = append(again, Command{[]string{"EVAL", s.source, names[3*i+2]}, cmds[i].Keys, cmds[i].Args})
			at = append(at, i)
		}
	}
	if again != nil {
		second := c.Do(ctx, again)
		for j, i := range at {
			if j < len(second) {
				replies[i] = second[j]
			}
		}
	}
	return replies
}

// one runs the script once.
func (s *script) one(ctx context.Context, c Client, r run) (any, error) {
	reply := s.run(ctx, c, []run{r})[0]
	return reply.Value, reply.Err
}

func failed(n int, err error) []Reply {
	replies := make([]Reply, n)
	for i := range replies {
		replies[i].Err = err
	}
	return replies
}

// says tells whether a server answered with this kind of error.
func says(err error, kind string) bool { return strings.HasPrefix(err.Error(), kind) }

// answered tells whether err is a server's answer about this request, rather than that
// Redis cannot be reached or cannot work now.
func answered(err error) bool {
	for _, kind := range []string{"WRONGTYPE", "ERR ", "CROSSSLOT", "NOPERM"} {
		if says(err, kind) {
			return true
		}
	}
	return errors.Is(err, ErrReply) || errors.Is(err, ErrWrongType)
}

// ints reads a reply of so many integers.
func ints(v any, n int) ([]int64, error) {
	list, ok := v.([]any)
	if !ok || len(list) != n {
		return nil, fmt.Errorf("%w: %T, want %d integers", ErrReply, v, n)
	}
	out := make([]int64, n)
	for i, e := range list {
		if out[i], ok = e.(int64); !ok {
			return nil, fmt.Errorf("%w: %T, want an integer", ErrReply, e)
		}
	}
	return out, nil
}

// tag returns the part of a key that decides its slot: what stands between the first
// { and the next }, unless that is nothing, or else all of it.
func tag(key string) string {
	if i := strings.IndexByte(key, '{'); i >= 0 {
		if j := strings.IndexByte(key[i+1:], '}'); j > 0 {
			return key[i+1 : i+1+j]
		}
	}
	return key
}

// slots in a cluster.
const slots = 16384

// slot returns where a cluster keeps a key: CRC-16 (XMODEM) of its tag.
func slot(key string) int { return int(crc16(tag(key)) % slots) }

func crc16(s string) (crc uint16) {
	for _, c := range []byte(s) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^c]
	}
	return crc
}

var crcTable = func() (t [256]uint16) {
	for i := range t {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		t[i] = crc
	}
	return t
}()
