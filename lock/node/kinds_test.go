//go:build unix

package node_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/lock"
)

// A call is one operation on a lock of some kind, of which the answer is known.
type call struct {
	op     string // "lock", "rlock", "acquire", "campaign", "unlock" or "inspect"
	who    int
	weight uint32
	seen   string // what an inspection saw: see holdersOf
}

// The state of a model is the holders, as "who:weight" in rising order, joined
// by blanks; a writer's weight is the whole limit. That makes one model of all
// kinds: a shared lock is a semaphore whose writers take everything.
func stepOf(limit uint32) func(state, input, output any) (bool, any) {
	return func(state, input, _ any) (bool, any) {
		held := strings.Fields(state.(string))
		c := input.(call)
		used := uint32(0)
		at := -1
		for i, h := range held {
			who, weight, _ := strings.Cut(h, ":")
			w, _ := strconv.ParseUint(weight, 10, 32)
			used += uint32(w)
			if who == fmt.Sprint(c.who) {
				at = i
			}
		}
		switch c.op {
		case "inspect":
			return c.seen == state.(string), state
		case "unlock":
			if at < 0 {
				return false, state
			}
			held = slices.Delete(slices.Clone(held), at, at+1)
		default:
			if at >= 0 || used+c.weight > limit {
				return false, state
			}
			held = append(slices.Clone(held), fmt.Sprintf("%d:%d", c.who, c.weight))
			slices.Sort(held)
		}
		return true, strings.Join(held, " ")
	}
}

func modelOf(limit uint32) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" }, Step: stepOf(limit),
		DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", input) },
		DescribeState:     func(state any) string { return fmt.Sprint(state) },
	}
}

// holdersOf writes what an inspection saw as the models do. Labels are numbers.
func holdersOf(i lock.Info, limit uint32) string {
	var held []string
	for _, h := range i.Holders {
		weight := h.Weight
		switch h.Kind {
		case "exclusive":
			weight = limit
		case "shared":
			weight = 1
		}
		held = append(held, fmt.Sprintf("%s:%d", h.Label, weight))
	}
	slices.Sort(held)
	return strings.Join(held, " ")
}

// The models refuse what must not be.
func TestKindModels(t *testing.T) {
	seq := func(limit uint32, cs ...call) bool {
		var state any = ""
		for _, c := range cs {
			ok, next := stepOf(limit)(state, c, nil)
			if !ok {
				return false
			}
			state = next
		}
		return true
	}
	const all = 100
	require.True(t, seq(all, call{"rlock", 1, 1, ""}, call{"rlock", 2, 1, ""}, call{"inspect", 0, 0, "1:1 2:1"}, call{"unlock", 1, 0, ""}))
	require.False(t, seq(all, call{"rlock", 1, 1, ""}, call{"lock", 2, all, ""}), "a writer beside a reader")
	require.False(t, seq(all, call{"lock", 1, all, ""}, call{"rlock", 2, 1, ""}), "a reader beside a writer")
	require.False(t, seq(3, call{"acquire", 1, 2, ""}, call{"acquire", 2, 2, ""}), "four permits of three")
	require.False(t, seq(1, call{"campaign", 1, 1, ""}, call{"campaign", 2, 1, ""}), "two leaders")
	require.False(t, seq(1, call{"campaign", 1, 1, ""}, call{"inspect", 0, 0, ""}), "a leader that nobody sees")
	require.False(t, seq(1, call{"unlock", 1, 0, ""}), "an unlock of what is not held")
}

// TestKindsUnderKills has shared locks, semaphores and elections used while the
// leading server is killed again and again. Leases are long, so every answer is
// definite, and all that clients saw, inspections included, must be
// linearizable. ASHLAR_KIND_KILLS sets the number of kills, 3 by default.
func TestKindsUnderKills(t *testing.T) {
	kills := rounds(t, "ASHLAR_KIND_KILLS", 3)
	f := newFleet(t, 3, 200*time.Millisecond)
	const all = 1 << 20
	kinds := []struct {
		key   string
		limit uint32
		take  func(ctx context.Context, c *lock.Client, rng *rand.Rand) (*lock.Lock, call, error)
	}{
		{"shared", all, func(ctx context.Context, c *lock.Client, rng *rand.Rand) (*lock.Lock, call, error) {
			if rng.IntN(3) == 0 {
				l, err := c.Lock(ctx, "shared")
				return l, call{op: "lock", weight: all}, err
			}
			l, err := c.RLock(ctx, "shared")
			return l, call{op: "rlock", weight: 1}, err
		}},
		{"permits", 5, func(ctx context.Context, c *lock.Client, rng *rand.Rand) (*lock.Lock, call, error) {
			w := 1 + uint32(rng.IntN(3))
			l, err := c.Acquire(ctx, "permits", w, 5)
			return l, call{op: "acquire", weight: w}, err
		}},
		{"office", 1, func(ctx context.Context, c *lock.Client, _ *rand.Rand) (*lock.Lock, call, error) {
			l, err := c.Campaign(ctx, "office", []byte("here"))
			return l, call{op: "campaign", weight: 1}, err
		}},
	}
	histories := make([]*history, len(kinds))
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	granted := make(chan time.Time, 1)
	for k, kind := range kinds {
		h := newHistory()
		histories[k] = h
		note := func(client int, called int64, c call) {
			end := h.now()
			h.mu.Lock()
			defer h.mu.Unlock()
			h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: c, Call: called, Return: end})
		}
		for i := range 5 {
			cl, err := lock.Dial(deadline(t), f.addresses(), &lock.Options{TTL: time.Minute, Label: fmt.Sprint(i)})
			require.NoError(t, err)
			rng := rand.New(rand.NewPCG(uint64(k), uint64(i)))
			wg.Go(func() {
				defer cl.Close()
				for ctx.Err() == nil {
					// Answers are waited for whatever happens, so that none stays open.
					bg := context.Background()
					called := h.now()
					l, c, err := kind.take(bg, cl, rng)
					if err != nil {
						t.Errorf("%s: %v", kind.key, err)
						return
					}
					c.who = i
					note(i, called, c)
					select {
					case granted <- time.Now():
					default:
					}
					if rng.IntN(4) == 0 {
						called = h.now()
						in, err := cl.Inspect(bg, kind.key)
						if err != nil {
							t.Errorf("%s: %v", kind.key, err)
							return
						}
						limit := kind.limit
						if kind.key == "office" {
							limit = 1
						}
						note(i, called, call{op: "inspect", who: -1, seen: holdersOf(in, limit)})
					}
					called = h.now()
					if err := l.Unlock(bg); err != nil {
						t.Errorf("%s: %v", kind.key, err)
						return
					}
					note(i, called, call{op: "unlock", who: i})
					time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond) // keeps the histories short
				}
			})
		}
	}
	for range kills {
		lctx := deadline(t)
		x := f.leader(lctx)
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond) // lets the kill fall anywhere
		f.procs[x].kill()
		killed := time.Now()
		for at := range granted {
			if at.After(killed) {
				break
			}
		}
		f.start(x)
	}
	stop()
	wg.Wait()
	for k, kind := range kinds {
		h := histories[k]
		if got := porcupine.CheckOperationsTimeout(modelOf(kind.limit), h.ops, 30*time.Second); got != porcupine.Ok {
			t.Errorf("%s: history of %d operations: %v", kind.key, len(h.ops), got)
		}
		t.Logf("%s: %d operations over %d kills", kind.key, len(h.ops), kills)
	}
}
