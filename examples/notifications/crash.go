package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/idem"
)

// An order of steps in which a sender can use a server-side key.
const (
	noKey      = "no key"
	keyFirst   = "key written, then sent"
	keyLast    = "sent, then key written"
	keyAround  = "key begun, sent, completed"
	senderHold = 300 * time.Millisecond // lease of a begun key
)

var keyOrders = []string{noKey, keyFirst, keyLast, keyAround}

// sendOnce sends a message unless the key says that it was sent. At each point of
// its way it calls at.
func sendOnce(ctx context.Context, order string, keys *idem.Store, key string, send func() error, at func(point string)) error {
	if order == keyAround {
		// Begun is not done. Whoever dies here leaves a key that says so, with a
		// lease; the next one takes it over when that has ended.
		a, err := keys.Wait(ctx, key, nil)
		if err != nil {
			return err
		}
		if _, done := a.Result(); done {
			return nil
		}
		if _, died := a.Taken(); died {
			at("taken over") // sent or not: only who received it can know
		}
		at("before")
		if err := send(); err != nil {
			return err
		}
		at("after")
		return a.Complete(ctx, nil)
	}
	if order != noKey {
		if _, known, err := keys.Known(ctx, key); err != nil || known {
			return err
		}
	}
	at("checked")
	if order == keyFirst {
		if err := mark(ctx, keys, key); err != nil {
			return err
		}
	}
	at("before")
	if err := send(); err != nil {
		return err
	}
	at("after")
	if order == keyLast {
		return mark(ctx, keys, key)
	}
	return nil
}

// mark writes that a key was seen, whoever else does so.
func mark(ctx context.Context, keys *idem.Store, key string) error {
	a, err := keys.Begin(ctx, key, nil)
	if errors.Is(err, idem.ErrRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, done := a.Result(); done {
		return nil
	}
	return a.Complete(ctx, nil)
}

// playSender is a process that sends one message once. It stops at the point that is
// named, so that it can be killed there.
func playSender() error {
	keys, err := idem.Open(os.Getenv("DIR"), &idem.Options{Lease: senderHold})
	if err != nil {
		return err
	}
	defer keys.Close()
	send := func() error {
		resp, err := http.Post(os.Getenv("INBOX"), "text/plain", nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	err = sendOnce(context.Background(), os.Getenv("ORDER"), keys, "message", send, func(point string) {
		if point == "taken over" {
			fmt.Println(point)
		}
		if point == os.Getenv("STOP") {
			fmt.Println("stopped")
			io.Copy(io.Discard, os.Stdin) // until the end
			os.Exit(0)
		}
	})
	if err != nil {
		return err
	}
	fmt.Println("through")
	return nil
}

// An outcome is how often a device got the message: killed before the send, killed
// after it, not killed but told to send once more, and two senders at once.
type outcome struct {
	before, after, again, twins int
	takenOver                   int
}

// outcomes lets senders die at every point, and others do their work anew.
func outcomes(ctx context.Context, dir string) (map[string]outcome, error) {
	var arrived atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	inbox := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived.Add(1) })}
	go inbox.Serve(l) // ends with Close
	defer inbox.Close()

	runs := 0
	sender := func(order, stop string, first bool) (lines []string, err error) {
		if first {
			runs++
			arrived.Store(0)
		}
		p, err := child.Start("sender", "sender", "DIR="+filepath.Join(dir, "sender"+strconv.Itoa(runs)),
			"ORDER="+order, "STOP="+stop, "INBOX=http://"+l.Addr().String())
		if err != nil {
			return nil, err
		}
		defer p.Kill()
		for {
			line, err := p.Line()
			if err != nil {
				return nil, err
			}
			lines = append(lines, line)
			switch line {
			case "stopped": // the deferred kill is the SIGKILL
				return lines, nil
			case "through":
				p.Reap()
				return lines, nil
			}
		}
	}
	all := map[string]outcome{}
	for _, order := range keyOrders {
		var o outcome
		for _, c := range []struct {
			stop string
			n    *int
		}{{"before", &o.before}, {"after", &o.after}, {"", &o.again}} {
			if _, err := sender(order, c.stop, true); err != nil {
				return nil, err
			}
			lines, err := sender(order, "", false)
			if err != nil {
				return nil, err
			}
			if lines[0] == "taken over" {
				o.takenOver++
			}
			*c.n = int(arrived.Load())
		}
		if o.twins, err = twins(ctx, filepath.Join(dir, "twins of "+order), order); err != nil {
			return nil, err
		}
		all[order] = o
	}
	return all, nil
}

// twins are two senders that come at the same moment, as after a partition has
// changed hands. Both have looked before one has sent.
func twins(ctx context.Context, dir, order string) (int, error) {
	keys, err := idem.Open(dir, nil)
	if err != nil {
		return 0, err
	}
	defer keys.Close()
	var sent atomic.Int64
	var looked, wg sync.WaitGroup
	looked.Add(2)
	errs := make([]error, 2)
	for i := range errs {
		wg.Go(func() {
			errs[i] = sendOnce(ctx, order, keys, "message", func() error { sent.Add(1); return nil }, func(point string) {
				if point == "checked" {
					looked.Done()
					looked.Wait()
				}
			})
		})
	}
	wg.Wait()
	return int(sent.Load()), errors.Join(errs...)
}
