package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestGroupUnderLoad lets members join, leave, stop with an error and freeze for
// longer than their session, in virtual time, while records arrive. Each record
// counts exactly once in what is committed, and no epoch has two owners.
func TestGroupUnderLoad(t *testing.T) {
	stale := 0
	for seed := range uint64(scaled(30, 500)) {
		synctest.Test(t, func(t *testing.T) { stale += groupUnderLoad(t, seed) })
	}
	if stale == 0 {
		t.Error("no commit was stale: nobody was overtaken")
	}
}

// groupUnderLoad returns how many commits were stale.
func groupUnderLoad(t *testing.T, seed uint64) int {
	l := NewMem()
	defer l.Close()
	const parts, total = 6, 300
	for _, name := range []string{"in", "out"} {
		if err := l.CreateTopic(ctx, name, &TopicOptions{Partitions: parts}); err != nil {
			t.Fatal(err)
		}
	}
	g, err := NewGroup(ctx, l, "g", []string{"in"}, &GroupOptions{SessionTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu      sync.Mutex
		rng     = rand.New(rand.NewPCG(seed, 3))
		owner   = map[int64]string{} // of an epoch
		stale   int
		members int
		wg      sync.WaitGroup
	)
	random := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	c, cancel := context.WithCancel(ctx)
	handle := func(id string) func(ctx context.Context, cl *Claim) error {
		return func(ctx context.Context, cl *Claim) error {
			mu.Lock()
			if o, ok := owner[cl.Epoch]; ok {
				t.Errorf("seed %d: epoch %d has owners %s and %s", seed, cl.Epoch, o, id)
			}
			owner[cl.Epoch] = id
			mu.Unlock()
			var b Batch
			b.MaxBytes = 100
			for {
				if err := cl.Read(ctx, &b); err != nil {
					return err
				}
				out := Append{Partition: Partition{"out", cl.Partition.Number}}
				for _, r := range b.Records {
					out.Records = append(out.Records, Record{Value: r.Value})
				}
				switch random(40) {
				case 0: // frozen: it cannot know, and goes on when it wakes
					time.Sleep(time.Minute)
				case 1:
					return errors.New("handler failed")
				default:
					time.Sleep(time.Duration(random(1000)) * time.Millisecond)
				}
				err := cl.Commit(context.WithoutCancel(ctx), &Tx{Appends: []Append{out}})
				if errors.Is(err, ErrStale) {
					mu.Lock()
					stale++
					mu.Unlock()
				}
				if err != nil {
					return err
				}
			}
		}
	}
	join := func() {
		mu.Lock()
		members++
		id := fmt.Sprint("m", members)
		mu.Unlock()
		m, err := g.Join(ctx, id)
		if err != nil {
			t.Errorf("Join = %v", err)
			return
		}
		wg.Go(func() {
			m := m
			for c.Err() == nil {
				_ = m.Run(c, handle(id)) // it ends in any of the ways
				if c.Err() != nil || random(3) == 0 {
					return
				}
				mu.Lock()
				members++
				id = fmt.Sprint("m", members)
				mu.Unlock()
				if m, err = g.Join(ctx, id); err != nil {
					return
				}
			}
		})
		if random(2) == 0 {
			first := m // m changes when the member joins again
			wg.Go(func() {
				time.Sleep(time.Duration(random(60)) * time.Second)
				first.Leave()
			})
		}
	}
	wg.Go(func() {
		for i := range total {
			p := Partition{"in", random(parts)}
			if _, err := l.Append(ctx, p, []Record{{Value: fmt.Append(nil, i)}}); err != nil {
				t.Errorf("Append = %v", err)
			}
			time.Sleep(time.Duration(random(300)) * time.Millisecond)
		}
	})
	wg.Go(func() {
		for c.Err() == nil { // somebody always joins
			join()
			time.Sleep(time.Duration(5+random(30)) * time.Second)
		}
	})
	counts := func() map[string]int {
		seen := map[string]int{}
		for n := range parts {
			p := Partition{"out", n}
			_, next, _ := l.Bounds(ctx, p)
			for r, err := range Scan(ctx, l, p, 0, next) {
				if err != nil {
					t.Fatal(err)
				}
				seen[string(r.Value)]++
			}
		}
		return seen
	}
	for start := time.Now(); len(counts()) < total; time.Sleep(time.Second) {
		if time.Since(start) > 24*time.Hour {
			t.Fatalf("seed %d: %d of %d records after a day; %v, %v", seed, len(counts()), total, g.Members(), g.Err())
		}
	}
	cancel()
	wg.Wait()
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	for v, n := range counts() {
		if n != 1 {
			t.Errorf("seed %d: record %s counts %d times", seed, v, n)
		}
	}
	return stale
}

// TestFrozenMember: the story of the drawing at Group.
func TestFrozenMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewMem()
		defer l.Close()
		if err := l.CreateTopic(ctx, "t", nil); err != nil {
			t.Fatal(err)
		}
		p := Partition{Topic: "t"}
		if _, err := l.Append(ctx, p, []Record{{Value: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
		g, err := NewGroup(ctx, l, "g", []string{"t"}, &GroupOptions{SessionTimeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		a, _ := g.Join(ctx, "a")
		frozen := make(chan error, 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			err := a.Run(ctx, func(ctx context.Context, c *Claim) error {
				var b Batch
				if err := c.Read(ctx, &b); err != nil {
					return err
				}
				time.Sleep(time.Minute)
				// The log is asked directly too: the fence is there, not here.
				direct := l.Commit(context.WithoutCancel(ctx), "g", map[Partition]Offset{p: {Next: 1, Epoch: c.Epoch}})
				if !errors.Is(direct, ErrStale) {
					t.Errorf("a's commit, directly = %v", direct)
				}
				err := c.Commit(context.WithoutCancel(ctx), nil)
				frozen <- err
				return err
			})
			if !errors.Is(err, ErrStale) {
				t.Errorf("a's Run = %v", err)
			}
		})
		synctest.Wait()
		b, _ := g.Join(ctx, "b")
		start := time.Now()
		err = b.Run(ctx, func(ctx context.Context, c *Claim) error {
			if d := time.Since(start); d != 10*time.Second || c.Next() != 0 {
				t.Errorf("b begins at %d after %v", c.Next(), d)
			}
			var batch Batch
			if err := c.Read(ctx, &batch); err != nil {
				return err
			}
			return c.Commit(ctx, nil)
		})
		if err != nil {
			t.Error(err)
		}
		if err := <-frozen; !errors.Is(err, ErrStale) {
			t.Errorf("a's commit = %v", err)
		}
		wg.Wait()
		if at, _ := l.Committed(ctx, "g"); at[p].Next != 1 {
			t.Errorf("committed %v", at)
		}
	})
}

// TestBalance: a new member takes partitions from the others, the others keep
// theirs.
func TestBalance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewMem()
		defer l.Close()
		if err := l.CreateTopic(ctx, "t", &TopicOptions{Partitions: 12}); err != nil {
			t.Fatal(err)
		}
		g, err := NewGroup(ctx, l, "g", []string{"t"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		var wg sync.WaitGroup
		var mu sync.Mutex
		claims := 0
		for n := 1; n <= 4; n++ {
			m, err := g.Join(ctx, fmt.Sprint("m", n))
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				_ = m.Run(ctx, func(ctx context.Context, c *Claim) error { // ends with the group
					mu.Lock()
					claims++
					mu.Unlock()
					<-ctx.Done()
					return ctx.Err()
				})
			})
			synctest.Wait()
			for id, ps := range g.Members() {
				if len(ps) != 12/n {
					t.Errorf("of %d members %s owns %v", n, id, ps)
				}
			}
		}
		if claims != 12+6+4+3 {
			t.Errorf("%d claims were given, want only as many as had to move", claims)
		}
		g.Close()
		wg.Wait()
	})
}
