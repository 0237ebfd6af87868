// Lock shows why a lease alone does not protect a shared file, and how a queue
// lock with fencing tokens does.
//
// Three lock servers run as real processes and replicate one queue. Fifty
// clients append lines to one object in a small object store: each takes the
// lock, reads the object, adds its line, writes the object back. Meanwhile the
// program stops one holder with SIGSTOP until its lease is long over and lets
// it go on, and kills the leading server with SIGKILL:
//
//	C1    lock → token 6 · read ── SIGSTOP ─────────────────── SIGCONT · write(6)  refused: 329 was seen
//	w0.1  ······· waits ······ C1's lease over → token 30 · read · write(30)
//	w2.1  ··········· waits ······························ token 31 · read · write(31)  …
//
// Then the same is done in the ways that do not hold: without a fence, with
// timestamps for tokens, by polling instead of queueing, and by a majority vote
// without a log. Each fails, with numbers.
//
// Run it with "go run ./examples/lock". Read run from top to bottom; the parts
// are in the files named after them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/lock"
)

const (
	servers   = 3
	object    = "ledger.txt"
	lease     = 3 * time.Second        // TTL of every session of the story
	heartbeat = 300 * time.Millisecond // how soon a server misses its leader
)

func main() {
	child.Main(roles)
	serve := flag.String("serve", "", "serve a live page on this `address`, e.g. :8080")
	n := flag.Int("n", 4, "how many lines each of the 50 clients appends, 2 to 1000")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *n < 2 || *n > 1000 || flag.NArg() > 0:
		flag.Usage()
		os.Exit(2)
	case *serve != "":
		err = servePage(ctx, *serve, os.Stdout)
	default:
		err = run(ctx, os.Stdout, *n)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lock:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, lines int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute+time.Duration(lines)*time.Second)
	defer cancel()
	size := load{workers: 5, clients: 10, lines: lines}

	// Three servers, each a process of its own with its own directory.
	cluster, err := startCluster(servers)
	if err != nil {
		return err
	}
	defer cluster.stop()
	admin, err := lock.Dial(ctx, cluster.addresses(), &lock.Options{TTL: 30 * time.Second, Label: "admin"})
	if err != nil {
		return err
	}
	defer admin.Close()
	leader, err := cluster.leader(ctx)
	if err != nil {
		return err
	}

	fmt.Fprintf(w, "== 1. A queue lock with tokens, and a store that checks them\n")
	fmt.Fprintf(w, "servers %s; %s leads\n", strings.Join(cluster.names(), ", "), leader.name)
	guarded, err := startStore(true)
	if err != nil {
		return err
	}
	defer guarded.close()
	safe, err := story(ctx, w, cluster, admin, guarded, size)
	if err != nil {
		return err
	}
	safe.print(w)
	fmt.Fprintf(w, "%d of %d clients kept their session and place while the leader was replaced; served out of order: %d\n",
		safe.kept, size.workers*size.clients, safe.overtaken)
	switch {
	case safe.acknowledged != size.appends() || safe.lost != 0:
		return errors.New("behind the guard every append must be acknowledged, and none lost")
	case safe.refused == 0 || !strings.HasPrefix(safe.verdict, "refused"):
		return errors.New("the stale write must be refused")
	case safe.backward != 0:
		return errors.New("the tokens of accepted writes must rise")
	case safe.overtaken != 0:
		return errors.New("the queue must be served in its order")
	}

	fmt.Fprintf(w, "\n== 2. Without a fence: the same run, and a store that takes every write\n")
	if err := cluster.revive(ctx); err != nil {
		return err
	}
	open, err := startStore(false)
	if err != nil {
		return err
	}
	defer open.close()
	unsafe, err := story(ctx, w, cluster, admin, open, size)
	if err != nil {
		return err
	}
	unsafe.print(w)
	if unsafe.lost == 0 || unsafe.backward == 0 {
		return errors.New("without a fence the stale write should have got through and destroyed something")
	}

	fmt.Fprintf(w, "\n== 3. Timestamps for tokens\n")
	if err := timestamps(w, size.appends()); err != nil {
		return err
	}

	fmt.Fprintf(w, "\n== 4. Asking again instead of queueing\n")
	if err := cluster.revive(ctx); err != nil {
		return err
	}
	if err := herd(ctx, w, cluster, size); err != nil {
		return err
	}

	fmt.Fprintf(w, "\n== 5. A majority vote without log and commit\n")
	if err := votes(ctx, w, cluster, 1000); err != nil {
		return err
	}

	fmt.Fprintf(w, "\nappended = %d, lost = %d, refused = %d\n", safe.acknowledged, safe.lost, safe.refused)
	return nil
}
