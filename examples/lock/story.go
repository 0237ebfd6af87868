package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/lock"
)

// A result is what one run of the story did to the object.
type result struct {
	acknowledged int    // appends that the store accepted, by its answers
	lost         int    // of these, not in the object at the end
	refused      int    // requests that the store refused as stale
	backward     int    // accepted writes whose token was not above the one before
	verdict      string // on the frozen client's write
	overtaken    int    // clients served out of the queue's order
	kept         int    // clients that kept their session over the fail-over
}

func (r result) print(w io.Writer) {
	fmt.Fprintf(w, "acknowledged %d, lost %d, refused as stale %d, tokens that went backwards %d\n",
		r.acknowledged, r.lost, r.refused, r.backward)
}

// story lets all clients append, freezes one holder, kills the leader, and lets
// the frozen one go on.
func story(ctx context.Context, w io.Writer, cluster *cluster, admin *lock.Client, store *store, load load) (r result, err error) {
	// C1 takes the lock and reads the object. The others queue behind it.
	victim, team, stale, queue, err := setScene(ctx, cluster, admin, store, load)
	if err != nil {
		return r, err
	}
	defer victim.Kill()
	defer team.kill()
	n := len(queue)
	fmt.Fprintf(w, "C1 holds the lock with token %d and has read %s\n", stale, object)
	fmt.Fprintf(w, "%d clients in %d processes queue behind it: %s …\n", n, load.workers, strings.Join(queue[:min(4, n)], " ◀ "))

	// C1 is stopped in mid-air. What it waits for is there: it will write as
	// soon as it runs again. Its lease runs out, and the queue moves.
	if err := victim.freeze(); err != nil {
		return r, err
	}
	frozen := time.Now()
	victim.goAhead()
	store.remark("SIGSTOP to C1, which holds token %d", stale)
	if err := team.waitAppends(ctx, 1); err != nil {
		return r, err
	}
	fmt.Fprintf(w, "SIGSTOP to C1; its lease of %v ran out, and the next in line wrote after %v\n", lease, time.Since(frozen).Round(10*time.Millisecond))

	// Half way the leading server is killed.
	if err := team.waitAppends(ctx, load.appends()/2); err != nil {
		return r, err
	}
	leader, err := cluster.leader(ctx)
	if err != nil {
		return r, err
	}
	if err := leader.kill(); err != nil {
		return r, err
	}
	killed := time.Now()
	store.remark("SIGKILL to server %s, which led", leader.name)
	if err := team.waitAppends(ctx, team.appends()+2); err != nil { // one may have been under way
		return r, err
	}
	took := time.Since(killed)
	next, err := cluster.leader(ctx)
	if err != nil {
		return r, err
	}
	fmt.Fprintf(w, "SIGKILL to server %s, which led; %s leads now, and appends go on %v after the kill\n", leader.name, next.name, took.Round(10*time.Millisecond))

	// At three quarters C1 wakes up and writes the object as it was when it
	// read it, plus its own line.
	if err := team.waitAppends(ctx, load.appends()*3/4); err != nil {
		return r, err
	}
	store.remark("SIGCONT to C1, which writes with token %d", stale)
	if err := victim.thaw(); err != nil {
		return r, err
	}
	if r.verdict, err = victim.line(ctx); err != nil {
		return r, err
	}
	told, err := victim.line(ctx)
	if err != nil {
		return r, err
	}
	fmt.Fprintf(w, "SIGCONT to C1; it writes at once: %s; its client then tells it: %s\n", r.verdict, told)

	// What is in the object, against what the store had acknowledged.
	if err := team.wait(ctx); err != nil {
		return r, err
	}
	have := map[string]bool{}
	for _, l := range store.lines(object) {
		have[l] = true
	}
	acknowledged := []string{}
	moved := map[string]bool{} // clients that needed another session
	for _, a := range team.acknowledged {
		acknowledged = append(acknowledged, a.Line)
		if !a.Kept {
			moved[a.Client] = true
		}
	}
	if r.verdict == "accepted" {
		acknowledged = append(acknowledged, staleLine)
	}
	r.acknowledged = len(acknowledged)
	for _, l := range acknowledged {
		if !have[l] {
			r.lost++
		}
	}
	r.refused = store.refusals()
	r.kept = n - len(moved)
	writes := store.writes()
	for i := 1; i < len(writes); i++ {
		if writes[i].token <= writes[i-1].token {
			r.backward++
		}
	}
	r.overtaken = overtaken(queue, writes, moved)
	fmt.Fprintln(w, "the store's history of accepted writes:")
	store.print(w)
	return r, nil
}

// setScene starts C1, which takes the lock, and the workers, which queue behind
// it. On a machine so busy that C1's lease runs out before all of them have
// queued, it begins again.
func setScene(ctx context.Context, cluster *cluster, admin *lock.Client, store *store, load load) (v *victim, t *team, token uint64, queue []string, err error) {
	for range 3 {
		store.clear()
		if v, err = startVictim(cluster, store); err != nil {
			return
		}
		if token, err = v.waitHolding(ctx); err == nil {
			if t, err = startWorkers(cluster, store, load); err == nil {
				if queue, err = waitQueue(ctx, admin, object, "C1", load.workers*load.clients); err == nil {
					return
				}
				t.kill()
			}
		}
		v.Kill()
	}
	return
}

// overtaken counts the clients whose first write does not stand at their place
// in the queue, as it was when C1 still held the lock. Clients that lost their
// session lost their place with it, and do not count.
func overtaken(queue []string, writes []entry, moved map[string]bool) (n int) {
	var served []string // by first write
	for _, e := range writes {
		name, _, _ := strings.Cut(e.line, " ")
		if slices.Contains(queue, name) && !slices.Contains(served, name) {
			served = append(served, name)
		}
	}
	gone := func(name string) bool { return moved[name] }
	queue, served = slices.DeleteFunc(slices.Clone(queue), gone), slices.DeleteFunc(served, gone)
	for i, name := range queue {
		if i >= len(served) || served[i] != name {
			n++
		}
	}
	return n
}
