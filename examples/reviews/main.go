// Reviews shows how a page like Yelp's knows what is near, and how it is rated.
//
// A generated city has businesses, and people who review them for a week:
//
//	businesses, sorted by geohash ─► cover of a circle ─► ranges ─► near me
//	words ─► trie, postings ────────────────┘ which first?
//
//	POST review ─► log ─┬─► aggregator: ratings, last words and offset in one step
//	                    ├─► consumer that adds up: drifts
//	                    └─► archive by hour ─► batch at 3 o'clock: exact, and a day late
//
// It asks what a question about a place reads, in which order place and words are best
// asked, what a rating beside the business saves, how far four ways to keep that rating
// drift from the truth, and why data is cut into partitions while there is little of it.
//
// Run it with "go run ./examples/reviews". Read run from top to bottom; the parts are in
// the files named after them.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/stream"
)

// usual is how many reviews are written.
const usual = 60_000

func main() {
	n := flag.Int("n", usual, "how many `reviews` are written in the week, 10,000 to 2,000,000")
	serve := flag.String("serve", "", "serve a live page on this `address`, e.g. :8080")
	svg := flag.String("svg", "", "draw the drift to this `file`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *n < 10_000 || *n > 2_000_000 || flag.NArg() > 0:
		flag.Usage()
		os.Exit(2)
	case *serve != "":
		err = servePage(ctx, *serve, *n, os.Stdout)
	default:
		err = run(ctx, os.Stdout, *n, *svg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "reviews:", err)
		os.Exit(1)
	}
}

// A story is what the parts of the run share.
type story struct {
	w       io.Writer
	dir     string
	svg     string
	city    []business
	byCell  *table
	spots   []spot
	reviews []review
	truth   *ledger
}

func run(ctx context.Context, w io.Writer, n int, svg string) error {
	dir, err := os.MkdirTemp("", "reviews")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &story{w: w, dir: dir, svg: svg, city: generateCity(n / 5), truth: newLedger()}
	s.reviews = generateReviews(s.city, n, 0)
	s.byCell = newTable(s.city, byCell)
	r := rand.New(rand.NewPCG(5, 5))
	for range 1000 {
		b := &s.city[r.IntN(len(s.city))] // people are where businesses are
		s.spots = append(s.spots, spot{b.lat + r.NormFloat64()*0.001, b.lon + r.NormFloat64()*0.001, 500})
	}
	for i, part := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"A city and a week", s.begin},
		{"What is near?", s.near},
		{"Near, and called so", s.text},
		{"A rating beside each business", s.beside},
		{"By stream, and by night", s.drifts},
		{"Cut it while it is small", s.cut},
	} {
		if i > 0 {
			s.say("")
		}
		s.say("== %d. %s", i+1, part.title)
		if err := part.tell(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.w, format+"\n", args...) }

// check returns an error unless a claim holds.
func check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("this should hold: "+format, args...)
}

// ---- 1 --------------------------------------------------------------------------

func (s *story) begin(context.Context) error {
	first, withdrawn := map[[2]int32]bool{}, 0
	for _, v := range s.reviews {
		s.truth.add(v)
		first[[2]int32{v.User, int32(v.Business)}] = true
		if v.Stars == 0 {
			withdrawn++
		}
	}
	rated := 0
	for _, r := range s.truth.ratings {
		if r.Count > 0 {
			rated++
		}
	}
	s.say("%s businesses around 45° north, 0° east, where cells of every size end; %s reviews in a week, of these %s second thoughts, %s withdrawn",
		num(len(s.city)), num(len(s.reviews)), num(len(s.reviews)-len(first)-withdrawn), num(withdrawn))
	a, b := &s.city[0], &s.city[0]
	best := math.Inf(1)
	for i := range s.city { // the nearest two on both sides of the parallel
		for _, j := range ninePrefixes(s.byCell, spot{s.city[i].lat, s.city[i].lon, 200}) {
			x, y := &s.city[i], &s.city[j]
			if d := geohash.Distance(x.lat, x.lon, y.lat, y.lon); x.lat < centreLat && y.lat >= centreLat && d < best {
				a, b, best = x, y, d
			}
		}
		if i > 2000 {
			break
		}
	}
	textA, textB := a.cell.String(), b.cell.String()
	same := 0
	for textA[same] == textB[same] {
		same++
	}
	s.say("%s (%s) and %s (%s) are %.0f m apart, and their geohashes share %d letters", a.name, textA[:6], b.name, textB[:6], best, same)
	return check(best < 200 && same < 4 && rated > len(s.city)/10, "neighbours across the parallel, and ratings")
}

// ---- 2 --------------------------------------------------------------------------

func (s *story) near(context.Context) error {
	byLatitude := newTable(s.city, byLat)
	type result struct {
		name    string
		t       *table
		find    func(*table, spot) []businessID
		read    int
		near    int
		missing int // questions
		took    time.Duration
	}
	results := []*result{
		{name: "read all", t: s.byCell, find: everything},
		{name: "index on latitude", t: byLatitude, find: latitude},
		{name: "one cell of 6 letters", t: s.byCell, find: onePrefix},
		{name: "nine cells", t: s.byCell, find: ninePrefixes},
		{name: "cover of 16 cells", t: s.byCell, find: covered},
	}
	found := 0
	for _, q := range s.spots {
		var want []businessID
		for i, r := range results {
			r.t.read = 0
			began := time.Now()
			got := r.find(r.t, q)
			r.took += time.Since(began)
			r.read, r.near = r.read+r.t.read, r.near+len(got)
			if i == 0 {
				want = got
				found += len(got)
			} else if !slices.Equal(got, want) {
				r.missing++
			}
		}
	}
	n := float64(len(s.spots))
	s.say("1,000 people ask for what is within 500 m, %.0f places on average; rows are in the order of a column", float64(found)/n)
	s.say("                          rows read   of them near   wrong answers        µs")
	for _, r := range results {
		s.say("  %-22s %10.0f   %10.0f %%   %13s %9.1f", r.name, float64(r.read)/n, 100*float64(r.near)/float64(r.read), num(r.missing), float64(r.took.Microseconds())/n)
	}
	index := geohash.NewIndex[businessID](nil)
	for i := range s.city {
		if err := index.Put(s.city[i].id, s.city[i].lat, s.city[i].lon); err != nil {
			return err
		}
	}
	var hits []geohash.Found[businessID]
	wrong := 0
	began := time.Now()
	for _, q := range s.spots {
		var err error
		if hits, err = index.Radius(hits[:0], q.lat, q.lon, q.metres, nil); err != nil {
			return err
		}
	}
	took := time.Since(began)
	for _, q := range s.spots {
		hits, _ = index.Radius(hits[:0], q.lat, q.lon, q.metres, nil)
		var ids []businessID
		for _, h := range hits {
			ids = append(ids, h.Key)
		}
		if !slices.Equal(sorted(ids), everything(s.byCell, q)) {
			wrong++
		}
	}
	s.say("  %-22s %10s   %12s   %13s %9.1f", "geohash.Index, memory", "–", "–", num(wrong), float64(took.Microseconds())/n)
	plan := s.spots[0]
	cells, err := geohash.CoverCircle(nil, plan.lat, plan.lon, plan.metres, 16)
	if err != nil {
		return err
	}
	var parts []string
	for _, r := range geohash.AppendRanges(nil, cells) {
		rows := 0
		s.byCell.scanRange(r, func(*business) { rows++ })
		parts = append(parts, fmt.Sprintf("%s…%s %d", r.First.String()[:8], r.Last.String()[:8], rows))
	}
	s.say("the plan of the first: %d cells in %d ranges of rows: %s", len(cells), len(parts), strings.Join(parts, ", "))
	one, nine, cover := results[2], results[3], results[4]
	return check(one.missing > 0 && nine.missing == 0 && cover.missing == 0 && results[1].missing == 0 && wrong == 0 &&
		cover.read < nine.read && nine.read < results[1].read, "only the single cell misses places, and the cover reads least")
}

// ---- 3 --------------------------------------------------------------------------

func (s *story) text(context.Context) error {
	w, err := newWords(s.city, s.byCell)
	if err != nil {
		return err
	}
	s.say("%s words of names and kinds, with the list of their businesses; what is typed is completed by a trie of %s bytes", num(len(w.postings)), num(len(w.image.Bytes())))
	var typed []string
	for _, prefix := range []string{"piz", "ra", "boo"} {
		var best []string
		for _, h := range w.image.Complete(nil, prefix, 3) {
			best = append(best, fmt.Sprintf("%s %d", h.Term, h.Weight))
		}
		typed = append(typed, fmt.Sprintf("%q: %s", prefix, strings.Join(best, ", ")))
	}
	s.say("  %s", strings.Join(typed, " · "))
	here := spot{centreLat, centreLon, 500}
	s.say("                            %12s  %12s   near", textFirst, placeFirst)
	chosen := map[string]int{}
	for _, q := range []struct {
		word   string
		metres float64
	}{{"ramen", 500}, {"ramen", 5000}, {"cafe", 300}, {"cafe", 3000}, {"lantern", 2000}} {
		here.metres = q.metres
		plans := w.plans(q.word, here)
		read := map[string]int{}
		var answers [][]businessID
		for _, p := range plans {
			found, n := w.find(p, q.word, here)
			answers = append(answers, found)
			read[p.name] = n
		}
		if err := check(slices.Equal(answers[0], answers[1]), "both plans give the same"); err != nil {
			return err
		}
		if err := check(read[plans[0].name] <= read[plans[1].name], "the plan that seems cheaper is: %v, read %v", plans, read); err != nil {
			return err
		}
		chosen[plans[0].name]++
		s.say("  %-9s within %5.0f m    %12s  %12s   %4d   chosen: %s", q.word, q.metres, num(read[textFirst])+" rows", num(read[placeFirst])+" rows", len(answers[0]), plans[0].name)
	}
	return check(len(chosen) == 2, "each plan is the better one sometimes")
}

// ---- 4 --------------------------------------------------------------------------

func (s *story) beside(context.Context) error {
	// The reviews as a table of their own, by business.
	of := map[businessID][]review{}
	for _, v := range s.reviews {
		of[v.Business] = append(of[v.Business], v)
	}
	joined, lists := 0, 0
	began := time.Now()
	for _, q := range s.spots[:200] {
		for _, id := range first(covered(s.byCell, q), 20) {
			l := newLedger()
			for _, v := range of[id] {
				l.add(v)
			}
			joined += len(of[id])
			if err := check(l.ratings[id] == s.truth.ratings[id], "the join and the rating of business %d agree", id); err != nil {
				return err
			}
		}
		lists++
	}
	tookJoin := time.Since(began)
	rows := 0
	began = time.Now()
	sum := 0.0
	for _, q := range s.spots[:200] {
		for _, id := range first(covered(s.byCell, q), 20) {
			sum += s.truth.ratings[id].stars()
			rows++
		}
	}
	took := time.Since(began)
	s.say("a list of twenty places with their stars:")
	s.say("  from all reviews of each   %8.1f rows, %6.1f µs", float64(joined)/float64(lists), float64(tookJoin.Microseconds())/float64(lists))
	s.say("  from a rating beside it    %8.1f rows, %6.1f µs, and every review writes two rows, in two places that must agree", float64(rows)/float64(lists), float64(took.Microseconds())/float64(lists))
	return check(joined > 3*rows && sum > 0, "the join reads more")
}

func first[T any](s []T, n int) []T { return s[:min(n, len(s))] }

// ---- 5 --------------------------------------------------------------------------

func (s *story) drifts(ctx context.Context) error {
	log, err := stream.OpenLocal(filepath.Join(s.dir, "log"), &stream.Options{Sync: stream.SyncNone})
	if err != nil {
		return err
	}
	defer log.Close()
	store, err := blob.OpenDir(filepath.Join(s.dir, "archive"), &blob.Options{NoSync: true})
	if err != nil {
		return err
	}
	w, err := newWeekRun(ctx, log, store)
	if err != nil {
		return err
	}
	for n, reviews := range hourly(s.reviews) {
		if err := w.step(ctx, reviews, n%killed == killed-1); err != nil {
			return err
		}
	}
	s.say("the week goes by, an hour at a time; every %d hours each consumer is lost between reckoning and writing", killed)
	s.say("how far shown stars are from the truth on average, and how many places show another half star, or none though they have a review:")
	s.say("              %s", fmt.Sprintf("%-24s%-24s%-24s%s", wayNames[0], wayNames[1], wayNames[2], wayNames[3]))
	for _, n := range []int{2, 3, 22, 26, 27, 46, 94, 98, 99, 167} {
		h := w.hours[n]
		line := ""
		for _, d := range h.drift {
			line += fmt.Sprintf("%-24s", fmt.Sprintf("%.3f  %s", d.mean, num(d.wrong)))
		}
		s.say("  %s   %s", h, strings.TrimSpace(line))
	}
	end := w.hours[len(w.hours)-1]
	s.say("%d consumers lost in each stream; %d batches read %s reviews, %.1f times all that were written", w.exact.lost, w.batches, num(w.read), float64(w.read)/float64(len(s.reviews)))
	s.say("the truth, at the end: the stream agrees in %s of %s ratings; by adding up, %s places show another half star, the worst is %.1f stars off",
		num(len(w.truth.ratings)-end.drift[wayExact].wrong), num(len(w.truth.ratings)), num(end.drift[wayNaive].wrong), end.drift[wayNaive].worst)
	for _, h := range w.hours {
		if err := check(h.drift[wayExact].mean == 0 && h.drift[wayExact].wrong == 0, "the exact stream has the truth at %s", h); err != nil {
			return err
		}
	}
	late, err := s.lag(ctx, w)
	if err != nil {
		return err
	}
	s.say("a review is in the rating after %.2f ms (median), %.2f ms (99 of 100): by night it is after 12 hours on average", ms(late[len(late)/2]), ms(late[len(late)*99/100]))
	if s.svg != "" {
		if err := os.WriteFile(s.svg, []byte(drawDrift(w.hours)), 0o644); err != nil {
			return err
		}
		s.say("drawn to %s", s.svg)
	}
	// Just before and after a batch.
	before, after := w.hours[98].drift, w.hours[99].drift
	return check(w.exact.lost > 0 && w.naive.lost > 0 && after[wayNight].mean < before[wayNight].mean/2 && after[wayBoth].mean <= before[wayBoth].mean &&
		end.drift[wayNaive].mean > 0.01 && end.drift[wayBoth].mean < end.drift[wayNaive].mean, "the night sets right, and adding up drifts")
}

// lag writes single reviews and waits for each to be in its rating.
func (s *story) lag(ctx context.Context, w *weekRun) ([]time.Duration, error) {
	var late []time.Duration
	for i := range 200 {
		v := review{User: -1, Business: businessID(i % 50), Stars: 1 + i%5, At: week}
		began := time.Now()
		if err := write(ctx, w.log, []review{v}); err != nil {
			return nil, err
		}
		if err := w.exact.catchUp(ctx, false); err != nil {
			return nil, err
		}
		late = append(late, time.Since(began))
		if err := check(w.exact.rating(v.Business) == w.truth.add(v), "the review of user %d counts", i); err != nil {
			return nil, err
		}
	}
	slices.Sort(late)
	return late, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// ---- 6 --------------------------------------------------------------------------

func (s *story) cut(context.Context) error {
	bytes := 0
	for _, v := range first(s.reviews, 1000) {
		bytes += len(fmt.Sprintf("%+v", v)) + 400 // with some text
	}
	s.say("a review with its text is some %d bytes: 200 million of them are %.0f GB and fit on one machine; in a few years they may not", bytes/1000, float64(bytes)/1000*200e6/1e9)
	s.say("rows that move when machines are added:     number modulo machines     %d partitions, given out by a ring", logical)
	for _, step := range [][2]int{{1, 2}, {2, 3}, {3, 4}, {4, 8}} {
		modulo, ringed, err := moved(len(s.city), step[0], step[1])
		if err != nil {
			return err
		}
		s.say("  %d to %d                                    %20.0f %%     %20.0f %%", step[0], step[1], 100*modulo, 100*ringed)
		if err := check(step[0] == 1 || step[0] == 4 || ringed < modulo, "partitions move less"); err != nil {
			return err
		}
	}
	cuts := byPlace(s.byCell)
	var byID, byCell, loadID, loadCell [logical]int
	for i := range s.city {
		b := &s.city[i]
		p, q := stream.PartitionOf(keyOf(b.id), logical), placeOf(cuts, b.cell)
		byID[p]++
		byCell[q]++
		loadID[p] += s.truth.ratings[b.id].Count
		loadCell[q] += s.truth.ratings[b.id].Count
	}
	asked := touched(cuts, s.spots)
	s.say("partitions by               asked by one question   businesses in the fullest   reviews in the busiest")
	s.say("  number of the business     %20d   %18.1f times   %15.1f times its share", logical, skew(byID[:]), skew(loadID[:]))
	s.say("  ranges of cells            %20.1f   %18.1f times   %15.1f times its share", asked, skew(byCell[:]), skew(loadCell[:]))
	s.say("so businesses are cut by place, since they are searched by place, and their reviews go with them: a page about one is answered by one partition")
	return check(asked < 5 && skew(byCell[:]) < 1.1, "few partitions are asked")
}

// num writes a number with separators.
func num(n int) string {
	if n < 0 {
		return "-" + num(-n)
	}
	t := fmt.Sprint(n)
	for i := len(t) - 3; i > 0; i -= 3 {
		t = t[:i] + "," + t[i:]
	}
	return t
}
