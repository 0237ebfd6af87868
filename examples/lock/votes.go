package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/lock"
)

// votes takes a lock by majority vote, without a log and without a commit: five
// voters give their one vote to whoever asks first, and three of them make a
// holder. Messages get lost or late, a client may crash, a voter may restart.
// Either a vote is kept until it is given back, or it ends by itself; the voters
// cannot agree on which of them has ended, since there is no log to agree in.
func votes(ctx context.Context, w io.Writer, cluster *cluster, rounds int) error {
	fmt.Fprintf(w, "3 clients want one lock, 5 voters, %d rounds of each; messages are lost, late, clients crash, voters restart\n", rounds)
	kept, ended := ballot(rounds, true), ballot(rounds, false)
	logged, err := contest(ctx, cluster, rounds/10)
	if err != nil {
		return err
	}
	line := func(name string, o outcomes) {
		fmt.Fprintf(w, "  %-38s one holder at a time %5d   two at once %5d   none, for ever %5d\n", name, o.one, o.two, o.none)
	}
	line("votes are kept until given back", kept)
	line("votes end by themselves, or by restart", ended)
	line(fmt.Sprintf("the log, asked for real, %d rounds", rounds/10), logged)
	switch {
	case kept.none == 0:
		return errors.New("kept votes should have left a lock that nobody can ever take")
	case ended.two == 0:
		return errors.New("votes that end should have made two holders")
	case logged.two != 0 || logged.none != 0:
		return errors.New("the log must make exactly one holder")
	}
	return nil
}

type outcomes struct{ one, two, none int }

func ballot(rounds int, keep bool) (o outcomes) {
	for seed := range uint64(rounds) {
		switch newElection(rand.New(rand.NewPCG(seed, 5)), keep).run() {
		case 1:
			o.one++
		case 2:
			o.two++
		default:
			o.none++
		}
	}
	return o
}

const (
	voters     = 5
	candidates = 3
	majority   = voters/2 + 1
	voteLife   = 40 // ticks after which a vote ends, where votes end
)

// An election is one round, in simulated time: a tick is about a message's way.
type election struct {
	r        *rand.Rand
	keep     bool // votes are on the voter's disk, and kept until given back
	now      int
	voters   [voters]vote
	clients  [candidates]candidate
	messages []message
}

type vote struct {
	client int // index + 1; 0: it is free
	ballot int
	since  int
}

type state int

const (
	asking state = iota
	resting
	holding
	finished
	crashed
)

type candidate struct {
	state  state
	ballot int // numbers its attempts
	yes    [voters]bool
	owes   [voters]bool // votes to give back, until the voter says it has
	until  int          // when the state ends
	crash  int          // when it crashes; 0: never
}

type message struct {
	at                    int
	kind                  string // ask, yes, back, got
	client, voter, ballot int
}

func newElection(r *rand.Rand, keep bool) *election {
	e := &election{r: r, keep: keep}
	if r.IntN(3) == 0 {
		e.clients[r.IntN(candidates)].crash = 1 + r.IntN(60)
	}
	return e
}

// run returns how many held the lock at once, at most: 2 or 1; or 0 if in the
// end some wanted it and none could ever get it.
func (e *election) run() int {
	restart, restarting := e.r.IntN(60), e.r.IntN(voters)
	for i := range e.clients {
		e.ask(i)
	}
	for e.now = 1; ; e.now++ {
		if e.now == restart && !e.keep {
			e.voters[restarting] = vote{} // it was in memory
		}
		e.deliver()
		waiting, held := false, 0
		for i := range e.clients {
			e.step(i)
			switch e.clients[i].state {
			case holding:
				held++
			case asking, resting:
				waiting = true
			}
		}
		switch {
		case held > 1:
			return 2
		case !waiting && held == 0:
			return 1
		case e.stuck():
			return 0
		}
	}
}

// send loses every tenth message and delays the others by 1 to 5 ticks.
func (e *election) send(m message) {
	if e.r.IntN(10) != 0 {
		m.at = e.now + 1 + e.r.IntN(5)
		e.messages = append(e.messages, m)
	}
}

func (e *election) ask(i int) {
	c := &e.clients[i]
	c.state, c.until, c.yes = asking, e.now+15, [voters]bool{}
	c.ballot++
	for v := range voters {
		e.send(message{kind: "ask", client: i, voter: v, ballot: c.ballot})
	}
}

func (e *election) deliver() {
	due := []message{}
	e.messages = slices.DeleteFunc(e.messages, func(m message) bool {
		if m.at <= e.now {
			due = append(due, m)
		}
		return m.at <= e.now
	})
	for _, m := range due {
		v, c := &e.voters[m.voter], &e.clients[m.client]
		switch m.kind {
		case "ask":
			if ended := !e.keep && e.now-v.since > voteLife; v.client == 0 || v.client == m.client+1 || ended {
				if v.client != m.client+1 || m.ballot > v.ballot {
					*v = vote{client: m.client + 1, ballot: m.ballot, since: e.now}
				}
				if v.ballot == m.ballot {
					e.send(message{kind: "yes", client: m.client, voter: m.voter, ballot: m.ballot})
				}
			}
		case "back":
			if v.client == m.client+1 && v.ballot <= m.ballot {
				*v = vote{}
			}
			e.send(message{kind: "got", client: m.client, voter: m.voter, ballot: m.ballot})
		case "yes":
			if c.state == asking && m.ballot == c.ballot {
				c.yes[m.voter] = true
			}
		case "got":
			if m.ballot == c.ballot {
				c.owes[m.voter] = false
			}
		}
	}
}

// step lets one client do what is due.
func (e *election) step(i int) {
	c := &e.clients[i]
	if c.crash != 0 && e.now >= c.crash {
		c.state = crashed
	}
	count := 0
	for _, y := range c.yes {
		if y {
			count++
		}
	}
	switch {
	case c.state == asking && count >= majority:
		c.state, c.until = holding, e.now+5+e.r.IntN(60) // it works, or is paused
	case c.state == asking && e.now >= c.until:
		c.state, c.until = resting, e.now+5+e.r.IntN(30)
		c.giveBack()
	case c.state == holding && e.now >= c.until:
		c.state = finished
		c.giveBack()
	case c.state == resting && e.now >= c.until:
		c.owes = [voters]bool{} // a new ballot makes a vote its own again
		e.ask(i)
	}
	if (c.state == resting || c.state == finished) && e.now%5 == 0 {
		for v, owes := range c.owes {
			if owes {
				e.send(message{kind: "back", client: i, voter: v, ballot: c.ballot})
			}
		}
	}
}

func (c *candidate) giveBack() {
	for v := range c.owes {
		c.owes[v] = true // also where no yes has arrived: it may be on its way
	}
}

// stuck tells that crashed clients have so many votes that no majority is left,
// and nothing is on the way that could change it.
func (e *election) stuck() bool {
	if !e.keep {
		return false
	}
	gone := 0
	for _, v := range e.voters {
		if v.client != 0 && e.clients[v.client-1].state == crashed {
			gone++
		}
	}
	return gone > voters-majority && !slices.ContainsFunc(e.messages, func(m message) bool { return m.kind == "back" })
}

// contest has three clients try for a new lock of the real cluster at the same
// moment, again and again.
func contest(ctx context.Context, cluster *cluster, rounds int) (o outcomes, err error) {
	var cs [candidates]*lock.Client
	for i := range cs {
		if cs[i], err = lock.Dial(ctx, cluster.addresses(), &lock.Options{TTL: 30 * time.Second}); err != nil {
			return o, err
		}
		defer cs[i].Close()
	}
	for round := range rounds {
		var wg sync.WaitGroup
		var locks [candidates]*lock.Lock
		var errs [candidates]error
		for i, c := range cs {
			wg.Go(func() { locks[i], errs[i] = c.TryLock(ctx, fmt.Sprint("contest/", round)) })
		}
		wg.Wait()
		holders := 0
		for i, l := range locks {
			switch {
			case errs[i] == nil:
				holders++
				l.UnlockAsync()
			case !errors.Is(errs[i], lock.ErrHeld):
				return o, errs[i]
			}
		}
		switch holders {
		case 0:
			o.none++
		case 1:
			o.one++
		default:
			o.two++
		}
	}
	return o, nil
}
