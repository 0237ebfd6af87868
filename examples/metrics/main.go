// Metrics shows how what servers write down becomes numbers that one can look at,
// and why nothing of it is lost when a machine is.
//
// Twelve web servers send the lines of their access logs. A collector turns them
// into events and appends them to a log; jobs complete each event with what is
// known of its user and count it in windows; the windows go to a database for time
// series, the events to an archive:
//
//	lines ─► collector ─► log ─┬─► minutes, five minutes, last minute, visits ─► tsdb ─► page
//	          Avro        ▲    └─► record files in an object store ─► batch job: the same windows
//	                      └ user table
//
// Half way through, three times, the process with the log and the jobs is killed
// with SIGKILL. With a broker that keeps events in memory the same kills lose
// counted events; with a log on disk the windows are the same, byte for byte.
//
// Run it with "go run ./examples/metrics". Read run from top to bottom; the parts
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
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/flow"
	"github.com/ashlar-go/ashlar/tsdb"
)

// usual is how many lines the servers write. With very many there is a late event
// near every long window.
const usual = 40_000

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role)) // the process that this program kills
	}
	n := flag.Int("n", usual, "how many `lines` the servers write, 10,000 to 10,000,000")
	serve := flag.String("serve", "", "serve a live page on this `address`, e.g. :8080")
	logURL := flag.String("log", "", "keep events in the log at this `URL`, kafka://HOST:PORT or nats://HOST:PORT, instead of a directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := checkLog(*logURL)
	switch {
	case err != nil:
	case *n < 10_000 || *n > 10_000_000 || flag.NArg() > 0:
		flag.Usage()
		os.Exit(2)
	case *serve != "":
		err = servePage(ctx, *serve, *logURL, *n, os.Stdout)
	default:
		err = run(ctx, os.Stdout, *n, *logURL)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		os.Exit(1)
	}
}

// A story is what the parts of the run share.
type story struct {
	w       io.Writer
	dir     string
	url     string // of the log; "": a directory
	n       int
	scene   scene             // what the servers wrote
	sends   [][]string        // the same, in the batches in which it is sent
	calm    stream.Transactor // the log of a run in which nothing goes wrong
	users   *flow.Table
	minutes results // of the calm run, by partition
	own     sampler
	last    []string // what the end says again
}

func run(ctx context.Context, w io.Writer, n int, logURL string) error {
	dir, err := os.MkdirTemp("", "metrics")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &story{w: w, dir: dir, url: logURL, n: n, scene: generate(n)}
	s.sends = batches(s.scene.lines, max(250, n/100))
	if s.calm, err = stream.OpenLocal(filepath.Join(dir, "calm"), nil); err != nil {
		return err
	}
	defer s.calm.Close()
	var own sync.WaitGroup
	defer own.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	own.Go(func() { s.own.run(ctx, 50*time.Millisecond) }) // this program is watched too
	for i, part := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"Lines become events with a schema", s.encoding},
		{"A broker that keeps events in memory", s.inMemory},
		{"A log on disk", s.onDisk},
		{"Whose request it was", s.enriching},
		{"Three kinds of windows, and what comes late", s.windows},
		{"A database for time series", s.series},
		{"The archive, and a batch job over it", s.lake},
		{"Event by event, or in mini-batches", s.pacing},
		{"Growing old: less of it, and cheaper", s.growOld},
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

// ---- 1 --------------------------------------------------------------------------

// encoding takes all lines into a log, without any accident: the run that others
// are compared with. Then it asks what the schema is good for.
func (s *story) encoding(ctx context.Context) error {
	c, err := newCollector(ctx, s.calm)
	if err != nil {
		return err
	}
	for i, lines := range s.sends {
		if err := c.take(ctx, i, lines); err != nil {
			return err
		}
	}
	t := c.counts
	s.say("%d servers wrote %s lines of the combined log format in %s hours, %s bytes", servers, num(t.Lines), num(int(duration.Hours())), num(t.Text))
	s.say("%s events, %s malformed lines: %s; these are kept in a topic of their own", num(t.Events), num(t.Malformed), reasons(t.Reasons))
	kept := 0
	if err := everywhere(ctx, s.calm, topicMalformed, func(int, *stream.Record) error { kept++; return nil }); err != nil {
		return err
	}
	if t.Events+t.Malformed != t.Lines || kept != t.Malformed || t.Malformed == 0 {
		return errors.New("every line must be an event or be kept as malformed")
	}

	e, err := encodings(ctx, s.calm)
	if err != nil {
		return err
	}
	s.say("an event is %d bytes of JSON, %d of Avro, %.2f of that; in blocks of %s, compressed by deflate, %d and %d", e.json/t.Events, e.avro/t.Events,
		float64(e.avro)/float64(e.json), num(blockRecords), e.jsonPacked/t.Events, e.avroPacked/t.Events)
	s.say("%s servers write version 2 of the schema, with the time a request took; %s still write version 1", num(servers/2), num(servers/2))
	s.say("  who takes version 2 for version 1             reads %7s of %7s right", num(e.blind), num(e.block))
	s.say("  a reader of version 1, told what was written  reads %7s of %7s right, and skips the new field", num(e.oldReadsNew), num(e.new))
	s.say("  a reader of version 2, told what was written  reads %7s of %7s right, with -1, the default, for it", num(e.newReadsOld), num(e.old))
	switch {
	case e.avro >= e.json || e.avroPacked >= e.jsonPacked:
		return errors.New("avro should be smaller than JSON")
	case e.oldReadsNew != e.new || e.newReadsOld != e.old || e.new == 0 || e.old == 0:
		return errors.New("both readers must understand both versions")
	case e.blind > 1:
		return errors.New("only the first record can be right without the writer's schema")
	}
	return nil
}

// ---- 2, 3 -----------------------------------------------------------------------

// inMemory kills a broker that forgets.
func (s *story) inMemory(ctx context.Context) error {
	// What the windows should be: the jobs over the log of the calm run.
	if err := publish(ctx, s.calm, s.scene.changes); err != nil {
		return err
	}
	var err error
	if s.users, err = loadUsers(ctx, s.calm); err != nil {
		return err
	}
	if err = runToEnd(ctx, s.calm, s.users, append(live, jobSession)...); err != nil {
		return err
	}
	if s.minutes, err = readResults(ctx, s.calm, jobTumbling); err != nil {
		return err
	}

	dir := filepath.Join(s.dir, "memory")
	c, err := survive(ctx, brokerMemory, dir, "", s.n, s.sends)
	if err != nil {
		return err
	}
	out, err := stream.OpenLocal(dir, nil)
	if err != nil {
		return err
	}
	defer out.Close()
	got, err := readResults(ctx, out, jobTumbling)
	if err != nil {
		return err
	}
	aside, err := sides(ctx, out, jobTumbling)
	if err != nil {
		return err
	}
	events, err := s.events(ctx)
	if err != nil {
		return err
	}
	lost := events - int(got.requests()) - aside[flow.ReasonLate] - aside[flow.ReasonFuture]
	_, wrong := compare(s.minutes, got)
	s.say("%s lines acknowledged, SIGKILL %d times; what had been put out by then is safe on a disk", num(c.acknowledged), c.kills)
	s.say("events that count nowhere                         %7s of %s", num(lost), num(events))
	s.say("windows by minute that are wrong or missing       %7s of %s", num(len(wrong)), num(len(s.minutes)))
	s.say("events that a consumer finds who comes afterwards %7s", num(c.replayable))
	if lost <= 0 || len(wrong) == 0 || c.replayable >= events {
		return errors.New("a broker in memory should have lost something")
	}
	return nil
}

// onDisk kills one that does not.
func (s *story) onDisk(ctx context.Context) error {
	dir := filepath.Join(s.dir, "disk")
	c, err := survive(ctx, brokerDisk, dir, s.url, s.n, s.sends)
	if err != nil {
		return err
	}
	l, err := openLog(ctx, s.url, dir)
	if err != nil {
		return err
	}
	defer l.Close()
	events, err := s.events(ctx)
	if err != nil {
		return err
	}
	if s.url != "" {
		s.say("the log is at %s: what is killed is the collector with its jobs", s.url)
	}
	s.say("%s lines acknowledged, SIGKILL %d times, %d batches sent again as if the answer had been lost; up again within %s", num(c.acknowledged), c.kills, c.kills, c.again.Round(10*time.Millisecond))
	s.say("events that a consumer finds who comes afterwards %7s of %s", num(c.replayable), num(events))

	// One comes afterwards, with a question that nobody had asked: how long do
	// people stay?
	users, err := loadUsers(ctx, l)
	if err != nil {
		return err
	}
	if err := runToEnd(ctx, l, users, jobSession); err != nil {
		return err
	}
	lost := 0
	for _, job := range append(live, jobSession) {
		want, records, err := digest(ctx, s.calm, job, s.url == "")
		if err != nil {
			return err
		}
		got, _, err := digest(ctx, l, job, s.url == "")
		if err != nil {
			return err
		}
		verdict := "the same bytes as without a kill"
		if job == jobSession {
			verdict = "the same bytes, from a consumer that came afterwards"
		}
		if got != want {
			verdict = "DIFFERENT from " + want
		}
		s.say("  %-13s %6s records, SHA-256 %s…  %s", job, num(records), got, verdict)
		if got != want {
			return errors.New("a replay must give the same windows, byte for byte")
		}
	}
	got, err := readResults(ctx, l, jobTumbling)
	if err != nil {
		return err
	}
	lost = int(s.minutes.requests() - got.requests())
	s.say("events lost %d, counted twice %d", max(0, lost), max(0, -lost))
	if c.replayable != events || lost != 0 {
		return errors.New("the log must hold every acknowledged event, once")
	}
	s.last = append(s.last, fmt.Sprintf("windows = %s", num(len(s.minutes))), "replay equal = yes", fmt.Sprintf("lost = %d", lost))
	return nil
}

// events counts the events of the calm run.
func (s *story) events(ctx context.Context) (n int, err error) {
	err = everywhere(ctx, s.calm, topicEvents, func(int, *stream.Record) error { n++; return nil })
	return n, err
}

// ---- 4 --------------------------------------------------------------------------

// enriching asks a server about each user, then joins with a table instead; and
// asks which row of it is the right one.
func (s *story) enriching(ctx context.Context) error {
	e, err := enrichments(ctx, s.calm, s.users, s.scene.changes)
	if err != nil {
		return err
	}
	s.say("the user table: %s changes in its topic, %s users in memory", num(len(s.scene.changes)), num(s.users.Len()))
	s.say("  a request for each event      %7s events  %7s requests  %8.1f µs an event", num(e.askedEvents), num(int(e.asked)), e.askedMicros)
	s.say("  a join with the table         %7s events  %7s requests  %8.1f µs an event", num(e.events), num(0), e.joinMicros)
	s.say("%s users change their plan during the run; in a replay", num(e.changed))
	s.say("  the latest row                counts %5s events for a plan that their user did not have yet", num(e.wrongLatest))
	s.say("  the row of the event's time   counts %5s", num(e.wrongAt))
	switch {
	case int(e.asked) != e.askedEvents:
		return errors.New("the naive way should ask once an event")
	case e.wrongLatest == 0 || e.wrongAt != 0:
		return errors.New("only the row of the event's time is right in a replay")
	}
	return nil
}

// ---- 5 --------------------------------------------------------------------------

// windows shows what the jobs made, beside what counting by arrival makes.
func (s *story) windows(ctx context.Context) error {
	all := map[string]results{}
	for job := range specs {
		r, err := readResults(ctx, s.calm, job)
		if err != nil {
			return err
		}
		all[job] = r.merged()
	}
	events, err := s.events(ctx)
	if err != nil {
		return err
	}
	wrong, n, err := byArrival(s.scene.lines, s.users, all[jobTumbling])
	if err != nil {
		return err
	}
	s.say("counted by when lines arrive: %s of %s windows by minute are wrong; by when it happened, with a watermark %s behind:", num(wrong), num(n), bound)

	show := func(job string, p place) {
		t := all[job][p]
		took := "–"
		if t.Timed > 0 {
			took = fmt.Sprintf("%.1f ms", float64(t.Micros)/float64(t.Timed)/1000)
		}
		s.say("  %-13s %s – %s  %-10s %4d requests %4d errors %8.1f KB %10s", job, clockTime(p.start), clockTime(p.end), p.key, t.Requests, t.Errors, float64(t.Bytes)/1e3, took)
	}
	from := outage.Truncate(time.Minute).Unix()
	for i := range int64(3) { // fixed, one after the other
		show(jobTumbling, place{key: "de/free", start: from + i*60, end: from + i*60 + 60})
	}
	for i := range int64(3) { // fixed, overlapping
		show(jobHopping, place{key: "de/free", start: from - 240 + i*60, end: from + 60 + i*60})
	}
	peak := largest(all[jobSliding], "/checkout") // anywhere
	show(jobSliding, peak)
	longest := largest(all[jobSession], "") // as long as it lasts
	show(jobSession, longest)
	visits := all[jobSession]
	var stay time.Duration
	for p := range visits {
		stay += time.Duration(p.end-p.start)*time.Second - pause
	}
	s.say("%s visits, %.1f requests and %s each", num(len(visits)), float64(visits.requests())/float64(len(visits)), (stay / time.Duration(len(visits))).Round(time.Second))

	fixed, err := errorsByMinute(ctx, s.calm, "/checkout")
	if err != nil {
		return err
	}
	burst := int(all[jobSliding][peak].Errors)
	s.say("the outage lasts %s, across the change of a minute: a fixed minute sees at most %d errors of /checkout, the 60 s before an error %d", outageLasts, fixed, burst)

	// A hopping window is its five minutes merged.
	late, err := tardy(ctx, s.calm, topicEvents)
	if err != nil {
		return err
	}
	near, err := instants(late, func(a *access) (string, error) { return (&batch{users: s.users}).group(a) })
	if err != nil {
		return err
	}
	same, checked := 0, 0
	for p, t := range all[jobHopping] {
		if touched(p, jobHopping, near) {
			continue
		}
		checked++
		var sum tally
		for start := p.start; start < p.end; start += 60 {
			sum = sum.merge(all[jobTumbling][place{key: p.key, start: start, end: start + 60}])
		}
		if sum == t {
			same++
		}
	}
	s.say("five minutes = five windows by minute, merged: %s of %s that hold no late event", num(same), num(checked))

	s.say("what comes late: counted for another %s, then put aside; what is more than %s ahead is put aside at once", lateness, maxAhead)
	for _, job := range []string{jobTumbling, jobSession} {
		side, err := sides(ctx, s.calm, job)
		if err != nil {
			return err
		}
		again, err := firedAgain(ctx, s.calm, job)
		if err != nil {
			return err
		}
		counted := int(all[job].requests())
		s.say("  %-13s %6s counted + %4s late + %3s in the future = %s events; %s windows fired again", job,
			num(counted), num(side[flow.ReasonLate]), num(side[flow.ReasonFuture]), num(counted+side[flow.ReasonLate]+side[flow.ReasonFuture]), num(again))
		if counted+side[flow.ReasonLate]+side[flow.ReasonFuture] != events || side[flow.ReasonLate] == 0 || side[flow.ReasonFuture] == 0 || job == jobTumbling && again == 0 {
			return errors.New("every event must be counted once or be put aside")
		}
	}
	switch {
	case wrong == 0:
		return errors.New("counting by arrival should be wrong somewhere")
	case same != checked || checked == 0 && s.n <= usual:
		return errors.New("hopping windows must be merged tumbling windows")
	case burst <= fixed:
		return errors.New("the sliding window should see more of the outage than a fixed one")
	}
	return nil
}

// ---- 6 --------------------------------------------------------------------------

// series puts windows, devices and this program's own numbers into a database for
// time series, and lines of text beside them; and the same windows into a table
// with a B-tree, which is what a general database would do.
func (s *story) series(ctx context.Context) error {
	db, err := openSeries(filepath.Join(s.dir, "series"), tsdb.Options{MaxFuture: 100 * 365 * 24 * time.Hour})
	if err != nil {
		return err
	}
	defer db.Close()

	rows, err := rowsAgainstSeries(ctx, s.calm, db, s.dir)
	if err != nil {
		return err
	}
	hot := db.Stats()
	s.say("%s samples of %s series: requests, errors, bytes, slowest, by minute, country, plan and partition", num(rows.samples), num(hot.Series))
	s.say("  rows in a B-tree    %6.1f bytes a sample (%.1f without the gaps)  written in %5.0f ms  one metric summed in %6.2f ms", rows.rowBytes, rows.rowUsed, rows.rowWrite, rows.rowRead)

	// What is being written is in memory, whole; sealed it is a file for each
	// source and day.
	if err := db.Seal(ctx); err != nil {
		return err
	}
	sealed := db.Stats()
	windowBytes := float64(sealed.ChunkSize) / float64(rows.samples)
	s.say("  columns of a series %6.2f bytes a sample                       written in %5.0f ms  one metric summed in %6.2f ms", windowBytes, rows.seriesWrite, rows.seriesRead)
	s.say("the index that was being written, one source and day, was in memory: %s bytes; sealed it is a file of %s", num(int(hot.HeadBytes)), num(int(sealed.ChunkSize)))
	if rows.rowSum != rows.seriesSum || float64(rows.rowSum) != rows.windowSum {
		return fmt.Errorf("the sums differ: %v by rows, %v by series, %v in the windows", rows.rowSum, rows.seriesSum, rows.windowSum)
	}
	again, err := storeWindows(ctx, s.calm, db)
	if err != nil {
		return err
	}
	if err := db.Seal(ctx); err != nil {
		return err
	}
	twice, err := total(ctx, db, tsdb.All, 24*time.Hour, tsdb.Eq("name", "requests"))
	if err != nil {
		return err
	}
	var sum float64
	for _, v := range twice {
		sum += v
	}
	s.say("all windows written a second time: the sum of requests is still %s of %s", num(int(sum)), num(int(s.minutes.requests())))
	if again.Accepted == 0 || int64(sum) != s.minutes.requests() {
		return errors.New("writing windows twice must change nothing")
	}

	// Devices: what machines measured, with clocks that step back.
	devices, err := loadDevices()
	if err != nil {
		return err
	}
	months, err := openSeries(filepath.Join(s.dir, "devices"), tsdb.Options{ChunkRange: 32 * 24 * time.Hour})
	if err != nil {
		return err
	}
	defer months.Close()
	if _, err := storeDevices(ctx, devices, months); err != nil {
		return err
	}
	if err := months.Seal(ctx); err != nil {
		return err
	}
	samples, text := 0, 0
	for _, d := range devices {
		samples, text = samples+len(d.t), text+d.text
	}
	equal, err := checkDevices(ctx, devices, months)
	if err != nil {
		return err
	}
	stats := months.Stats()
	repeated := int(stats.Duplicates)
	s.say("%d series of the Numenta Anomaly Benchmark: %s samples, %.1f bytes each as text, %.2f here", len(devices), num(samples),
		float64(text)/float64(samples), float64(stats.ChunkSize)/float64(samples))
	s.say("  %s read back, equal bit by bit; %d of a repeated timestamp: the last one counts", num(equal), repeated)
	if equal+repeated != samples || repeated == 0 {
		return errors.New("every sample must come back, and repeated timestamps be counted")
	}

	// This program itself, while it ran.
	own := newAppender(db)
	for _, x := range s.own.take() {
		if err := own.add(ctx, x.t, x.v, "self", x.labels...); err != nil {
			return err
		}
	}
	if err := own.flush(ctx); err != nil {
		return err
	}
	s.say("its own runtime, every 50 ms: %d metrics, %s samples", len(own.refs), num(own.sum.Accepted))
	if own.sum.Accepted < 2*len(own.refs) || len(own.refs) == 0 {
		return errors.New("the runtime's own numbers are missing")
	}

	// The lines, to be searched.
	lines, size, err := storeLogs(ctx, s.scene.lines, db)
	if err != nil {
		return err
	}
	if err := db.Seal(ctx); err != nil {
		return err
	}
	logBytes := db.Stats().ChunkSize - sealed.ChunkSize
	found, took, err := search(ctx, db, `"POST /checkout`, "5xx")
	if err != nil {
		return err
	}
	want := 0
	for _, line := range s.scene.lines {
		if e, err := parse(line.text); err == nil && e.Status >= 500 && strings.Contains(line.text, `"POST /checkout`) {
			want++
		}
	}
	s.say("%s lines of text by server and class of status: %.0f bytes each, %.0f here; found %s with %s in class 5xx in %.1f ms", num(lines), float64(size)/float64(lines),
		float64(logBytes)/float64(lines), num(found), "`POST /checkout`", took)
	report, err := db.Verify(ctx)
	if err != nil {
		return err
	}
	switch {
	case lines != len(s.scene.lines) || found != want || found == 0:
		return fmt.Errorf("the search found %d lines of %d", found, want)
	case windowBytes*4 > rows.rowUsed:
		return errors.New("columns should take less than a quarter of what rows take")
	case len(report.Damage) > 0:
		return report.Damage[0]
	}
	s.last = append(s.last, fmt.Sprintf("bytes per sample = %.2f", windowBytes))
	return nil
}

// ---- 7 --------------------------------------------------------------------------

// lake archives the events as they came, and computes all windows again from the
// archive alone, in another way.
func (s *story) lake(ctx context.Context) error {
	store, err := blob.OpenDir(filepath.Join(s.dir, "lake"), nil)
	if err != nil {
		return err
	}
	defer store.Close()
	k, err := newLake(store, s.calm)
	if err != nil {
		return err
	}
	if err := k.archive(ctx); err != nil {
		return err
	}
	b, files, size, err := loadBatch(ctx, store, s.users)
	if err != nil {
		return err
	}
	text := 0
	for _, l := range s.scene.lines {
		text += len(l.text) + 1
	}
	events, err := s.events(ctx)
	if err != nil {
		return err
	}
	s.say("%s record files by schema, day, hour and partition: %s events in %s bytes, %.1f each; compression %.1f to 1", num(files), num(len(b.events)+b.future),
		num(int(size)), float64(size)/float64(len(b.events)+b.future), float64(text)/float64(size))
	if len(b.events)+b.future != events {
		return errors.New("every event must be in the archive once")
	}
	if err := exportParquet(ctx, s.w, store); err != nil {
		return err
	}

	// The same windows, with all events at hand: they differ only where the stream
	// could not wait.
	s.say("a batch job over the archive computes the windows again:")
	for _, job := range append(live, jobSession) {
		streamed, err := readResults(ctx, s.calm, job)
		if err != nil {
			return err
		}
		streamed = streamed.merged()
		computed, err := b.compute(job)
		if err != nil {
			return err
		}
		topic, key := topicEvents, b.group
		switch job {
		case jobSession:
			key = func(a *access) (string, error) { return a.owner(), nil }
		case jobSliding:
			topic, key = topicErrors, func(a *access) (string, error) { return a.route(), nil }
		}
		late, err := tardy(ctx, s.calm, topic)
		if err != nil {
			return err
		}
		near, err := instants(late, key)
		if err != nil {
			return err
		}
		same, differ := compare(streamed, computed)
		explained := 0
		for _, p := range differ {
			if touched(p, job, near) {
				explained++
			}
		}
		s.say("  %-13s %6s the same, %3s differ, all where one of %s late events belongs", job, num(same), num(len(differ)), num(len(late)))
		if explained != len(differ) || same == 0 && s.n <= usual {
			return fmt.Errorf("%s: %d windows differ without a late event", job, len(differ)-explained)
		}
		if job != jobTumbling {
			continue
		}
		// For windows that each event is in one of, it can be said to the last one.
		aside, err := lateEvents(ctx, s.calm, job)
		if err != nil {
			return err
		}
		exact, err := b.without(aside).compute(job)
		if err != nil {
			return err
		}
		same, differ = compare(streamed, exact)
		s.say("  %-13s %6s the same, %3s differ, without the %s events of the side output", job, num(same), num(len(differ)), num(len(aside)))
		if len(differ) > 0 {
			return fmt.Errorf("%s: stream and batch differ at %v", job, differ[0])
		}
	}
	return nil
}

// ---- 8 --------------------------------------------------------------------------

// pacing runs one job in three rhythms.
func (s *story) pacing(ctx context.Context) error {
	const trickle, every = 200, 3 * time.Millisecond
	events, err := someEvents(ctx, s.calm, 6000)
	if err != nil {
		return err
	}
	backlog := len(events) - trickle
	s.say("a backlog of %s events, then %s more, one every %s; each commit waits for the disk", num(backlog), num(trickle), every)
	var first results
	for i, p := range paces {
		t, err := p.measure(ctx, filepath.Join(s.dir, fmt.Sprint("pace", i)), events[:backlog], events[backlog:], every)
		if err != nil {
			return err
		}
		s.say("  %-33s %9s events/s   waits: median %6.1f ms, 99 of 100 below %6.1f ms   commits %4d", p.name, num(int(t.perSecond)),
			float64(t.median.Microseconds())/1000, float64(t.p99.Microseconds())/1000, t.commits)
		if first == nil {
			first = t.windows
		}
		if _, differ := compare(first, t.windows); len(differ) > 0 || len(first) == 0 {
			return errors.New("how events are batched must not show in the windows")
		}
	}
	s.say("the windows are the same in all three: %s visits", num(len(first)))
	return nil
}

// ---- 9 --------------------------------------------------------------------------

// growOld keeps less of what is old, and keeps it where it costs less.
func (s *story) growOld(ctx context.Context) error {
	const group, host = "de/pro", "web-07"
	d, err := coldRead(ctx, s.calm, s.scene.lines, filepath.Join(s.dir, "cold"), group, host)
	if err != nil {
		return err
	}
	var sum, lines int64
	for p, t := range s.minutes {
		if p.key == group {
			sum += t.Requests
		}
	}
	for _, l := range s.scene.lines {
		if e, err := parse(l.text); err == nil && e.Status >= 500 && l.host == host {
			lines++
		}
	}
	s.say("windows and lines in the cold tier: %s bytes in %d objects, one for each source and day", num(int(d.size)), d.objects)
	s.say("  %s requests of %s are added up from %5.1f %% of them, %s lines of errors of %s are found in %4.1f %%", num(int(d.sum)), group,
		100*float64(d.sumRead)/float64(d.size), num(int(d.lines)), host, 100*float64(d.linesRead)/float64(d.size))
	switch {
	case d.sum != sum || d.lines != lines || sum == 0 || lines == 0:
		return errors.New("the cold tier must give the same answers")
	case d.sumRead == 0 || d.linesRead == 0 || d.sumRead*4 > d.size || d.linesRead*4 > d.size:
		return errors.New("a question about one source should not read the others from the cold tier")
	}

	devices, err := loadDevices()
	if err != nil {
		return err
	}
	t, err := age(ctx, devices[0], filepath.Join(s.dir, "age"))
	if err != nil {
		return err
	}
	s.say("two weeks of %s, %s samples:", devices[0].name, num(t.samples))
	s.say("  all of it at hand                         %7s bytes", num(int(t.all)))
	s.say("  only the last three days                  %7s bytes, and %s in the object store; %s samples read back, equal", num(int(t.hot)), num(int(t.cold)), num(t.readBack))
	s.say("  after a week only what each hour sums up  %7s bytes; %s samples and %s hours are left, each hour's count, sum, minimum, maximum, first and last as before",
		num(int(t.rollup)), num(t.kept), num(t.hours))
	switch {
	case t.hot >= t.all || t.cold == 0 || t.readBack == 0:
		return errors.New("the cold tier should have taken most of it")
	case t.kept >= t.samples || t.kept == 0:
		return errors.New("samples older than a week should be gone")
	}

	kept, requests := subsample(s.scene.lines)
	bytes, all, good := 0, 0, 0
	for _, l := range kept {
		bytes += len(l.text) + 1
	}
	for _, l := range s.scene.lines {
		all += len(l.text) + 1
		if e, err := parse(l.text); err == nil && e.Status < 500 {
			good++
		}
	}
	off := 100 * (float64(requests*10)/float64(good) - 1)
	s.say("lines of one user in ten, and all errors and malformed ones: %s of %s lines, %.0f %% of the bytes; requests estimated from them: %s, %+.1f %% off",
		num(len(kept)), num(len(s.scene.lines)), 100*float64(bytes)/float64(all), num(requests*10), off)
	if off < -25 || off > 25 || bytes*4 > all {
		return errors.New("a tenth of the users should stand for all")
	}
	return nil
}
