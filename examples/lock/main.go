// Lock shows why a lease alone does not protect a shared file, and how a queue
// lock with fencing tokens does.
//
// Three lock servers run as real processes and replicate one queue. Fifty
// clients append lines to one object in a small object store: each takes the
// lock, reads the object, adds its line, writes the object back. Meanwhile the
// program stops one holder with SIGSTOP until its lease is long over and lets
// it go on, and kills the leading server with SIGKILL:
//
//	C1  lock → token 7 · read ── frozen ──────────────────────── write(7)  refused: 31 was seen
//	C2  ······ waits ······· lease over → token 8 · read · write(8)  accepted
//	C3  ····································· token 9 · read · write(9)  accepted
//
// Then the same work is done in the ways that do not hold: without a fence,
// with timestamps for tokens, by polling instead of queueing, and by a majority
// vote without a log. Each fails, with numbers.
//
// Run it with "go run ./examples/lock". Read run from top to bottom.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/lock"
)

// The size of the story.
const (
	servers   = 3
	workers   = 5   // client processes
	clients   = 10  // clients in each of them
	lines     = 4   // lines that each client appends
	object    = "ledger.txt"
	lease     = time.Second            // TTL of every session
	heartbeat = 150 * time.Millisecond // how soon servers miss their leader
)

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role)) // one of the processes that this program starts
	}
	serve := flag.String("serve", "", "serve a live page on this `address`, e.g. :8080")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *serve != "" {
		err = servePage(ctx, *serve, os.Stdout)
	} else {
		err = run(ctx, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lock:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()

	// Three servers, each a process of its own with its own directory.
	cluster, err := startCluster(servers)
	if err != nil {
		return err
	}
	defer cluster.stop()
	admin, err := lock.Dial(ctx, cluster.addresses(), &lock.Options{TTL: lease, Label: "admin"})
	if err != nil {
		return err
	}
	defer admin.Close()
	leader, err := cluster.leader(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "== 1. Three servers, one queue, a store that checks tokens\n")
	fmt.Fprintf(w, "servers %v, %s leads\n", cluster.names(), leader.name)

	store, err := startStore(true)
	if err != nil {
		return err
	}
	defer store.close()
	guarded, err := story(ctx, w, cluster, store)
	if err != nil {
		return err
	}
	fmt.Fprintln(w)
	report(w, guarded)
	if guarded.lost != 0 || guarded.refused == 0 || guarded.inversions != 0 {
		return errors.New("the guarded run must lose nothing, refuse the stale write and hand out rising tokens")
	}

	fmt.Fprintf(w, "\n== 2. Without a fence: the same run, and a store that takes every write\n")
	open, err := startStore(false)
	if err != nil {
		return err
	}
	defer open.close()
	if err := cluster.revive(ctx); err != nil {
		return err
	}
	unguarded, err := story(ctx, w, cluster, open)
	if err != nil {
		return err
	}
	report(w, unguarded)
	if unguarded.lost == 0 {
		return errors.New("without a fence the stale write should have destroyed lines")
	}

	fmt.Fprintf(w, "\n== 3. Timestamps for tokens\n")
	if err := timestamps(w); err != nil {
		return err
	}

	fmt.Fprintf(w, "\n== 4. Polling instead of a queue\n")
	if err := herd(ctx, w, cluster); err != nil {
		return err
	}

	fmt.Fprintf(w, "\n== 5. A majority vote without log and commit\n")
	if err := votes(w); err != nil {
		return err
	}

	fmt.Fprintf(w, "\nappended = %d, lost = %d, refused = %d\n", guarded.appended, guarded.lost, guarded.refused)
	return nil
}

// A result is what one run of the story did to the object.
type result struct {
	acknowledged int // writes that the store accepted, by its answers
	appended     int // lines in the object at the end
	lost         int // acknowledged lines that are not there
	refused      int // writes that the store refused as stale
	inversions   int // grants whose token was not above the one before
	failover     time.Duration
}

func report(w io.Writer, r result) {
	fmt.Fprintf(w, "acknowledged %d, in the object %d, lost %d, refused as stale %d\n", r.acknowledged, r.appended, r.lost, r.refused)
}

// story lets all clients append, freezes one holder, and kills the leader.
func story(ctx context.Context, w io.Writer, cluster *cluster, store *store) (result, error) {
	var r result

	// C1 takes the lock, reads the object and is stopped in mid-air: a long
	// garbage collection, a suspended machine, a scheduler that forgot it.
	victim, err := startVictim(cluster, store)
	if err != nil {
		return r, err
	}
	defer victim.kill()
	stale, err := victim.waitHolding(ctx)
	if err != nil {
		return r, err
	}
	fmt.Fprintf(w, "C1 holds the lock with token %d and has read %q; SIGSTOP\n", stale, object)
	if err := victim.signal(syscall.SIGSTOP); err != nil {
		return r, err
	}
	victim.goAhead() // what it waits for is there: it will write as soon as it wakes

	// The others queue behind it.
	team, err := startWorkers(cluster, store, workers, clients, lines)
	if err != nil {
		return r, err
	}
	defer team.kill()
	if err := cluster.waitQueue(ctx, object, workers*clients); err != nil {
		return r, err
	}
	fmt.Fprintf(w, "%d clients in %d processes queue behind it\n", workers*clients, workers)

	// Its lease ends; the queue moves. Half way, the leader is killed.
	if err := team.waitAppends(ctx, workers*clients*lines/2); err != nil {
		return r, err
	}
	dead, err := cluster.leader(ctx)
	if err != nil {
		return r, err
	}
	killed := time.Now()
	if err := dead.kill(); err != nil {
		return r, err
	}
	fmt.Fprintf(w, "C1's lease ended after %v and the queue moved on; SIGKILL to the leader, %s\n", lease, dead.name)
	if err := team.waitAppends(ctx, team.appends()+1); err != nil {
		return r, err
	}
	r.failover = time.Since(killed)
	next, err := cluster.leader(ctx)
	if err != nil {
		return r, err
	}
	fmt.Fprintf(w, "%s leads; the next append came %v after the kill; every client kept its place\n", next.name, r.failover.Round(10*time.Millisecond))

	// Three quarters done, C1 wakes up, believes that it holds the lock, and
	// writes the object as it was when it read it, plus its own line.
	if err := team.waitAppends(ctx, workers*clients*lines*3/4); err != nil {
		return r, err
	}
	if err := victim.signal(syscall.SIGCONT); err != nil {
		return r, err
	}
	verdict, err := victim.waitVerdict(ctx)
	if err != nil {
		return r, err
	}
	fmt.Fprintf(w, "C1 wakes (SIGCONT) and writes with token %d: %s\n", stale, verdict)
	if err := team.wait(ctx); err != nil {
		return r, err
	}

	// What is in the object, against what the store said it took.
	r.acknowledged = len(team.acknowledged)
	have := map[string]bool{}
	for _, l := range store.lines(object) {
		have[l] = true
	}
	for _, l := range team.acknowledged {
		if have[l] {
			r.appended++
		} else {
			r.lost++
		}
	}
	r.refused = store.refusals()
	r.inversions = team.inversions
	if len(team.samples) > 0 {
		fmt.Fprintln(w, "some of the grants, in the order of the queue:")
		for _, s := range team.samples {
			fmt.Fprintln(w, "  "+s)
		}
	}
	return r, nil
}
