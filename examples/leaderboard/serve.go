package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/stream"
)

//go:embed serve.html
var serveBody string

//go:embed board.js
var boardScript string

// servePage plays songs for ever, and shows the board.
func servePage(ctx context.Context, addr, logURL string, w io.Writer) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer l.Close()
	v, err := startLive(ctx, logURL, 2000)
	if err != nil {
		return err
	}
	defer v.stop()
	fmt.Fprintf(w, "open http://%s/ · Ctrl-C ends it\n", reachable(l.Addr().(*net.TCPAddr)))
	return v.serve(ctx, l)
}

// reachable returns an address for a browser on this machine: a listener on all
// addresses has none of its own.
func reachable(a *net.TCPAddr) string {
	if a.IP.IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(a.Port))
	}
	return a.String()
}

const (
	sendEvery  = 100 * time.Millisecond
	showEvery  = 250 * time.Millisecond
	movesOver  = 5 * time.Second // ranks are compared with those of so long ago
	comesBack  = 3 * time.Second // the consumer, after it was killed
	keepPlays  = time.Hour       // in the log
	linesShown = 100
)

// A live is the story without an end. Here are the log, with the API, and the page;
// the consumer is a process of its own.
type live struct {
	dir    string
	log    stream.Transactor
	broker *broker
	url    string
	rate   int // plays in a second
	cancel context.CancelFunc
	work   sync.WaitGroup
	ends   []func()

	mu       sync.Mutex
	consumer *process // nil while it is dead
	board    *board   // the last answer
	at       string   // where the consumer answers
	played   uint64
	kills    int
	exact    *census
	counted  []int64 // up to which offsets exact is
	past     []standing
	ranks    map[string]int // by tab and song, as last shown
	moves    int            // changes of rank
	events   []page.Event
	happened int
	failure  error
}

// A standing is who was where at a time.
type standing struct {
	at    time.Time
	ranks map[string]int
}

func startLive(ctx context.Context, logURL string, rate int) (v *live, err error) {
	v = &live{
		rate: rate, exact: &census{all: map[string]uint64{}, minutes: map[int64]map[string]uint64{}},
		counted: make([]int64, len(regions)), ranks: map[string]int{}, events: []page.Event{},
	}
	ctx, v.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			v.stop()
		}
	}()
	if v.dir, err = os.MkdirTemp("", "leaderboard"); err != nil {
		return v, err
	}
	if v.log, err = openLog(ctx, logURL, filepath.Join(v.dir, "log")); err != nil {
		return v, err
	}
	if v.broker, err = newBroker(ctx, v.log, keepPlays); err != nil {
		return v, err
	}
	address, stop, err := listen(v.broker)
	if err != nil {
		return v, err
	}
	v.url, v.ends = address, append(v.ends, stop)
	for p := range regions {
		if _, v.counted[p], err = v.log.Bounds(ctx, partition(topicPlays, p)); err != nil {
			return v, err
		}
	}
	v.loop(ctx, "the listeners", v.listeners)
	v.loop(ctx, "the consumer", v.supervise)
	v.loop(ctx, "the page", v.watch)
	return v, nil
}

// loop runs a part until the end, and remembers why it ended before.
func (v *live) loop(ctx context.Context, who string, f func(context.Context) error) {
	v.work.Go(func() {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.failure = errors.Join(v.failure, fmt.Errorf("%s: %w", who, err))
			v.sayLocked(who, page.Bad, err.Error())
		}
	})
}

// listeners play songs, in all regions, and send them to the API.
func (v *live) listeners(ctx context.Context) error {
	c := newCrowd(uint64(time.Now().UnixNano()))
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	last := time.Now()
	numbers := make([]int, len(regions))
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		now := time.Now()
		due := int(float64(v.rate) * min(now.Sub(last), time.Second).Seconds())
		last = now
		lists := make([][]play, len(regions))
		for range due {
			r := c.IntN(len(regions))
			lists[r] = append(lists[r], c.play(r, now.Add(-c.delay()).UTC().Truncate(time.Millisecond)))
		}
		for r, list := range lists {
			if len(list) == 0 {
				continue
			}
			if err := (client{v.url}).send(ctx, r, numbers[r], list); err != nil {
				return err
			}
			numbers[r]++
			v.mu.Lock()
			for _, p := range list {
				v.played += uint64(p.Count)
			}
			v.mu.Unlock()
		}
	}
}

// supervise starts the consumer again whenever it has ended.
func (v *live) supervise(ctx context.Context) error {
	for first := true; ctx.Err() == nil; first = false {
		p, err := startProcess(roleLive, "API="+v.url, "DIR="+filepath.Join(v.dir, "board"))
		if err != nil {
			return err
		}
		r, err := p.heard()
		if err != nil {
			p.kill()
			return err
		}
		v.mu.Lock()
		v.consumer, v.at = p, r.URL
		text := fmt.Sprintf("process %d counts", p.cmd.Process.Pid)
		if !first {
			text += " on, behind what its database holds"
		}
		v.sayLocked("consumer", "", text)
		v.mu.Unlock()
		stop := context.AfterFunc(ctx, func() { p.stdin.Close() }) // the end of its input ends it
		err = p.cmd.Wait()
		stop()
		v.mu.Lock()
		v.consumer = nil
		if ctx.Err() == nil {
			v.sayLocked("consumer", page.Bad, fmt.Sprintf("process %d is dead (%v)", p.cmd.Process.Pid, err))
		}
		v.mu.Unlock()
		select {
		case <-time.After(comesBack):
		case <-ctx.Done():
		}
	}
	return nil
}

// watch asks the consumer for the board, and counts exactly up to the same offsets:
// so what is compared is of the same plays.
func (v *live) watch(ctx context.Context) error {
	tick := time.NewTicker(showEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		v.mu.Lock()
		at, alive := v.at, v.consumer != nil
		v.mu.Unlock()
		if !alive {
			continue
		}
		asked, cancel := context.WithTimeout(ctx, time.Second)
		text, err := client{at}.do(asked, "GET", "/board", nil)
		cancel()
		if err != nil {
			continue // it is starting, or was killed just now
		}
		b := &board{}
		if err := json.Unmarshal(text, b); err != nil {
			return err
		}
		if err := v.take(ctx, b); err != nil {
			return err
		}
	}
}

// take makes an answer the present board.
func (v *live) take(ctx context.Context, b *board) error {
	var fresh []play
	for p := range regions {
		for r, err := range stream.Scan(ctx, v.log, partition(topicPlays, p), v.counted[p], b.Next[p]) {
			if err != nil {
				return err
			}
			x, err := playOf(&r)
			if err != nil {
				return err
			}
			fresh = append(fresh, x)
		}
		v.counted[p] = max(v.counted[p], b.Next[p])
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, p := range fresh {
		v.exact.add(p)
	}
	for start := range v.exact.minutes {
		if start < b.Minute-5*time.Minute.Milliseconds() {
			delete(v.exact.minutes, start)
		}
	}
	v.board = b
	ranks := map[string]int{}
	for tab, list := range map[string][]entry{"all": b.All, "minute": b.Latest} {
		for i, e := range list {
			ranks[tab+" "+e.ID] = i + 1
			if old, ok := v.ranks[tab+" "+e.ID]; ok && old != i+1 {
				v.moves++
			}
		}
	}
	v.ranks = ranks
	now := time.Now()
	v.past = append(v.past, standing{now, ranks})
	for len(v.past) > 1 && now.Sub(v.past[1].at) >= movesOver {
		v.past = v.past[1:]
	}
	return nil
}

func (v *live) sayLocked(who string, kind page.Kind, text string) {
	v.happened++
	v.events = append(v.events, page.Event{Key: fmt.Sprint(v.happened), At: time.Now().Format("15:04:05.0"), Who: who, Text: text, Kind: kind})
	v.events = v.events[max(0, len(v.events)-linesShown):]
}

// serve serves the page until ctx ends.
func (v *live) serve(ctx context.Context, l net.Listener) error {
	server := page.New(page.Page{
		Title:  "The ten most played",
		Lead:   "Four regions play songs; a consumer counts them in a sketch of 16 KB for each and never keeps a counter for every song. Kill it: the board stands still, catches up, and no play counts twice.",
		Body:   template.HTML(serveBody),
		Script: boardScript,
		Do:     map[string]page.Command{"kill": v.kill},
	})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		tick := time.NewTicker(showEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			server.Publish(v.state())
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	err := server.Serve(ctx, l)
	cancel()
	return err
}

// kill ends the consumer with SIGKILL: it can close and flush nothing.
func (v *live) kill(context.Context, url.Values) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.consumer == nil {
		return "", errors.New("it is dead already")
	}
	if err := v.consumer.cmd.Process.Kill(); err != nil {
		return "", err
	}
	v.kills++
	v.sayLocked("consumer", page.Hot, "SIGKILL")
	return fmt.Sprintf("Process %d is killed. Another one starts in %s.", v.consumer.cmd.Process.Pid, comesBack), nil
}

// A place is a row of the board.
type place struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Count uint64 `json:"count"`
	Exact uint64 `json:"exact"`
	Move  int    `json:"move"` // places up, or down if it is negative
	New   bool   `json:"new,omitempty"`
}

// places compares a list with the exact counts and with the ranks of before.
func (v *live) places(tab string, list []entry, exact map[string]uint64) []place {
	out := make([]place, 0, len(list))
	for i, e := range list {
		p := place{ID: e.ID, Title: title(e.ID), Count: e.Count, Exact: exact[e.ID]}
		if old, ok := v.past[0].ranks[tab+" "+e.ID]; ok {
			p.Move = old - (i + 1)
		} else {
			p.New = true
		}
		out = append(out, p)
	}
	return out
}

// state is what the page shows.
func (v *live) state() map[string]any {
	v.mu.Lock()
	defer v.mu.Unlock()
	status := page.Cell{Text: "counts", Kind: page.OK}
	if v.consumer == nil {
		status = page.Cell{Text: "dead", Kind: page.Bad}
		if v.board == nil {
			status = page.Cell{Text: "starts", Kind: page.Muted}
		}
	}
	if v.failure != nil {
		status = page.Cell{Text: v.failure.Error(), Kind: page.Bad}
	}
	s := map[string]any{
		"played": v.played, "kills": v.kills, "consumer": status, "moves": v.moves, "events": slices.Clone(v.events),
		"counted": 0, "behind": page.Cell{Text: v.played}, "total": 0, "tabs": map[string]any{"all": []place{}, "minute": []place{}},
	}
	b := v.board
	if b == nil {
		return s
	}
	behind := page.Cell{Text: v.played - min(v.played, b.Total)}
	if v.consumer == nil {
		behind.Kind = page.Hot
	}
	twice := page.Cell{Text: int64(b.Total) - int64(v.exact.total)}
	if twice.Text != int64(0) {
		twice.Kind = page.Bad
	}
	s["counted"], s["behind"], s["total"], s["wrong"] = b.Total, behind, v.exact.total, twice
	s["pid"], s["late"], s["again"] = b.PID, b.Late, b.Again
	s["minute"] = clock(b.Minute)
	s["tabs"] = map[string]any{
		"all":    v.places("all", b.All, v.exact.all),
		"minute": v.places("minute", b.Latest, v.exact.minutes[b.Minute]),
	}
	s["sizes"] = []page.Bar{
		{Label: "sketches and lists", Value: float64(b.Bytes), Note: size(float64(b.Bytes)), Kind: page.Hot},
		{Label: fmt.Sprintf("a map of %s songs", num(len(v.exact.all))), Value: float64(len(v.exact.all) * mapBytes), Note: "≈ " + size(float64(len(v.exact.all)*mapBytes))},
	}
	return s
}

// mapBytes is about what a song takes in a map; the run measures it.
const mapBytes = 70

func (v *live) stop() {
	v.cancel()
	v.work.Wait()
	for _, end := range v.ends {
		end()
	}
	if v.log != nil {
		v.log.Close()
	}
	os.RemoveAll(v.dir)
}
