package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/ratelimit"
)

// mostIn is what counting for each pair of moments gives.
func TestMostIn(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		var tr trace
		for range r.IntN(60) {
			tr = append(tr, time.Duration(r.IntN(500)))
		}
		slices.Sort(tr)
		window, want := time.Duration(1+r.IntN(200)), 0
		for _, from := range tr {
			n := 0
			for _, at := range tr {
				if at >= from && at < from+window {
					n++
				}
			}
			want = max(want, n)
		}
		if got := mostIn(tr, window); got != want {
			t.Fatalf("%v in %v: %d, want %d", tr, window, got, want)
		}
	}
}

// The linked list and the ring of the library decide alike, and no policy lets through
// more than its bound, whatever comes.
func TestPoliciesOnRandomTraces(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	const period = 1 << 30 // the library's log keeps times to a 2^31st of it: exactly
	for round := range 300 {
		limit := 1 + r.IntN(20)
		var tr trace
		at := time.Duration(0)
		for range 200 {
			if r.IntN(8) == 0 {
				at += time.Duration(r.Int64N(period))
			}
			at += time.Duration(r.Int64N(period / 50))
			tr = append(tr, at)
		}
		list := newLinkedLog(limit, period)
		textbook := replay(tr, func(t time.Time) bool { return list.allowAt(t, "u") })
		for _, name := range policyNames {
			spec := named(name, limit, period)
			if name == fixedWindow { // windows of whole milliseconds only, and its boundary is not ours
				spec.Period = time.Second
			}
			l, err := spec.limiter(1, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(tr, func(t time.Time) bool { return l.AllowAt(t, "u", 1).OK })
			if n := mostIn(got, spec.Period); n > spec.bound() {
				t.Fatalf("round %d, %s of %d: %d in a window, bound %d", round, name, limit, n, spec.bound())
			}
			if name == slidingLog && !slices.Equal(got, textbook) {
				t.Fatalf("round %d, limit %d: the ring lets through %d, the list %d", round, limit, len(got), len(textbook))
			}
		}
	}
	if _, err := named("none", 1, time.Second).policy(1); err == nil {
		t.Error("a policy of no name")
	}
	if p, err := quota.policy(3); err != nil || p != (ratelimit.TokenBucket{Rate: ratelimit.Per(33, 24*time.Hour)}) {
		t.Errorf("a third: %v, %v", p, err)
	}
}

// TestBucketBound lets balancers hold tokens, lose questions and answers, die, and come
// late with old questions, in quiet times and in bursts: no window sees more than the burst
// and what comes in.
func TestBucketBound(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for round := range 400 {
		spec := policySpec{Name: tokenBucket, Count: 5 + r.IntN(40), Period: time.Second}
		keep := []time.Duration{300 * time.Millisecond, 3 * time.Second}[r.IntN(2)]
		b := newBuckets(spec)
		type holder struct {
			name   string
			tokens int
			until  time.Duration
			number uint64
		}
		holders := []*holder{{name: "a"}, {name: "b"}, {name: "c"}}
		var late []func(now time.Duration) // questions that are still on their way
		var admitted trace
		now := time.Duration(0)
		// ask needs some tokens and wants more; it passes if they are there.
		ask := func(h *holder, need, want int) {
			if now >= h.until {
				h.tokens = 0
			}
			if h.tokens < need {
				h.number++
				name, number, held := h.name, h.number, h.tokens
				take := func(now time.Duration) grant {
					return b.take(epoch.Add(now), "k", name, number, held, 0, need-held, want, keep)
				}
				switch r.IntN(8) {
				case 0: // the question is held up
					late = append(late, func(now time.Duration) { take(now) })
				case 1: // the answer is lost
					take(now)
				default:
					g := take(now)
					h.tokens, h.until = h.tokens+g.tokens, now+keep-keep/16
				}
			}
			if h.tokens >= need {
				h.tokens -= need
				for range need {
					admitted = append(admitted, now)
				}
			}
		}
		for range 40 {
			// A quiet time: few requests, and much that goes wrong.
			for range r.IntN(12) {
				now += time.Duration(r.IntN(int(150 * time.Millisecond)))
				h := holders[r.IntN(len(holders))]
				switch r.IntN(8) {
				case 0: // it dies, and another one comes
					*h = holder{name: fmt.Sprint("after ", now)}
				case 1, 2: // an old question arrives
					if len(late) > 0 {
						i := r.IntN(len(late))
						late[i](now)
						late = slices.Delete(late, i, i+1)
					}
				case 3: // it gives back some, and does not hear whether that arrived
					if now >= h.until {
						h.tokens = 0
					}
					back := r.IntN(h.tokens + 1)
					h.tokens -= back
					h.number++
					name, number, held := h.name, h.number, h.tokens
					give := func(now time.Duration) {
						b.take(epoch.Add(now), "k", name, number, held, back, 0, 0, keep)
					}
					if r.IntN(2) == 0 {
						give(now)
					} else {
						late = append(late, give)
					}
				default:
					ask(h, 1+r.IntN(2), spec.Count)
				}
			}
			if r.IntN(2) == 0 {
				now += time.Duration(r.Int64N(int64(2 * time.Second)))
			}
			// A burst: as much as there is.
			for range 2 * spec.Count {
				ask(holders[r.IntN(len(holders))], 1, r.IntN(3))
			}
		}
		for _, window := range []time.Duration{time.Millisecond, 100 * time.Millisecond, time.Second, 3 * time.Second} {
			bound := spec.Count + int(window/(spec.Period/time.Duration(spec.Count))) + 1
			if n := mostIn(admitted, window); n > bound {
				t.Fatalf("round %d, %d a second: %d in %v, bound %d", round, spec.Count, n, window, bound)
			}
		}
		if len(admitted) < 3*spec.Count {
			t.Fatalf("round %d: only %d pass, of %d a second", round, len(admitted), spec.Count)
		}
	}
}

// What was held and is spent comes in again.
func TestBucketRefills(t *testing.T) {
	b := newBuckets(policySpec{Count: 10, Period: time.Second})
	if g := b.take(epoch, "k", "a", 1, 0, 0, 8, 0, time.Hour); g.tokens != 8 {
		t.Fatalf("%+v", g)
	}
	if g := b.take(epoch.Add(time.Second), "k", "b", 1, 0, 0, 3, 0, time.Hour); g.tokens != 0 || g.retry != 100*time.Millisecond {
		t.Errorf("while 8 are held: %+v", g)
	}
	if g := b.take(epoch.Add(time.Second), "k", "a", 2, 3, 5, 0, 0, time.Hour); g.level != 7 {
		t.Errorf("5 given back, 3 held: %+v", g)
	}
	b.take(epoch.Add(time.Second), "k", "a", 3, 0, 0, 0, 0, time.Hour) // spent
	if g := b.take(epoch.Add(2*time.Second), "k", "a", 4, 0, 0, 10, 0, time.Hour); g.tokens != 10 {
		t.Errorf("a period after they were spent: %+v", g)
	}
	if g := b.take(epoch.Add(2*time.Second), "k", "a", 5, 10, 0, 11, 0, time.Hour); g.tokens != 0 || g.retry != ratelimit.Never {
		t.Errorf("more than ever: %+v", g)
	}
}

// A question that is late changes nothing, and nobody gives back what has ended.
func TestBucketLate(t *testing.T) {
	b := newBuckets(policySpec{Count: 10, Period: time.Second})
	if g := b.take(epoch, "k", "a", 2, 0, 0, 8, 0, time.Hour); g.tokens != 8 {
		t.Fatalf("%+v", g)
	}
	if g := b.take(epoch, "k", "a", 1, 0, 0, 1, 0, time.Hour); g.tokens != 0 {
		t.Errorf("an old question: %+v", g)
	}
	if g := b.take(epoch.Add(time.Second), "k", "b", 1, 0, 0, 3, 0, time.Second); g.tokens != 0 {
		t.Errorf("8 of 10 are held, and there are 3: %+v", g)
	}
	if g := b.take(epoch.Add(2*time.Hour), "k", "a", 3, 0, 8, 0, 0, time.Second); g.level != 10 {
		t.Errorf("given back after the lease: %+v", g)
	}
}

func TestBucketSpend(t *testing.T) {
	b := newBuckets(policySpec{Count: 10, Period: 10 * time.Second})
	if level := b.spend(epoch, "k", "a", 1, 12); level != -2*time.Second {
		t.Errorf("12 of 10: %v", level)
	}
	if level := b.spend(epoch, "k", "a", 1, 12); level != -2*time.Second {
		t.Errorf("told again: %v", level)
	}
	if level := b.spend(epoch.Add(5*time.Second), "k", "b", 1, 0); level != 3*time.Second {
		t.Errorf("five seconds on: %v", level)
	}
	if g := b.take(epoch.Add(5*time.Second), "k", "b", 1, 0, 0, 4, 4, time.Second); g.tokens != 0 || g.retry != time.Second {
		t.Errorf("4 of 3: %+v", g)
	}
	// Full buckets are forgotten while new ones come.
	for i := range 10_000 {
		b.spend(epoch.Add(time.Hour+time.Duration(i)*time.Second), fmt.Sprint(i), "a", 1, 1)
	}
	if n := len(b.keys); n > 100 {
		t.Errorf("%d buckets are kept", n)
	}
}

// A testNode is a node in this process.
func testNode(t testing.TB, s policySpec, now func() time.Time) (address string) {
	t.Helper()
	n, err := newNode(s, now)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { n.serve(c) })
		}
	})
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// What balancers decide near a node, many at once, is what the limit allows.
func TestDeciders(t *testing.T) {
	address := testNode(t, quota, time.Now)
	for _, mode := range []string{modeRemote, modeDeny, modeLease, modeBack} {
		t.Run(mode, func(t *testing.T) {
			set := setting{Mode: mode, Policy: quota, Nodes: map[string]string{"n": address}, Fail: failClosed, Balancers: 3, Timeout: patience, Share: 7, Keep: time.Hour, Pending: 4, Flush: time.Hour}
			key := "a key\twith tabs and \n lines, of " + mode
			var list []decider
			for i := range 3 {
				d, err := newDecider(fmt.Sprint("balancer ", i), set)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, d)
			}
			var mu sync.Mutex
			var wg sync.WaitGroup
			pass := 0
			for i := range 12 {
				wg.Go(func() {
					for range 40 {
						d, err := list[i%3].Check(t.Context(), key, 1)
						if err != nil {
							t.Error(err)
						}
						if d.OK {
							mu.Lock()
							pass++
							mu.Unlock()
						} else if d.RetryAfter <= 0 {
							t.Errorf("refused, and to come back after %v", d.RetryAfter)
						}
					}
				})
			}
			wg.Wait()
			most := quota.Count
			if mode == modeBack {
				most += 3 * set.Pending
			}
			if pass < quota.Count || pass > most {
				t.Errorf("%d pass, want %d to %d", pass, quota.Count, most)
			}
			for _, d := range list {
				if err := d.close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if _, err := newDecider("b", setting{Mode: "none such", Policy: quota, Balancers: 1}); err == nil {
		t.Error("a mode of no name")
	}
}

// Somebody with very many keys costs a balancer no more memory, and nobody else the limit.
func TestNearFull(t *testing.T) {
	t.Parallel()
	address := testNode(t, quota, time.Now)
	for _, mode := range []string{modeDeny, modeLease, modeBack} {
		set := setting{Mode: mode, Policy: quota, Nodes: map[string]string{"n": address}, Fail: failClosed, Balancers: 1, Timeout: patience, Share: 7, Keep: time.Hour, Pending: 4, Flush: time.Hour}
		d, err := newDecider("b", set)
		if err != nil {
			t.Fatal(err)
		}
		var size func() int
		switch d := d.(type) {
		case *denyCache:
			size = func() int { return len(d.refused.keys) }
		case *leases:
			size = func() int { return len(d.keys.keys) }
		case *writeBack:
			size = func() int { return len(d.keys.keys) }
		}
		pass := 0
		for i := range room + 200 {
			key := fmt.Sprint(mode, i)
			if i >= room {
				key = mode + "late"
			}
			if x, err := d.Check(t.Context(), key, 1); err != nil {
				t.Fatal(err)
			} else if x.OK {
				pass++
			}
		}
		if n := size(); pass != room+quota.Count || n > room {
			t.Errorf("%s: %d pass, want %d; %d keys, want at most %d", mode, pass, room+quota.Count, n, room)
		}
		if err := d.close(); err != nil {
			t.Error(err)
		}
	}
}

// What balancers remember ends when it should: refusals at their time, tokens before the
// node has forgotten who holds them, and levels rise.
func TestNearTime(t *testing.T) {
	spec := policySpec{Name: tokenBucket, Count: 10, Period: 10 * time.Second}
	var c clock
	c.set(epoch)
	address := testNode(t, spec, c.now)
	near := func(mode string) (ratelimit.Checker, *remote) {
		r, err := newRemote(spec, map[string]string{"n": address}, failClosed, 1, patience)
		if err != nil {
			t.Fatal(err)
		}
		r.now = c.now
		var d decider
		switch mode {
		case modeDeny:
			d = &denyCache{remote: r}
		case modeLease:
			d = newLeases(r, mode, 4, 32*time.Hour) // its own ticks are far away
		case modeBack:
			d = newWriteBack(r, mode, 4, time.Hour)
		}
		t.Cleanup(func() { d.close() })
		return d, r
	}
	pass := func(d ratelimit.Checker, n int) (pass int) {
		t.Helper()
		for range n {
			x, err := d.Check(t.Context(), "k", 1)
			if err != nil {
				t.Fatal(err)
			}
			if x.OK {
				pass++
			} else if x.RetryAfter <= 0 || x.RetryAfter > time.Second {
				t.Errorf("to come back after %v", x.RetryAfter)
			}
		}
		return pass
	}
	deny, r := near(modeDeny)
	if n := pass(deny, 100); n != 10 || r.calls.Load() != 11 {
		t.Errorf("%d pass, %d calls", n, r.calls.Load())
	}
	c.set(epoch.Add(3 * time.Second))
	if n := pass(deny, 100); n != 3 || r.calls.Load() != 15 {
		t.Errorf("three seconds on %d pass, %d calls", n, r.calls.Load())
	}

	lease, r := near(modeLease)
	if n := pass(lease, 1); n != 1 || lease.(*leases).holds() != 1 || r.calls.Load() != 1 {
		t.Errorf("a quarter of 10, at most 4: %d pass, %d held", n, lease.(*leases).holds())
	}
	c.set(epoch.Add(31 * time.Hour))
	if n := lease.(*leases).holds(); n != 0 {
		t.Errorf("%d held when the lease is nearly over", n)
	}
	if n := pass(lease, 100); n != 8 {
		t.Errorf("then %d pass, want 8: what was taken comes in from now on only", n)
	}

	c.set(epoch.Add(100 * time.Hour))
	back, _ := near(modeBack)
	if n := pass(back, 100); n != 10 {
		t.Errorf("write-back: %d pass", n)
	}
	c.set(epoch.Add(100*time.Hour + 4*time.Second))
	if n := pass(back, 100); n != 4 {
		t.Errorf("write-back: four seconds on %d pass", n)
	}
}

// A balancer that ends gives its tokens back.
func TestLeasesGiveBack(t *testing.T) {
	address := testNode(t, quota, time.Now)
	set := setting{Mode: modeLease, Policy: quota, Nodes: map[string]string{"n": address}, Fail: failClosed, Balancers: 2, Timeout: patience, Share: 25, Keep: time.Hour}
	first, err := newDecider("a", set)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := first.Check(t.Context(), "k", 1); err != nil || !d.OK {
		t.Fatalf("%+v, %v", d, err)
	}
	if n := first.(*leases).holds(); n != 24 {
		t.Errorf("it holds %d, want 24", n)
	}
	if err := first.close(); err != nil {
		t.Fatal(err)
	}
	second, err := newDecider("b", set)
	if err != nil {
		t.Fatal(err)
	}
	defer second.close()
	pass := 0
	for range 200 {
		if d, err := second.Check(t.Context(), "k", 1); err != nil {
			t.Fatal(err)
		} else if d.OK {
			pass++
		}
	}
	if pass != 99 {
		t.Errorf("%d pass, want 99", pass)
	}
}

// Without a node, each way to fail does what it says; a node that answers nonsense, or
// not at all, is as one that is not there.
func TestFailModes(t *testing.T) {
	t.Parallel()
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close() // nobody listens there
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() // connections wait there for ever
	for name, address := range map[string]string{"dead": dead.Addr().String(), "silent": silent.Addr().String()} {
		for _, mode := range []string{modeRemote, modeDeny, modeLease, modeBack} {
			for fail, want := range map[string]int{failOpen: 120, failClosed: 0, failShare: 50, failNext: 0} {
				set := setting{Mode: mode, Policy: quota, Nodes: map[string]string{"n": address}, Fail: fail, Balancers: 2, Timeout: 10 * time.Millisecond, Share: 7, Keep: time.Hour, Pending: 4, Flush: time.Hour}
				d, err := newDecider("b", set)
				if err != nil {
					t.Fatal(err)
				}
				pass := 0
				for range 120 {
					x, err := d.Check(t.Context(), "k", 1)
					if err != nil {
						t.Fatal(err)
					}
					if x.OK {
						pass++
					}
				}
				if pass != want {
					t.Errorf("%s, %s, %s: %d pass, want %d", name, mode, fail, pass, want)
				}
				if err := d.close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// With the next node on the ring, only those who are counted at the dead one begin anew.
func TestNextNode(t *testing.T) {
	a, b := testNode(t, quota, time.Now), testNode(t, quota, time.Now)
	r, err := newRemote(quota, map[string]string{"a": a, "b": b, "dead": "127.0.0.1:1"}, failNext, 3, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for i := range 30 {
		if d, err := r.Check(t.Context(), fmt.Sprint("user ", i), 1); err != nil || !d.OK || d.Remaining != 99 {
			t.Errorf("user %d: %+v, %v", i, d, err)
		}
	}
	if n := r.without.Load(); n != 0 {
		t.Errorf("%d decisions without a node", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if d, err := r.Check(ctx, "user 1", 1); err != nil || d.OK {
		t.Errorf("when time is over: %+v, %v", d, err)
	}
}

// A snapshot of one node's counts is another node's.
func TestSnapshot(t *testing.T) {
	n, err := newNode(quota, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(n *node, q string) string {
		t.Helper()
		answer, err := n.answer(nil, q)
		if err != nil {
			t.Fatal(err)
		}
		return string(answer)
	}
	if got := ask(n, "check\tann\t60"); !strings.HasPrefix(got, "ok\t100\t40\t") {
		t.Fatal(got)
	}
	saved := ask(n, "save")
	other, err := newNode(quota, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	ask(other, "load\t"+saved)
	if got := ask(other, "check\tann\t41"); !strings.HasPrefix(got, "no\t100\t40\t") {
		t.Error(got)
	}
	if got := ask(other, "stats"); got != "2" {
		t.Errorf("%s questions", got)
	}
	for _, bad := range []string{"", "check", "check\tann", "check\tann\t-1", "check\tann\tx", "check\t%zz\t1", "check\tann\t1\t1", "take\ta", "spend\ta\tb\t1", "load\t", "load\tzz", "load\t00", "policy\t{}", "policy\t", "nonsense", "check\tann\t9223372036854775807", "spend\ta\tb\t1\t101", `policy	{"Name":"token bucket","Count":1,"Period":86400000000000,"Burst":2000000000}`} {
		if got, err := n.answer(nil, bad); err == nil {
			t.Errorf("%q: %s", bad, got)
		}
	}
}

// FuzzNode sends a node any bytes: each line has one line for an answer.
func FuzzNode(f *testing.F) {
	for _, q := range []string{"check\tann\t1", "take\tk\th\t1\t0\t0\t1\t5\t1000", "take\tk\th\t2\t9\t9\t9\t9\t9", "spend\tk\th\t1\t3", "policy\t{\"Name\":\"sliding log\",\"Count\":3,\"Period\":1000000000}", "save", "load\t524c", "stats", "\t", "check\t%00\t3153600000000000000", "spend\tk\th\t3153600000000000000\t3153600000000000000"} {
		f.Add(q + "\n" + q)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := newNode(quota, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text) {
			answer, err := n.answer(nil, strings.TrimSuffix(line, "\n"))
			if err == nil && (len(answer) == 0 || bytesHaveLine(answer)) {
				t.Fatalf("%q: %q", line, answer)
			}
		}
	})
}

func bytesHaveLine(b []byte) bool { return strings.ContainsAny(string(b), "\n") }

// A question that is too long, or a client that goes away, ends a connection and no more.
func TestNodeConnections(t *testing.T) {
	address := testNode(t, quota, time.Now)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	go c.Write([]byte(strings.Repeat("x", 2*longestLine)))
	if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
		t.Error("an answer to a line without end")
	}
	c.Close()
	l := link{address: address}
	defer l.close()
	if got, err := l.exchange(time.Now().Add(patience), "check\tann\t1"); err != nil || !strings.HasPrefix(got, "ok") {
		t.Errorf("%q, %v", got, err)
	}
}

// The guard counts with all limits or with none, and its cases are what they say.
func TestGuard(t *testing.T) {
	g, err := newGuard()
	if err != nil {
		t.Fatal(err)
	}
	for i := range perAnonymous + 1 {
		if refuse, d, by := g.rateLimit("", "192.0.2.1", "shop", epoch); refuse != (i == perAnonymous) || refuse && (d.RetryAfter != 2*time.Second || by != "visitors") {
			t.Errorf("visit %d: %v, %+v", i, refuse, d)
		}
	}
	if refuse, _, _ := g.rateLimit("ann", "192.0.2.1", "shop", epoch); refuse {
		t.Error("a user is refused for what visitors at the same address did")
	}
	if refuse, _, _ := g.rateLimit("", "192.0.2.1", "shop", epoch.Add(2*time.Second)); refuse {
		t.Error("refused after the time that was told")
	}
	seen := map[netip.Addr]bool{}
	for i := range 5000 {
		seen[address("2001:db8:1:2::/64", i)] = true
	}
	if len(seen) != 5000 || address("100.64.0.0/16", 999) != netip.MustParseAddr("100.64.3.231") {
		t.Errorf("%d addresses, the 999th is %v", len(seen), address("100.64.0.0/16", 999))
	}
}

func TestTogether(t *testing.T) {
	var mu sync.Mutex
	var order []int
	together(4, func(next func()) {
		for i := range 20 {
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			next()
		}
	})
	if !slices.IsSorted(order) || len(order) != 80 {
		t.Errorf("they do not keep step: %v", order)
	}
}

func TestWithoutEngines(t *testing.T) {
	if canRedis {
		return // built with one
	}
	if err := run(t.Context(), nil, config{n: usual, redis: "redis://localhost"}); err == nil || !strings.Contains(err.Error(), "-tags engines") {
		t.Errorf("without a client: %v", err)
	}
	if _, err := newDecider("b", setting{Mode: modeRemote, Policy: quota, Redis: "redis://localhost"}); err == nil {
		t.Error("a decider in Redis without a client")
	}
}

func TestBalancerRefuses(t *testing.T) {
	b := &balancer{}
	if err := b.set(setting{Mode: "none such", Policy: quota, Balancers: 1}); err == nil {
		t.Error("a setting of no name")
	}
	if num(-1234567) != "-1,234,567" || num(999) != "999" {
		t.Error("num")
	}
	if quantile(nil, 0.5) != 0 || quantile([]time.Duration{1, 2, 3}, 1) != 3 {
		t.Error("quantile")
	}
	if _, err := byUser(visit{address: netip.MustParseAddr("192.0.2.1")}.request()); err == nil || errors.Is(err, context.Canceled) {
		t.Error("nobody is a user")
	}
}
