// Typeahead shows how suggestions follow each key in a fraction of a microsecond, and how
// they learn what people search for without making anybody wait.
//
// Lists of the best terms are cached at the nodes of a trie, which is built in batch from
// an archive of clicks and published by a swap. It is divided into small ranges of terms
// on several nodes, each a real process, and each client keeps one connection to the node
// that has what it types:
//
//	client ── keys, one connection ──► node 1 │ a…  ha…  sh… │ router
//	  │                                node 2 │ co… n…   the │ router    images, swapped in one step
//	  │                                node 3 │ ee… of…  we… │ router
//	  │ clicks                            ▲
//	  ▼                                   │ partitions that have changed
//	log ──► windows: counts a minute      │
//	  └───► archive, click by click ──► batch
//
// Run it with "go run ./examples/typeahead". Read run from top to bottom; the parts are in
// the files named after them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/trie"
)

// k is how many suggestions there are for each prefix.
const k = 10

func main() {
	child.Main(roles)
	var c config
	flag.IntVar(&c.n, "n", 0, "how many `phrases` take part, 4,000 or more; 0 means all that there are")
	flag.StringVar(&c.phrases, "phrases", "", "take the phrases from this gzipped `file` of lines \"weight<TAB>phrase\", the heaviest first, instead of the 40,000 that are shipped")
	serve := flag.String("serve", "", "serve a live page on this `address`, e.g. :8080")
	flag.StringVar(&c.log, "log", "", "keep the clicks in the log at this `URL`, kafka://HOST:PORT or nats://HOST:PORT, instead of a directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case c.n < 0 || c.n > 0 && c.n < 4000 || flag.NArg() > 0:
		flag.Usage()
		os.Exit(2)
	case *serve != "":
		err = servePage(ctx, *serve, c, os.Stdout)
	default:
		err = run(ctx, os.Stdout, c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "typeahead:", err)
		os.Exit(1)
	}
}

type config struct {
	n            int
	phrases, log string
}

// A story is what the parts of the run share.
type story struct {
	w       io.Writer
	dir     string
	list    []phrase
	image   *trie.Image
	log     stream.Transactor
	store   *blob.Dir
	clicks  []click
	trend   string // what nobody searched for until the sixth minute
	fleet   *fleet
	parts   *trie.Partitioned
	clock   time.Time // of Balance
	reached []string  // what the end says again

	mu     sync.Mutex
	images map[int]*trie.Image // by generation, to check answers against
}

func newStory(ctx context.Context, w io.Writer, c config) (s *story, err error) {
	s = &story{w: w, trend: "total eclipse today", images: map[int]*trie.Image{}, clock: began}
	if s.list, err = loadPhrases(c.phrases, c.n); err != nil {
		return nil, err
	}
	if len(s.list) < 4000 {
		return nil, fmt.Errorf("%d phrases are too few", len(s.list))
	}
	if s.image, err = imageOf(s.list); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "typeahead"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.log, err = openLog(ctx, c.log, filepath.Join(s.dir, "log")); err != nil {
		return s, err
	}
	if s.store, err = blob.OpenDir(filepath.Join(s.dir, "archive"), nil); err != nil {
		return s, err
	}
	if err = s.log.CreateTopic(ctx, topicClicks, &stream.TopicOptions{Partitions: partitions}); err != nil {
		return s, err
	}
	if s.parts, err = trie.NewPartitioned(s.image, &trie.PartitionOptions{Terms: max(100, len(s.list)/40), Hot: 2, Copies: nodes}); err != nil {
		return s, err
	}
	s.fleet, err = startFleet()
	return s, err
}

func (s *story) close() {
	if s.fleet != nil {
		s.fleet.stop()
	}
	if s.store != nil {
		s.store.Close()
	}
	if s.log != nil {
		s.log.Close()
	}
	os.RemoveAll(s.dir)
}

func run(ctx context.Context, w io.Writer, c config) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	s, err := newStory(ctx, w, c)
	if err != nil {
		return err
	}
	defer s.close()
	for i, part := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"What is suggested", s.suggestions},
		{"Every prefix in a map: the formula, and what it takes", s.memory},
		{"A key", s.keystroke},
		{"A click: the trie that is changed in place, and the batch", s.writing},
		{"Clicks: log, archive, windows", s.pipeline},
		{"Nodes, and one connection for each client", s.connections},
		{"The batch under load: three swaps", s.swaps},
		{"Everybody types the same", s.skew},
		{"Wrong keys, and what is one's own", s.personal},
	} {
		if i > 0 {
			s.say("")
		}
		s.say("== %d. %s", i+1, part.title)
		if err := part.tell(ctx); err != nil {
			return err
		}
	}
	s.say("\n%s", strings.Join(s.reached, ", "))
	return nil
}

func (s *story) say(format string, a ...any) { fmt.Fprintf(s.w, format+"\n", a...) }

// ---- 1 --------------------------------------------------------------------------

// suggestions shows words and full queries, key by key, and checks them against the
// phrases themselves.
func (s *story) suggestions(context.Context) error {
	words := 0
	for _, p := range s.list {
		if !strings.Contains(p.term, " ") {
			words++
		}
	}
	s.say("%s phrases: %s single words and %s queries of two words", num(len(s.list)), num(words), num(len(s.list)-words))
	c := s.image.Cursor()
	typed := ""
	for _, key := range "ap" {
		typed += string(key)
		c.StepString(string(key))
		s.say("  %-6s %6s terms; best: %s", quote(typed), num(c.Len()), s.names(c.Top(nil), 5))
	}
	c.Reset()
	c.StepString("how ")
	s.say("  %-6s %6s terms; best: %s", quote("how "), num(c.Len()), s.names(c.Top(nil), 5))

	// The slow, obvious answer is the same.
	asked := 0
	for i := 0; i < len(s.list); i += len(s.list)/50 + 1 {
		term := s.list[i].term
		for n := range min(4, len(term)) + 1 {
			asked++
			if got, want := s.image.Complete(nil, term[:n], k), scan(s.list, term[:n]); !slices.Equal(texts(got), want) {
				return fmt.Errorf("%q: %v, want %v", term[:n], texts(got), want)
			}
		}
	}
	s.say("%d prefixes looked up and searched for in the whole list: the same %d each time", asked, k)
	return nil
}

func quote(s string) string { return "“" + s + "”" }

func (s *story) names(hits []trie.Hit, n int) string {
	var out []string
	for _, h := range hits[:min(n, len(hits))] {
		out = append(out, s.image.Term(h))
	}
	return strings.Join(out, ", ")
}

// ---- 2 --------------------------------------------------------------------------

// memory caches all prefixes, at three sizes.
func (s *story) memory(context.Context) error {
	s.say("N terms of w letters have at most N·w prefixes; each with a list of %d terms and their counts takes", k)
	s.say("  N · w · (p + %d·(w + 8)) bytes, where p, the mean length of a prefix, is about w/2: an upper bound, since terms share prefixes", k)
	s.say("  %9s %6s %12s %12s %14s %14s %14s %12s", "terms N", "w", "formula KB", "prefixes", "exactly KB", "of numbers KB", "trie KB", "map / trie")
	var last sizes
	for _, n := range []int{len(s.list) / 100, len(s.list) / 10, len(s.list)} {
		z, err := measure(s.list[:n])
		if err != nil {
			return err
		}
		s.say("  %9s %6.1f %12s %12s %14s %14s %14s %11.0fx", num(n), z.length, kilo(z.formula), num(z.prefixes), kilo(z.exact), kilo(z.mapped), kilo(z.trie), float64(z.mapped)/float64(z.trie))
		switch {
		case z.exact > z.formula:
			return errors.New("the formula should be an upper bound")
		case n >= 100 && z.mapped < 5*z.trie:
			return errors.New("the trie should be much smaller than a map of all prefixes")
		}
		last = z
	}
	s.say("a tenfold vocabulary takes nearly ten times the trie, %.1f bytes a term with lists and counts: linear, not logarithmic; what is logarithmic is the depth", float64(last.trie)/float64(len(s.list)))
	s.reached = append(s.reached, fmt.Sprintf("bytes a term = %.1f", float64(last.trie)/float64(len(s.list))), fmt.Sprintf("map / trie = %.0fx", float64(last.mapped)/float64(last.trie)))
	return nil
}

// ---- 3 --------------------------------------------------------------------------

// keystroke times one more letter.
func (s *story) keystroke(context.Context) error {
	s.say("one more letter, and the numbers of the %d best, in ns:", k)
	s.say("  %-16s %8s %14s %20s %16s", "letters typed", "trie", "map of all", "sorted list, heap", "terms it reads")
	var first float64
	for _, n := range []int{1, 2, 3, 5, 8} {
		t, err := strokes(s.image, s.list, n)
		if err != nil {
			return err
		}
		s.say("  %-16d %8.0f %14.0f %20s %16s", n, t.cursor, t.mapped, num(int(t.scan)), num(int(t.scanned)))
		if t.allocs != 0 {
			return fmt.Errorf("a key allocates: %v", t.allocs)
		}
		if n == 1 {
			if first = t.cursor; t.scanned < 10*k {
				return errors.New("without lists many terms should be read for the first letter")
			}
		}
	}
	s.say("  a key takes no memory: 0 allocations")
	s.reached = append(s.reached, fmt.Sprintf("ns per keystroke = %.0f", first))
	return nil
}

// ---- 4 --------------------------------------------------------------------------

// writing counts clicks in the trie itself, and in a batch.
func (s *story) writing(context.Context) error {
	list := s.list[:min(len(s.list), 10_000)]
	wr, err := compareWriting(list, 50_000)
	if err != nil {
		return err
	}
	s.say("%s phrases; %s clicks, then the lists of both are the same: %v", num(len(list)), num(wr.clicks), wr.same)
	s.say("  %-26s %11s %9s %12s %17s %25s", "", "locks each", "ns each", "it takes", "reads a second", "while clicks are counted")
	for _, r := range []struct {
		name  string
		locks float64
		rates
	}{{"changed in place, locks", wr.locks, wr.textbook}, {"appended, built, swapped", 0, wr.batch}} {
		s.say("  %-26s %11.1f %9.0f %9.0f ms %17s %25s", r.name, r.locks, r.click, r.click*float64(wr.clicks)/1e6, num(r.idle), num(r.busy))
	}
	s.say("a click in place changes the list of every node above it: a word of 8 letters is 9 of them, the root always")
	switch {
	case !wr.same:
		return errors.New("both should suggest the same in the end")
	case wr.locks < 8:
		return errors.New("a click should touch all nodes above it")
	}
	return nil
}

// ---- 5 --------------------------------------------------------------------------

// pipeline sends clicks to the log, and from there to the archive and into windows.
func (s *story) pipeline(ctx context.Context) error {
	s.clicks = makeClicks(s.list, s.trend, min(len(s.list)*3/2, 100_000))
	start := time.Now()
	if err := send(ctx, s.log, s.clicks); err != nil {
		return err
	}
	s.say("%s clicks of %d minutes go to the log, %d partitions by term: %v", num(len(s.clicks)), minutes, partitions, since(start))
	start = time.Now()
	objects, err := archive(ctx, s.log, s.store)
	if err != nil {
		return err
	}
	byBatch, archived := map[spot]int64{}, 0
	size, err := readArchive(ctx, s.store, func(c click) {
		byBatch[spot{c.Term, c.At.Unix() / 60}]++
		archived++
	})
	if err != nil {
		return err
	}
	s.say("  archived, click by click:    %s in %d objects, %.1f bytes each: %v", num(archived), objects, float64(size)/float64(max(1, archived)), since(start))
	if again, err := archive(ctx, s.log, s.store); err != nil || again != 0 {
		return fmt.Errorf("nothing is new, but %d objects were written, %v", again, err)
	}
	start = time.Now()
	byStream, err := countWindows(ctx, s.log)
	if err != nil {
		return err
	}
	counted, differ := int64(0), 0
	for at, n := range byStream {
		counted += n
		if byBatch[at] != n {
			differ++
		}
	}
	s.say("  counted by term and minute:  %s in %s windows: %v", num(int(counted)), num(len(byStream)), since(start))
	s.say("  windows in which stream and archive differ: %d", differ+len(byBatch)-len(byStream))
	var trend []string
	first := began.Unix() / 60
	for m := range int64(minutes) {
		trend = append(trend, num(int(byStream[spot{s.trend, first + m}])))
	}
	s.say("“%s” by minute: %s", s.trend, strings.Join(trend, " "))
	_, known := s.image.Lookup(s.trend)
	s.say("it is suggested now: %v; a count alone makes no suggestion, the next build does", known)
	switch {
	case archived != len(s.clicks) || int(counted) != len(s.clicks) || differ > 0 || len(byBatch) != len(byStream):
		return errors.New("log, archive and windows should count the same clicks")
	case known || trend[0] != "0" || trend[minutes-1] == "0":
		return errors.New("the trend should be new")
	}
	return nil
}

func since(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }

// ---- 6 --------------------------------------------------------------------------

// connections lets clients type over sockets.
func (s *story) connections(context.Context) error {
	if err := s.publish(s.image); err != nil {
		return err
	}
	router, _ := s.parts.Router()
	parts := s.parts.Partitions()
	s.say("%d partitions of up to %s terms in %d processes; a router of %s terms in each, for prefixes over several partitions", len(parts), num(s.limit()), nodes, num(router.Len()))
	s.say("  %-36s %8s %12s %14s %16s", "", "keys", "connections", "sent elsewhere", "µs for a key")
	var kept, each typed
	for _, keep := range []bool{false, true} {
		t, err := s.type300(keep)
		if err != nil {
			return err
		}
		name := "a connection for each key"
		if keep {
			name, kept = "one connection, kept open", t
		} else {
			each = t
		}
		s.say("  %-36s %8s %12s %14s %16.1f", name, num(t.keys), num(t.dialed), num(t.moved), micros(t.took, t.keys))
	}
	s.say("%s letters of %s searches were typed, %.0f %% of what they have: the rest was suggested", num(kept.keys), num(kept.searches), 100*float64(kept.keys)/float64(kept.letters))
	switch {
	case kept.wrong+each.wrong > 0:
		return errors.New("each answer should be that of one image")
	case each.dialed < each.keys || kept.dialed > kept.moved+1 || kept.dialed >= kept.keys/2:
		return errors.New("one connection should do until the search is in another node's partition")
	}
	return nil
}

func (s *story) limit() int {
	most := 0
	for _, p := range s.parts.Partitions() {
		most = max(most, p.Image.Len())
	}
	return most
}

// publish brings the nodes up to date and remembers what they should say.
func (s *story) publish(image *trie.Image) error {
	s.mu.Lock()
	s.images[s.fleet.generation+1] = image // before anybody can answer from it
	s.mu.Unlock()
	return s.fleet.publish(s.parts)
}

// ---- 7 --------------------------------------------------------------------------

// swaps rebuilds from the archive while clients type.
func (s *story) swaps(ctx context.Context) error {
	r, err := s.rebuildUnderLoad(ctx)
	if err != nil {
		return err
	}
	s.say("%d clients type all the time; answers are checked against the image whose number they bear", typists)
	s.say("  %-26s %12s %10s %10s %12s %14s", "batch with clicks until", "clicks", "built in", "rebuilt", "kept", "sent to nodes")
	for _, b := range r.batches {
		s.say("  %-26s %12s %7d ms %10d %12d %11d KB", b.until.Format("15:04"), num(b.clicks), b.took.Milliseconds(), b.rebuilt, b.kept, b.sent/1024)
	}
	s.say("a minute later five more clicks of one term, as an update: %d rebuilt, %d kept, %d KB sent", r.small.rebuilt, r.small.kept, r.small.sent/1024)
	s.say("  %-26s %12s %10s %10s %12s", "", "reads", "failed", "wrong", "p99")
	s.say("  %-26s %12s %10d %10d %9d µs", "before", num(r.idle.reads), r.idle.failed, r.idle.wrong, r.idle.p99.Microseconds())
	s.say("  %-26s %12s %10d %10d %9d µs", "during batch and swaps", num(r.busy.reads), r.busy.failed, r.busy.wrong, r.busy.p99.Microseconds())
	s.say("“to” was %s", strings.Join(r.before, ", "))
	s.say("“to” is  %s", strings.Join(r.after, ", "))
	switch {
	case r.idle.failed+r.idle.wrong+r.busy.failed+r.busy.wrong > 0:
		return errors.New("no read may fail, or mix two images")
	case r.generations < 3:
		return errors.New("clients should have seen several generations")
	case r.small.rebuilt != 1 || r.small.kept == 0:
		return errors.New("one term should rebuild one partition")
	case slices.Contains(r.before, s.trend) || !slices.Contains(r.after, s.trend):
		return fmt.Errorf("“%s” should have become a suggestion: %v", s.trend, r.after)
	}
	s.reached = append(s.reached, fmt.Sprintf("failed reads = %d", r.busy.failed), fmt.Sprintf("wrong reads = %d", r.busy.wrong))
	return nil
}

// ---- 8 --------------------------------------------------------------------------

// skew makes some partitions hot, and lets them be split and copied.
func (s *story) skew(context.Context) error {
	for i, c := range []struct {
		name string
		list []phrase
	}{
		{"a few hundred phrases that begin alike", neighbours(s.parts)},
		{"one phrase", []phrase{s.stubborn()}},
	} {
		r, err := s.balance(c.list)
		if err != nil {
			return err
		}
		s.say("%d %% of all searches are for %s, such as “%s”:", hotShare, c.name, c.list[0].term)
		s.say("  %-30s %12s %16s %18s %26s", "", "partitions", "with copies", "hottest / mean", "asked by node")
		s.say("  %-30s %12d %16d %18.1f %26s", "before", r.before.parts, r.before.copied, r.before.ratio, shares(r.before.nodes))
		s.say("  %-30s %12d %16d %18.1f %26s", fmt.Sprintf("after %d balances", balances), r.after.parts, r.after.copied, r.after.ratio, shares(r.after.nodes))
		if i == 0 {
			s.say("  %-30s %12d %16d %18.1f %26s", "one for each first letter", r.letters.parts, 0, r.letters.ratio, shares(r.letters.nodes))
		}
		switch {
		case r.wrong > 0:
			return errors.New("answers must stay right")
		case r.after.ratio >= r.before.ratio:
			return errors.New("the hottest partition should have cooled down")
		case i == 0 && r.after.parts <= r.before.parts:
			return errors.New("the hot range should have been split")
		case i == 1 && r.after.copied == 0:
			return errors.New("what all ask for should have been copied")
		case fullest(r.after.nodes) >= fullest(r.before.nodes):
			return errors.New("the fullest node should have less to do")
		}
		s.reached = append(s.reached, fmt.Sprintf("fullest node = %.0f %% → %.0f %%", 100*fullest(r.before.nodes), 100*fullest(r.after.nodes)))
	}
	return nil
}

// ---- 9 --------------------------------------------------------------------------

// personal shows what goes beyond prefixes that everybody shares.
func (s *story) personal(context.Context) error {
	image := s.images[s.fleet.generation]
	for _, typed := range []string{"becuase", "tomorow", "poeple"} {
		exact := image.Complete(nil, typed, 3)
		start := time.Now()
		found, err := image.Fuzzy(nil, typed, 1, 3)
		if err != nil {
			return err
		}
		s.say("  %-12s as typed: %d suggestions; with one edit: %s; %d µs", quote(typed), len(exact), strings.Join(texts(found), ", "), time.Since(start).Microseconds())
		if len(exact) != 0 || len(found) == 0 {
			return errors.New("a letter that is wrong should be forgiven")
		}
	}
	b := trie.NewBuilder(nil)
	b.Add("tomato soup", 1<<40)
	b.Add("to the moon", 1<<39)
	own, err := b.Build()
	if err != nil {
		return err
	}
	all := image.Complete(nil, "to", k)
	merged := trie.Merge(nil, own.Complete(nil, "to", k), all, 4)
	s.say("  “to” for somebody with terms of his own (%d bytes): %s", len(own.Bytes()), strings.Join(texts(merged), ", "))
	if want := append([]string{"tomato soup", "to the moon"}, texts(all[:2])...); !slices.Equal(texts(merged), want) {
		return fmt.Errorf("own terms should come first: %v", texts(merged))
	}
	return nil
}

// ---- numbers --------------------------------------------------------------------

func texts(list []trie.Suggestion) (out []string) {
	for _, s := range list {
		out = append(out, s.Term)
	}
	return out
}

// num writes a number with separators.
func num(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func kilo(n int64) string { return num(int((n + 500) / 1000)) }

func micros(d time.Duration, n int) float64 {
	return float64(d.Nanoseconds()) / 1000 / float64(max(1, n))
}

// shares writes what each has of the whole.
func shares(list []uint64) string {
	var out []string
	for _, n := range list {
		out = append(out, fmt.Sprintf("%.0f %%", 100*float64(n)/float64(max(1, sum(list)))))
	}
	return strings.Join(out, "  ")
}

func sum(list []uint64) (n uint64) {
	for _, x := range list {
		n += x
	}
	return n
}

func fullest(list []uint64) float64 {
	return float64(slices.Max(list)) / float64(max(1, sum(list)))
}
