// Leaderboard shows how the ten most frequent of very many items are known at any
// time, and what of that survives a process that is killed.
//
// Songs are played in four regions. Each play comes in over HTTP as an item, a date
// and a count, and goes to a log. Consumers count approximately and at once; the raw
// plays go to an archive, and a batch job counts exactly and later:
//
//	POST /plays ─► log, by region ─┬─► sketch + min-heap, minutes ─► board     fast, approximate
//	{id, date, count}              └─► files in an object store ─► batch job   slow, exact
//
// The consumer is a process of its own and is killed with SIGKILL wherever it hurts
// most: between writing the result and writing how far it has read. Written one after
// the other, plays are lost or count twice. Four ways to write both at once are
// compared by what they cost.
//
// Run it with "go run ./examples/leaderboard". Read run from top to bottom; the parts
// are in the files named after them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/stream"
)

// usual is how many plays come in.
const usual = 120_000

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(playRole(role)) // the process that this program kills
	}
	n := flag.Int("n", usual, "how many `plays` come in, 40,000 to 5,000,000")
	serve := flag.String("serve", "", "serve a live page on this `address`, e.g. :8080")
	logURL := flag.String("log", "", "keep plays in the log at this `URL`, kafka://HOST:PORT or nats://HOST:PORT, instead of a directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := checkLog(*logURL)
	switch {
	case err != nil:
	case *n < 40_000 || *n > 5_000_000 || flag.NArg() > 0:
		flag.Usage()
		os.Exit(2)
	case *serve != "":
		err = servePage(ctx, *serve, *logURL, os.Stdout)
	default:
		err = run(ctx, os.Stdout, *n, *logURL)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "leaderboard:", err)
		os.Exit(1)
	}
}

// A story is what the parts of the run share.
type story struct {
	w      io.Writer
	dir    string
	n      int
	batch  int      // plays that a consumer reads at once
	sent   [][]sent // by region
	all    []sent   // of all regions, as they arrive
	log    stream.Transactor
	broker *broker
	url    string            // of the broker
	shards []*shard          // the fast path, when all is counted
	exact  map[string]uint64 // what is true
	census *census           // the slow path
	inLog  float64           // bytes of a play in the log, 0 where that is not known
	last   []string          // what the end says again
}

func run(ctx context.Context, w io.Writer, n int, logURL string) error {
	dir, err := os.MkdirTemp("", "leaderboard")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &story{w: w, dir: dir, n: n, batch: n / 32, sent: generate(n), exact: map[string]uint64{}}
	for _, list := range s.sent {
		s.all = append(s.all, list...)
	}
	slices.SortStableFunc(s.all, byArrival)
	if s.log, err = openLog(ctx, logURL, filepath.Join(dir, "log")); err != nil {
		return err
	}
	defer s.log.Close()
	if s.broker, err = newBroker(ctx, s.log, 0); err != nil {
		return err
	}
	url, stop, err := listen(s.broker)
	if err != nil {
		return err
	}
	defer stop()
	s.url = url
	for i, part := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"Plays come in", s.incoming},
		{"A counter for every song, and a sketch", s.counting},
		{"A heap with its least at the root", s.heaps},
		{"Minute by minute", s.byMinute},
		{"The raw plays, and a batch job over them", s.slowPath},
		{"The consumer is killed", s.exactlyOnce},
		{"Four consumers, one board", s.merging},
		{"Is any of this needed?", s.capacity},
	} {
		if i > 0 {
			s.say("")
		}
		s.say("== %d. %s", i+1, part.title)
		if err := part.tell(ctx); err != nil {
			return err
		}
	}
	s.say("\n%s", strings.Join(s.last, ", "))
	return nil
}

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.w, format+"\n", args...) }

// ---- 1 --------------------------------------------------------------------------

// incoming sends all plays to the API, some of them twice, and lets the consumer
// count the first half and then the rest.
func (s *story) incoming(ctx context.Context) error {
	c, err := newConsumer(client{s.url}, wayBeside, filepath.Join(s.dir, "board"), s.batch)
	if err != nil {
		return err
	}
	defer c.close()
	size := s.n / 80 // plays in a request
	var sent, twice int
	var half, behind, total uint64
	for part := range 2 {
		for r, list := range s.sent {
			list = list[len(list)/2*part : len(list)/2+part*(len(list)-len(list)/2)]
			for i, chunk := range slices.Collect(slices.Chunk(list, size)) {
				number := part*1_000_000 + i
				if err := (client{s.url}).send(ctx, r, number, plays(chunk)); err != nil {
					return err
				}
				sent++
				if i%10 == 9 { // as if the answer had been lost
					if err := (client{s.url}).send(ctx, r, number, plays(chunk)); err != nil {
						return err
					}
					twice++
				}
				for _, p := range chunk {
					total += uint64(p.Count)
				}
			}
		}
		if part == 0 {
			if err := c.run(ctx); err != nil {
				return err
			}
			half, behind = total, total
		}
	}
	behind = total - behind
	bad := 0
	for _, line := range []string{`{"id":"","date":"2026-03-02T20:00:00Z","count":1}`, `{"id":"x","date":"yesterday","count":1}`, `{"id":"x","date":"2026-03-02T20:00:00Z","count":0}`, `x`} {
		var no *refusal
		_, err := client{s.url}.do(ctx, "POST", "/plays?region=0&batch=9000000", []byte(line))
		if errors.As(err, &no) && no.code == 400 {
			bad++
		}
	}
	if err := c.run(ctx); err != nil {
		return err
	}
	var counted uint64
	for p := range regions {
		x, err := c.store.shard(p)
		if err != nil {
			return err
		}
		s.shards = append(s.shards, x)
		counted += x.total()
	}
	records := int64(0)
	for p := range regions {
		first, next, err := s.log.Bounds(ctx, partition(topicPlays, p))
		if err != nil {
			return err
		}
		records += next - first
	}
	for _, p := range s.all {
		s.exact[p.ID] += uint64(p.Count)
	}
	s.say("POST /plays with lines like {\"id\":%q,\"date\":%q,\"count\":%d}", s.all[0].ID, s.all[0].Date.Format(time.RFC3339Nano), s.all[0].Count)
	s.say("%s plays in %s requests from %d regions, %s of these sent again as if the answer had been lost: %s plays in the log, once each",
		num(s.n), num(sent), len(regions), num(twice), num(s.n))
	s.say("%d of 4 malformed plays refused", bad)
	s.say("a board that was made after %s counts is behind by %s when the last play is in; nobody plays any more, the consumer reads on: behind by %s",
		num(half), num(behind), num(total-counted))
	local, isLocal := s.log.(*stream.Local)
	if isLocal {
		s.inLog = float64(local.Stats().Bytes) / float64(s.n)
	}
	switch {
	case s.broker.replays != twice || twice == 0 || isLocal && records != int64(s.n):
		return errors.New("a batch that is sent twice must be in the log once")
	case bad != 4:
		return errors.New("a malformed play was taken")
	case behind == 0 || counted != total:
		return errors.New("a board should be behind at first and complete in the end")
	}
	return nil
}

// ---- 2 --------------------------------------------------------------------------

// counting asks for the ten most frequent in four ways, with less and less memory.
func (s *story) counting(context.Context) error {
	best := exactly(s.exact, chart)
	total := uint64(0)
	for _, n := range s.exact {
		total += n
	}
	bytes := sizeOfMap(s.all)
	s.say("%s counts of %s songs; the first has %.1f %% of all, the tenth %.2f %%", num(total), num(len(s.exact)),
		100*float64(best[0].Count)/float64(total), 100*float64(best[chart-1].Count)/float64(total))
	s.say("  a map of all songs           %10s bytes  %2d of %d  counts off by 0, and %d bytes more for each new song", num(bytes), chart, chart, bytes/len(s.exact))

	// The naive way to save memory: only ten counters. Who is thrown out is forgotten.
	alone := newHeap(lesser)
	for _, p := range s.all {
		if i, ok := alone.place[p.ID]; ok {
			alone.set(i, entry{p.ID, alone.entries[i].Count + uint64(p.Count)})
		} else if e := (entry{p.ID, uint64(p.Count)}); len(alone.entries) < chart {
			alone.push(e)
		} else {
			alone.set(0, e)
		}
	}
	forgetful := ranked(alone.entries, chart)
	lost, _ := off(forgetful, s.exact)
	s.say("  a heap of ten alone                     –        %2d of %d  counts off by %.0f %%: who is thrown out begins at nothing again", overlap(forgetful, best), chart, 100*lost)

	whole, err := newShard() // as if there were no regions
	if err != nil {
		return err
	}
	short := newTextbook(whole.sketch, chart)
	for _, p := range s.all {
		short.add(p.ID, p.Count)
		whole.top.Add(p.ID, p.Count)
	}
	book, top := ranked(short.heap.entries, chart), listed(whole.top, chart)
	old := newTextbook(newPlain(sketchWidth, sketchDepth), chart)
	for _, p := range s.all {
		old.add(p.ID, p.Count)
	}
	plain := ranked(old.heap.entries, chart)
	plainOff, plainMost := off(plain, s.exact)
	bookBytes := 4 * sketchWidth * sketchDepth
	bookOff, bookMost := off(book, s.exact)
	topOff, topMost := off(top, s.exact)
	s.say("  count-min, first form + heap %10s bytes  %2d of %d  counts off by %.2f %%, at most %.2f %%", num(bookBytes), overlap(plain, best), chart, 100*plainOff, 100*plainMost)
	s.say("  cms.Sketch + min-heap        %10s bytes  %2d of %d  counts off by %.2f %%, at most %.2f %%", num(bookBytes), overlap(book, best), chart, 100*bookOff, 100*bookMost)
	s.say("  cms.TopK of %d              %10s bytes  %2d of %d  counts off by %.2f %%, at most %.2f %%", candidates, num(whole.top.SizeBytes()), overlap(top, best), chart, 100*topOff, 100*topMost)

	s.say("       %-28s %8s %8s %8s", "", "exact", "sketch", "TopK")
	for i, e := range best {
		s.say("   %2d. %-28s %8s %8s %8s", i+1, title(e.ID), num(e.Count), countOf(book, e.ID), countOf(top, e.ID))
	}

	s.say("the sketch by its size: how much too high counts are on average over all songs, and ε of all that was counted")
	low, within := 0, true
	for _, width := range []int{256, 1024, 4096, 16384} {
		r, err := sketchOf(s.all, s.exact, width)
		if err != nil {
			return err
		}
		s.say("  %7s bytes  %2d of %d  %8.1f too high, ε %7.1f, above that %.2f %% of songs where e^-%d = %.1f %% may be",
			num(4*width*sketchDepth), overlap(r.list, best), chart, r.mean, r.bound, 100*r.outside, sketchDepth, 100*r.delta)
		low += r.low
		within = within && r.outside <= r.delta
	}
	s.last = append(s.last, fmt.Sprintf("overlap = %d of %d", overlap(book, best), chart), fmt.Sprintf("map : sketch = %.0f : 1 in bytes", float64(bytes)/float64(bookBytes)))
	switch {
	case overlap(forgetful, best) > chart/2:
		return errors.New("a heap alone should forget what is frequent")
	case overlap(book, best) < chart-1 || overlap(top, best) < chart-1:
		return errors.New("a sketch with a heap should list nearly the same songs")
	case plainOff < bookOff:
		return errors.New("the conservative update should be the better one")
	case bookMost > 0.02 || topMost > 0.02:
		return errors.New("counts on the board should be right to 2 %")
	case low > 0 || !within:
		return errors.New("a sketch never counts too little, and seldom more than ε too much")
	case bytes < 10*bookBytes:
		return errors.New("the map should be much larger than the sketch")
	}
	return nil
}

// ---- 3 --------------------------------------------------------------------------

// heaps counts comparisons.
func (s *story) heaps(context.Context) error {
	s.say("comparisons for a play: the board asks \"who is the weakest?\" at nearly every play, and \"who is the best?\" only when it is shown")
	for _, k := range []int{10, 100, 1000} {
		r, err := compareHeaps(s.all, k)
		if err != nil {
			return err
		}
		s.say("  the best %5s   min-heap %5.2f   max-heap %7.2f", num(k), r.least, r.greatest)
		if !r.same {
			return errors.New("both heaps must hold the same songs")
		}
		if r.least*2 > r.greatest {
			return errors.New("the min-heap should be much cheaper")
		}
	}
	every := newHeap(greater)
	for _, p := range s.all {
		if i, ok := every.place[p.ID]; ok {
			every.set(i, entry{p.ID, every.entries[i].Count + uint64(p.Count)})
		} else {
			every.push(entry{p.ID, uint64(p.Count)})
		}
	}
	perPlay := float64(every.compared) / float64(len(s.all))
	size := len(every.entries)
	every.compared = 0
	var list []entry
	for range chart {
		list = append(list, every.pop())
	}
	s.say("  a max-heap of all %s songs: %.2f for a play, %d to take the first ten off, and memory for every song", num(size), perPlay, every.compared)
	if !slices.Equal(list, exactly(s.exact, chart)) {
		return errors.New("a max-heap of all gives the first ten, in order")
	}
	return nil
}

// ---- 4 --------------------------------------------------------------------------

// byMinute shows the boards of minutes, beside what counting by arrival makes.
func (s *story) byMinute(context.Context) error {
	truth := &census{all: map[string]uint64{}, minutes: map[int64]map[string]uint64{}}
	arrived := map[int64]map[string]uint64{}
	wrong := 0
	for _, p := range s.all {
		truth.add(p.play)
		m := minute(p.arrives)
		if arrived[m] == nil {
			arrived[m] = map[string]uint64{}
		}
		arrived[m][p.ID] += uint64(p.Count)
		if m != minute(p.Date) {
			wrong++
		}
	}
	var naive, same, places int
	var naiveOff, sameOff float64
	var counted, late, again uint64
	shown := 0
	for i := range minutes {
		start := opening.Add(time.Duration(i) * time.Minute).UnixMilli()
		t, err := ofMinute(s.shards, start)
		if err != nil {
			return err
		}
		counted += t.Total()
		best := exactly(truth.minutes[start], chart)
		got := listed(t, chart)
		same += overlap(got, best)
		naive += overlap(exactly(arrived[start], chart), best)
		for _, e := range best {
			naiveOff = max(naiveOff, math.Abs(float64(arrived[start][e.ID])/float64(e.Count)-1))
			sameOff = max(sameOff, math.Abs(float64(t.Count(e.ID))/float64(e.Count)-1))
		}
		places += chart
		if shown < 3 && over(s.shards, start) {
			shown++
			s.say("  %s  %s", clock(start), podium(got, 3))
		}
	}
	for _, x := range s.shards {
		late += x.minutes.late
		again += x.minutes.again
	}
	all, err := mergeTops(s.shards)
	if err != nil {
		return err
	}
	s.say("  always %s", podium(listed(all, chart), 3))
	s.say("%s is cut off from %s on for %s: its plays come afterwards, and its watermark waits for them", regions[0], cutOff.Format(time.TimeOnly), cutFor)
	s.say("counted by when plays arrive: %s of %s plays are in a wrong minute, %d of %d places are right, counts off by up to %.0f %%", num(wrong), num(s.n), naive, places, 100*naiveOff)
	s.say("counted by when they happened, with a watermark %s behind and a minute of grace: %d of %d places, off by up to %.0f %%", bound, same, places, 100*sameOff)
	s.say("  %s counted in a minute, of these %s after its end; %s too late for theirs; together %s = all %s",
		num(counted), num(again), num(late), num(counted+late), num(truth.total))
	s.say("  a minute of one region takes %s bytes, its songs in a map %s", num(minuteBytes), num(sizeOfMap(within(s.sent[1], 5))))
	switch {
	case counted+late != truth.total:
		return errors.New("each play is in a minute or counted as late")
	case late == 0 || again == 0 || wrong == 0:
		return errors.New("some plays should be late")
	case same < places*8/10 || naive > same || naiveOff < 2*sameOff:
		return errors.New("the boards of minutes should be nearly right")
	}
	return nil
}

// ---- 5 --------------------------------------------------------------------------

// slowPath archives the raw plays and counts them exactly.
func (s *story) slowPath(ctx context.Context) error {
	store, err := blob.OpenDir(filepath.Join(s.dir, "archive"), nil)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := archivePlays(ctx, s.log, store); err != nil {
		return err
	}
	// As after a crash between files and offset: a region once more from the beginning.
	if err := s.log.Commit(ctx, groupArchive, map[stream.Partition]stream.Offset{partition(topicPlays, 0): {}}); err != nil {
		return err
	}
	if err := archivePlays(ctx, s.log, store); err != nil {
		return err
	}
	if s.census, err = takeCensus(ctx, store, archivePrefix); err != nil {
		return err
	}
	s.say("%s plays archived, %s of them twice as after a crash: %s plays in %s files, %.1f bytes each", num(s.n), num(len(s.sent[0])), num(s.census.plays), num(s.census.files), float64(s.census.size)/float64(s.census.plays))
	best := exactly(s.census.all, chart)
	book := askAgain(s.shards, candidates, chart)
	mean, most := off(book, s.census.all)
	s.say("since ever   the board of the consumers has %d of the %d songs of the batch, counts off by %.2f %%, at most %.2f %%", overlap(book, best), chart, 100*mean, 100*most)

	start := opening.Add(5 * time.Minute).UnixMilli()
	one, err := takeCensus(ctx, store, minutePrefix(start))
	if err != nil {
		return err
	}
	t, err := ofMinute(s.shards, start)
	if err != nil {
		return err
	}
	got, exact := listed(t, chart), exactly(one.all, chart)
	mean, most = off(got, one.all)
	s.say("%s        the board has %d of %d, counts off by %.2f %%, at most %.2f %%; the batch read %s of %s files", clock(start), overlap(got, exact), chart, 100*mean, 100*most, num(one.files), num(s.census.files))
	missing := int64(0)
	for m, counts := range s.census.minutes {
		t, err := ofMinute(s.shards, m)
		if err != nil {
			return err
		}
		for _, n := range counts {
			missing += int64(n)
		}
		missing -= int64(t.Total())
	}
	late := uint64(0)
	for _, x := range s.shards {
		late += x.minutes.late
	}
	s.say("the batch has %s counts in minutes that the boards do not have: the late ones, %s", num(missing), num(late))
	switch {
	case s.census.plays != s.n || !equalCounts(s.census.all, s.exact):
		return errors.New("the archive must have every play once")
	case overlap(book, best) < chart-1 || overlap(got, exact) < chart-2:
		return errors.New("the fast path should be nearly right")
	case missing != int64(late):
		return errors.New("fast and slow path differ by what came too late, and by nothing else")
	case one.files >= s.census.files:
		return errors.New("a minute should be a few of the files")
	}
	return nil
}

// ---- 6 --------------------------------------------------------------------------

// exactlyOnce kills the consumer, for each way to write down what it has done.
func (s *story) exactlyOnce(ctx context.Context) error {
	reference := ""
	s.say("%s counts in batches of %s plays; SIGKILL at each stop of the way:", num(s.census.total), num(s.batch))
	for _, way := range ways {
		o, err := s.killed(ctx, way.name, way.stops)
		if err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		if reference == "" {
			calm, _, err := s.calm(ctx, wayBeside)
			if err != nil {
				return err
			}
			reference = calm.digest
		}
		wrong := int64(o.total) - int64(s.census.total)
		verdict := "the same bytes as without a kill"
		switch {
		case wrong < 0:
			verdict = fmt.Sprintf("%s LOST", num(-wrong))
		case wrong > 0:
			verdict = fmt.Sprintf("%s counted TWICE", num(wrong))
		case o.digest != reference:
			verdict = "DIFFERENT from " + reference
		}
		s.say("  %-40s %d kills  %8s  SHA-256 %s…  %s", way.name, o.kills, num(o.total), o.digest, verdict)
		switch {
		case way.exact && (wrong != 0 || o.digest != reference):
			return fmt.Errorf("%s: not exactly once", way.name)
		case way.name == wayOffsetFirst && wrong >= 0, way.name == wayResultFirst && wrong <= 0:
			return fmt.Errorf("%s: it should have been wrong", way.name)
		case o.refused != way.refuse:
			return fmt.Errorf("%s: another consumer was refused %d times", way.name, o.refused)
		}
		if way.refuse > 0 {
			s.say("  %-40s after %d of %d kills the offset is in doubt: nobody but the coordinator may go on", "", o.refused, o.kills)
		}
		if way.name == wayKeyBeside {
			s.say("  %-40s %d batch came again and was not counted: its key was there", "", o.skipped)
			if o.skipped != 1 {
				return errors.New("the key should have caught one batch")
			}
		}
	}
	s.say("what a batch costs when nobody is killed:  requests to the log, waits for the log's disk, for the consumer's, all waits")
	var two, one float64
	for _, way := range ways {
		o, k, err := s.calm(ctx, way.name)
		if err != nil {
			return err
		}
		waits := fmt.Sprintf("%.1f", k.logWaits)
		if k.logWaits < 0 {
			waits = "–"
		}
		sum := max(0, k.logWaits) + k.storeWaits
		s.say("  %-40s %8.1f %8s %8.1f %8.1f   %7.2f ms", way.name, k.trips, waits, k.storeWaits, sum, float64(k.took.Microseconds())/1000/float64(k.batches))
		if o.total != s.census.total || o.digest != reference {
			return fmt.Errorf("%s: wrong though nothing happened", way.name)
		}
		switch way.name {
		case wayTwoPhase:
			two = k.trips + sum
		case wayBeside:
			one = k.trips + sum
		}
	}
	if one*3 > two {
		return errors.New("two-phase commit should cost several times as much")
	}
	s.last = append(s.last, "lost = 0", "counted twice = 0")
	return nil
}

// ---- 7 --------------------------------------------------------------------------

// merging makes one board of those of four consumers.
func (s *story) merging(context.Context) error {
	best := exactly(s.exact, chart)
	var lists [][]entry
	for _, list := range s.sent {
		counts := map[string]uint64{}
		for _, p := range list {
			counts[p.ID] += uint64(p.Count)
		}
		lists = append(lists, exactly(counts, chart))
	}
	naive := addLists(lists, chart)
	_, most := off(naive, s.exact)
	s.say("  lists of 10, exact ones, added up              %2d of %d  counts off by up to %.0f %%", overlap(naive, best), chart, 100*most)
	for _, e := range best {
		if overlap([]entry{e}, naive) > 0 {
			continue
		}
		on := 0
		for _, list := range lists {
			on += overlap([]entry{e}, list)
		}
		s.say("      missing is %s, %s plays, %s of all: it is on %d of the %d lists", title(e.ID), num(e.Count), ordinal(best, e.ID), on, len(lists))
		break
	}
	few := askAgain(s.shards, chart, chart)
	_, fewMost := off(few, s.exact)
	s.say("  lists of 10, and every sketch asked again      %2d of %d  counts off by up to %.2f %%", overlap(few, best), chart, 100*fewMost)
	full := askAgain(s.shards, candidates, chart)
	_, fullMost := off(full, s.exact)
	hidden, last := unlisted(s.shards, candidates), full[chart-1].Count
	certain := "nothing is missing"
	if hidden > last {
		certain = "something may be missing"
	}
	s.say("  lists of %d, and every sketch asked again     %2d of %d  counts off by up to %.2f %%; what is on no list has at most %s, the tenth %s: %s",
		candidates, overlap(full, best), chart, 100*fullMost, num(hidden), num(last), certain)
	top, err := mergeTops(s.shards)
	if err != nil {
		return err
	}
	merged := listed(top, chart)
	_, topMost := off(merged, s.exact)
	s.say("  cms.TopK merged                                %2d of %d  counts off by up to %.2f %%", overlap(merged, best), chart, 100*topMost)
	const counters = 1024
	heavy, err := mergeHeavy(s.sent, counters)
	if err != nil {
		return err
	}
	sure := 0
	for _, e := range best {
		lo, hi := heavy.Count(e.ID)
		if lo <= e.Count && e.Count <= hi && lo > 0 {
			sure++
		}
	}
	s.say("  cms.Heavy of %s counters merged             %2d of %d  with bounds for certain, %s wide", num(counters), sure, chart, num(heavy.Error()))
	sum, err := mergeSketches(s.shards)
	if err != nil {
		return err
	}
	var apart, together uint64
	above := true
	for id, n := range s.exact {
		a, m := countAll(s.shards, id), sum.CountString(id)
		above = above && n <= a && a <= m
		apart += a - n
		together += m - n
	}
	s.say("each sketch asked and the answers added is %.1f too high on average, the sketches added and asked once %.1f", float64(apart)/float64(len(s.exact)), float64(together)/float64(len(s.exact)))
	lists, skew := byItem(s.sent, chart)
	cut := addLists(lists, chart)
	s.say("partitions by song instead of by region: lists of 10 are enough, %d of %d; the fullest has %.2f times the average, since a song cannot be divided", overlap(cut, best), chart, skew)
	switch {
	case overlap(naive, best) == chart && most < 0.01:
		return errors.New("lists alone should lose something")
	case overlap(full, best) < chart-1 || overlap(merged, best) < chart-1 || sure != chart:
		return errors.New("a merged board should be as good as one")
	case hidden > last:
		return errors.New("the lists are too short to be sure")
	case !above:
		return errors.New("count ≤ sum of answers ≤ answer of the sum")
	case !slices.Equal(cut, best):
		return errors.New("lists of exact counts by song are exact")
	}
	s.last = append(s.last, fmt.Sprintf("merged = %d of %d", overlap(full, best), chart))
	return nil
}

// ---- 8 --------------------------------------------------------------------------

// capacity estimates who needs what.
func (s *story) capacity(context.Context) error {
	perSong := sizeOfMap(s.all) / len(s.exact)
	if s.inLog > 0 {
		s.say("a play is %.1f bytes in the log here, %.0f for the estimate", s.inLog, bytesInLog)
	}
	s.say("a song in a map is %d bytes here, %d for the estimate; a consumer counts %s plays/s here, %s for the estimate", perSong, bytesPerSong, num(int(speed(s.all))), num(int(perConsumer)))
	s.say("  %-26s %13s %5s %9s %13s %8s %8s %13s %9s", "", "users", "a day", "at peak", "items", "map", "sketch", "log of a week", "consumers")
	for _, l := range loads {
		e := l.estimate()
		s.say("  %-26s %13s %5.0f %7s/s %13s %8s %8s %13s %9d", l.name, num(uint64(l.users)), l.each, num(int(e.rate)), num(uint64(l.items)), size(e.exact), size(e.sketch), size(e.log), e.consumers)
		s.say("  %-26s %s", "", e.verdict)
	}
	s.say("one process with a map is enough below %s million distinct items and %s/s; this run has %s items", num(uint64(enough()/1e6)), num(int(perConsumer)), num(len(s.exact)))
	if perSong > bytesPerSong || s.inLog > bytesInLog {
		return errors.New("a song or a play is larger than the estimate says")
	}
	if float64(len(s.exact)) > enough() || loads[0].estimate().verdict != verdictMap || loads[len(loads)-1].estimate().verdict != verdictSketch {
		return errors.New("the estimate should tell small from large")
	}
	return nil
}
