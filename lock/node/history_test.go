package node_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// A history is what clients saw of one or more locks, to be checked for
// linearizability. It is safe for concurrent use.
type history struct {
	start time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
}

// An observation is one call on one key and its answer.
type observation struct {
	key   string
	op    string // "acquire", "release" (acknowledged) or "maybe" (a release whose answer never came)
	token uint64
}

func newHistory() *history { return &history{start: time.Now()} }

func (h *history) now() int64 { return int64(time.Since(h.start)) }

func (h *history) add(client int, called int64, o observation) {
	end := h.now()
	if o.op == "maybe" {
		end = 1 << 62 // it may take effect at any time from now on, or never
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: o, Call: called, Output: nil, Return: end})
}

type lockState struct {
	token uint64 // the last one granted
	freed bool   // its holder has given it back
}

// lockModel says what a lock may do. Tokens rise from grant to grant. A release
// is acknowledged only while its token is the last one granted: had the lock
// passed on before, it would have answered that it is not held. A lease may end
// at any time, so a grant need not wait for a release.
var lockModel = porcupine.Model{
	Partition: func(ops []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range ops {
			k := op.Input.(observation).key
			byKey[k] = append(byKey[k], op)
		}
		var parts [][]porcupine.Operation
		for _, p := range byKey {
			parts = append(parts, p)
		}
		return parts
	},
	Init: func() any { return lockState{} },
	Step: func(state, input, _ any) (bool, any) {
		s, o := state.(lockState), input.(observation)
		switch o.op {
		case "acquire":
			return o.token > s.token, lockState{token: o.token}
		case "release":
			return o.token == s.token && !s.freed, lockState{s.token, true}
		default: // maybe
			if o.token == s.token {
				s.freed = true
			}
			return true, s
		}
	},
	DescribeOperation: func(input, _ any) string {
		o := input.(observation)
		return fmt.Sprintf("%s %s %d", o.op, o.key, o.token)
	},
}

// check fails the test unless the history is linearizable; not to know is a
// failure too.
func (h *history) check(t testing.TB) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if got := porcupine.CheckOperationsTimeout(lockModel, h.ops, 30*time.Second); got != porcupine.Ok {
		t.Fatalf("history of %d operations: %v", len(h.ops), got)
	}
}

// The checker bites.
func TestHistoryChecker(t *testing.T) {
	op := func(call, ret int64, o observation) porcupine.Operation {
		return porcupine.Operation{Input: o, Call: call, Return: ret}
	}
	for name, c := range map[string]struct {
		ops []porcupine.Operation
		ok  bool
	}{
		"in turn":          {[]porcupine.Operation{op(0, 1, observation{"k", "acquire", 5}), op(2, 3, observation{"k", "release", 5}), op(4, 5, observation{"k", "acquire", 6})}, true},
		"after a lease":    {[]porcupine.Operation{op(0, 1, observation{"k", "acquire", 5}), op(4, 5, observation{"k", "acquire", 6})}, true},
		"same token twice": {[]porcupine.Operation{op(0, 1, observation{"k", "acquire", 5}), op(4, 5, observation{"k", "acquire", 5})}, false},
		"token falls":      {[]porcupine.Operation{op(0, 1, observation{"k", "acquire", 6}), op(4, 5, observation{"k", "acquire", 5})}, false},
		"late release":     {[]porcupine.Operation{op(0, 1, observation{"k", "acquire", 5}), op(2, 3, observation{"k", "acquire", 6}), op(4, 5, observation{"k", "release", 5})}, false},
		"released twice":   {[]porcupine.Operation{op(0, 1, observation{"k", "acquire", 5}), op(2, 3, observation{"k", "release", 5}), op(4, 5, observation{"k", "release", 5})}, false},
	} {
		if got := porcupine.CheckOperations(lockModel, c.ops); got != c.ok {
			t.Errorf("%s: %v, want %v", name, got, c.ok)
		}
	}
}
