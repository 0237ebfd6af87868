package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/lock"
)

// A happening is what a resident tells the page: one line of JSON each.
type happening struct {
	Client string
	Kind   string // "granted", "wrote", "refused" or "failed"
	Key    string
	Token  uint64
	Text   string
}

// playResident is one client of the live page, in a process of its own so that
// it can be frozen: it takes one of the locks, reads, works for a while, writes,
// and so on for ever.
func playResident() error {
	name, keys := os.Getenv("NAME"), strings.Split(os.Getenv("KEYS"), ",")
	pace, err := time.ParseDuration(os.Getenv("PACE"))
	if err != nil {
		return err
	}
	ctx := context.Background()
	c, err := lock.Dial(ctx, splitNodes(), &lock.Options{TTL: lease, Label: name})
	if err != nil {
		return err
	}
	defer c.Close()
	enc := json.NewEncoder(os.Stdout)
	for i := 1; ; i++ {
		l, err := c.Lock(ctx, keys[rand.IntN(len(keys))])
		if err != nil {
			return err
		}
		tell := func(kind, text string) error {
			return enc.Encode(happening{name, kind, l.Key(), l.Token(), text}) // fails when the parent has ended
		}
		if err := tell("granted", ""); err != nil {
			return err
		}
		text, err := readObject(ctx, l)
		time.Sleep(pace/2 + rand.N(pace)) // the work
		line := fmt.Sprintf("%s line %d", name, i)
		if err == nil {
			err = writeObject(ctx, l, text+line+"\n")
		}
		switch {
		case err == nil:
			err = tell("wrote", line)
		case errors.Is(err, errRefused):
			err = tell("refused", err.Error())
		default:
			err = tell("failed", err.Error())
		}
		if err != nil {
			return err
		}
		if err := l.Unlock(ctx); err != nil && !errors.Is(err, lock.ErrNotHeld) {
			return err
		}
		time.Sleep(rand.N(pace))
	}
}
