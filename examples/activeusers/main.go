// Activeusers shows how to count different users: how many there were today, in this
// hour, in any minute of last week, and how many are online now.
//
// Ten million events of one day go through a log. What suggests itself is tried
// first, and fails with numbers: counting devices, adding up what servers or minutes
// have counted, looking at the whole table for each question. Then the two ways that
// hold: an exact map on nodes that a ring chooses, and sketches of twelve kilobytes
// that can be merged.
//
//	devices ─► log ─┬─► status table ───────────────► online now
//	            4   ├─► a sketch a minute ─┬────────► hours, days: merged ──┐
//	       partitions                      └ checkpoint, with the offset    ├─► any range
//	                └─► archive ─► batch: exact, and sketches for what ─────┘
//	                               comes later
//
// Run it with "go run ./examples/activeusers". Read run from top to bottom; the parts
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
	"runtime"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/bloom"
	"github.com/ashlar-go/ashlar/hll"
	"github.com/ashlar-go/ashlar/stream"
)

const (
	usual        = 10_000_000 // events
	leastEvents  = 200_000
	mostEvents   = 50_000_000
	servers      = 8
	defaultRedis = "127.0.0.1:6379"
	batchHours   = 18         // the batch ran last when this hour began
	evening      = 20*60 + 30 // when it is asked who is online
)

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role)) // the process that this program kills
	}
	n := flag.Int("n", usual, "how many `events` the day has, 200,000 to 50,000,000")
	serve := flag.String("serve", "", "serve a live page on this `address`, e.g. :8080")
	svg := flag.String("svg", "", "write the curve of errors to this `file`")
	server := flag.String("redis", defaultRedis, "give sketches to the Redis server at this `address`, if it answers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *n < leastEvents || *n > mostEvents || flag.NArg() > 0:
		flag.Usage()
		os.Exit(2)
	case *serve != "":
		err = servePage(ctx, *serve, *n, os.Stdout)
	default:
		err = run(ctx, os.Stdout, options{n: *n, svg: *svg, redis: *server})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "activeusers:", err)
		os.Exit(1)
	}
}

type options struct {
	n          int
	svg, redis string
	brief      bool // fewer users in part 9, where each step is slow
}

// A story is what the parts of the run share.
type story struct {
	options
	w      io.Writer
	dir    string
	events []moment // what the devices send
	people int      // how many users there are
	truth  *truth
	log    *stream.Local
	store  *blob.Dir // the archive

	nodes    *shards
	counters []*counter
	live     *dayView
	today    *hll.Concurrent
}

func run(ctx context.Context, w io.Writer, o options) (err error) {
	dir, err := os.MkdirTemp("", "activeusers")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &story{options: o, w: w, dir: dir, people: usersOf(o.n), events: generate(o.n)}
	s.truth = truthOf(s.events, s.people)
	if s.log, err = stream.OpenLocal(filepath.Join(dir, "log"), nil); err != nil {
		return err
	}
	defer s.log.Close()
	if s.store, err = blob.OpenDir(filepath.Join(dir, "archive"), nil); err != nil {
		return err
	}
	defer s.store.Close()
	for i, part := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"A day of events", s.day},
		{"What suggests itself", s.naive},
		{"Exactly: a hash map on eight nodes", s.exactly},
		{"In kilobytes: a sketch for each minute", s.sketched},
		{"One register, and many that are chosen at random", s.registers},
		{"Who is online now", s.onlineNow},
		{"Killed, and started again", s.killed},
		{"The batch, and questions about the past", s.past},
		{"Error and bytes, from ten users to a million", s.curve},
		{"Handed to Redis", s.toRedis},
	} {
		if i > 0 {
			s.say("")
		}
		s.say("== %d. %s", i+1, part.title)
		if err := part.tell(ctx); err != nil {
			return err
		}
	}
	day, err := s.live.span(0, minutes)
	if err != nil {
		return err
	}
	s.say("\nactive users = %s, estimated = %s, off = %s, in %s instead of %s", num(s.truth.users), num(round(day.users.Estimate())),
		percent(day.users.Estimate(), s.truth.users), size(day.users.SizeBytes()), size(4*s.truth.users))
	return nil
}

// ---- 1 --------------------------------------------------------------------------

// day sends the events to the log and checks that they are in it.
func (s *story) day(ctx context.Context) error {
	out, err := newSender(ctx, s.log)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := out.send(ctx, s.events); err != nil {
		return err
	}
	took := time.Since(start)
	inLog := int64(0)
	for p := range partitions {
		_, end, err := s.log.Bounds(ctx, stream.Partition{Topic: topic, Number: p})
		if err != nil {
			return err
		}
		inLog += end
	}
	st := s.log.Stats()
	s.say("%s events of %s users on %s devices, %s different search terms", num(s.n), num(s.truth.users), num(s.truth.devices), num(s.truth.terms))
	s.say("in a log of %d partitions by user: %s records in %s batches, %d bytes each, on the disk after %.1f s", partitions, num(int(inLog)), num(int(st.Appends)), st.Bytes/uint64(s.n), took.Seconds())
	low, high := 0, 0
	for h, n := range s.truth.hour {
		if n < s.truth.hour[low] {
			low = h
		}
		if n > s.truth.hour[high] {
			high = h
		}
	}
	s.say("the quietest hour is %02d:00 with %s users, the busiest %02d:00 with %s", low, num(s.truth.hour[low]), high, num(s.truth.hour[high]))
	if inLog != int64(s.n) || s.truth.users != s.people {
		return errors.New("the log must hold every event")
	}
	return nil
}

// ---- 2 --------------------------------------------------------------------------

// naive tries four ways to the number of users, of which three are wrong and one is
// too dear.
func (s *story) naive(ctx context.Context) error {
	l, err := spread(s.events, s.people, servers, precision)
	if err != nil {
		return err
	}
	sum := 0
	for _, n := range s.truth.minute {
		sum += n
	}
	right := s.truth.users
	s.say("%-58s %10s  %5.2f times", "the devices, counted", num(s.truth.devices), float64(s.truth.devices)/float64(right))
	s.say("%-58s %10s  %5.2f times", fmt.Sprintf("%d servers behind a load balancer, exact counts added up", servers), num(int(l.exact)), l.exact/float64(right))
	s.say("%-58s %10s  %5.2f times", "the same servers, their sketches' estimates added up", num(round(l.sketched)), l.sketched/float64(right))
	s.say("%-58s %10s  %5.2f times", fmt.Sprintf("the counts of %s minutes, added up", num(minutes)), num(sum), float64(sum)/float64(right))
	s.say("%-58s %10s  %5.2f times", "the same servers, their sketches merged", num(round(l.merged)), l.merged/float64(right))
	s.say("%-58s %10s", "the truth", num(right))
	hour, err := scan(ctx, s.log, 20*60, 21*60)
	if err != nil {
		return err
	}
	all, err := scan(ctx, s.log, 0, minutes)
	if err != nil {
		return err
	}
	s.say("a scan of the whole table is right, each time anew:")
	s.say("  users from 20:00 to 21:00  %10s  %10s rows looked at  %7.0f ms  %8s allocated", num(hour.users), num(hour.rows), millis(hour.took), size(int(hour.bytes)))
	s.say("  users of the day           %10s  %10s rows looked at  %7.0f ms  %8s allocated", num(all.users), num(all.rows), millis(all.took), size(int(all.bytes)))
	switch {
	case float64(s.truth.devices) < 2.5*float64(right):
		return errors.New("counting devices should count most users nearly three times")
	case l.exact < 1.5*float64(right) || l.sketched < 1.5*float64(right) || float64(sum) < 3*float64(right):
		return errors.New("adding up should count users more than once")
	case !near(l.merged, right, 4*1.04/128):
		return errors.New("merged sketches should be right")
	case hour.users != s.truth.hour[20] || all.users != right || all.rows != s.n:
		return errors.New("a scan should be exact")
	}
	return nil
}

// ---- 3 --------------------------------------------------------------------------

// exactly keeps all users of the day in maps, and changes the number of nodes.
func (s *story) exactly(ctx context.Context) (err error) {
	if s.nodes, err = newShards(nodeNames(servers)...); err != nil {
		return err
	}
	before := heap()
	start := time.Now()
	if err := s.nodes.fill(ctx, s.log); err != nil {
		return err
	}
	took := time.Since(start)
	bytes := int(heap() - before)
	least, most := s.people, 0
	for _, node := range s.nodes.nodes {
		least, most = min(least, len(node.users)), max(most, len(node.users))
	}
	sum := s.nodes.count()
	s.say("each user belongs to one node: %s to %s on each, together %s, off by %s; %s of memory, filled in %.1f s",
		num(least), num(most), num(sum), num(sum-s.truth.users), size(bytes), took.Seconds())
	join, err := s.nodes.change("node-9", "")
	if err != nil {
		return err
	}
	after := s.nodes.count()
	leave, err := s.nodes.change("", "node-3")
	if err != nil {
		return err
	}
	last := s.nodes.count()
	s.say("  %-20s %9s %10s %14s %25s", "users who move", "ideal", "the ring", "hash % nodes", "between nodes that stay")
	share := func(n int) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(s.people)) }
	s.say("  %-20s %7.1f %% %10s %14s %25s", "a ninth node joins", 100.0/9, share(join.moved), share(join.modulo), num(join.sideways))
	s.say("  %-20s %7.1f %% %10s %14s %25s", "node-3 leaves", 100.0/9, share(leave.moved), share(leave.modulo), num(leave.sideways))
	s.say("counted again after each change: %s, %s", num(after), num(last))
	ideal := float64(s.people) / 9
	switch {
	case sum != s.truth.users || after != sum || last != sum:
		return errors.New("the nodes' counts must add up to the users, before and after")
	case join.sideways != 0 || leave.sideways != 0:
		return errors.New("no user may move between nodes that stay")
	case math.Abs(float64(join.moved)-join.predicted*float64(s.people)) > 0.01*float64(s.people):
		return errors.New("what moves should be the part of the circle that the ring says")
	case !near(float64(join.moved), round(ideal), 0.25) || !near(float64(leave.moved), round(ideal), 0.25):
		return errors.New("a resize should move the new node's share")
	case float64(join.modulo) < 0.85*float64(s.people):
		return errors.New("modulo should move nearly all")
	}
	return nil
}

// ---- 4 --------------------------------------------------------------------------

// sketched counts with sketches, live, and compares them with the truth.
func (s *story) sketched(ctx context.Context) (err error) {
	if s.today, err = hll.NewConcurrent(exaPrecision); err != nil {
		return err
	}
	s.counters = make([]*counter, partitions)
	start := time.Now()
	err = parallel(func(p int) (err error) {
		if s.counters[p], err = openCounter(ctx, s.log, liveGroup, p, s.today); err != nil {
			return err
		}
		return s.counters[p].run(ctx)
	})
	if err != nil {
		return err
	}
	took := time.Since(start)
	if s.live, err = merged(s.counters); err != nil {
		return err
	}
	s.say("four jobs count all events in %.1f s, with %s checkpoints", took.Seconds(), num(s.counters[0].checkpoints*partitions))

	s.say("  %-42s %10s %10s %9s %13s", "", "exact", "estimated", "off", "bytes")
	row := func(what string, exact int, estimate float64, bytes string) {
		s.say("  %-42s %10s %10s %9s %13s", what, num(exact), num(round(estimate)), percent(estimate, exact), bytes)
	}
	worst, square, total := 0.0, 0.0, 0
	for m, exact := range s.truth.minute {
		if exact == 0 {
			continue
		}
		off := s.live.slots[m].users.Estimate()/float64(exact) - 1
		worst, square = max(worst, math.Abs(off)), square+off*off/minutes
		n, err := s.live.slots[m].users.MarshalBinary()
		if err != nil {
			return err
		}
		total += len(n)
	}
	row("users of the minute 20:30", s.truth.minute[evening], s.live.slots[evening].users.Estimate(), num(total/minutes)+" on av.")
	worstHour := 0.0
	start = time.Now()
	for h, exact := range s.truth.hour {
		sum, err := s.live.span(h*60, h*60+60)
		if err != nil {
			return err
		}
		worstHour = max(worstHour, math.Abs(sum.users.Estimate()/float64(exact)-1))
		if h == 4 || h == 20 {
			row(fmt.Sprintf("users of the hour %02d:00, 60 merged", h), exact, sum.users.Estimate(), num(sum.users.SizeBytes()))
		}
	}
	mergeHour := time.Since(start) / 24
	day, err := s.live.span(0, minutes)
	if err != nil {
		return err
	}
	row(fmt.Sprintf("users of the day, %s merged", num(minutes)), s.truth.users, day.users.Estimate(), num(day.users.SizeBytes()))
	busy, err := s.live.span(20*60, 21*60)
	if err != nil {
		return err
	}
	row("search terms of the hour 20:00", s.truth.termsHour[20], busy.terms.Estimate(), num(busy.terms.SizeBytes()))
	row("search terms of the day", s.truth.terms, day.terms.Estimate(), num(day.terms.SizeBytes()))
	row("users so far, one ExaLogLog for all jobs", s.truth.users, s.today.Estimate(), num(4<<exaPrecision))
	filter, err := bloom.New(uint64(s.people), 0.01)
	if err != nil {
		return err
	}
	fresh := 0
	for u := range uint32(s.people) {
		if filter.AddHash(userHash(u)) {
			fresh++
		}
	}
	row("a Bloom filter's first-timers", s.truth.users, float64(fresh), num(int(filter.Bits()/8)))
	row("the ids of users, four bytes each", s.truth.users, float64(s.truth.users), num(4*s.truth.users))
	s.say("all %s minutes: %.2f %% off on average, %.2f %% at worst; all 24 hours: %.2f %% at worst; the standard error is %.2f %%",
		num(minutes), 100*math.Sqrt(square), 100*worst, 100*worstHour, 100*day.users.RelativeError())
	s.say("kept for the whole day: %s of sketches by minute, against %s for the ids of %s users by minute", size(total), size(4*s.truth.pairs), num(s.truth.pairs))
	s.say("an hour is merged and estimated in %.2f ms, from 60 sketches and no event", millis(mergeHour))
	sigma := day.users.RelativeError()
	switch {
	case worst > 5*sigma || worstHour > 4*sigma:
		return errors.New("a sketch is off by more than it may")
	case !near(day.users.Estimate(), s.truth.users, 4*sigma) || !near(day.terms.Estimate(), s.truth.terms, 4*sigma):
		return errors.New("a day's sketch is off by more than it may")
	case !near(s.today.Estimate(), s.truth.users, 4*0.344/math.Sqrt(1<<exaPrecision)):
		return errors.New("the live counter is off by more than it may")
	case fresh > s.truth.users || !near(float64(fresh), s.truth.users, 0.01):
		return errors.New("a Bloom filter takes few users for known that are not, and none the other way round")
	case day.users.SizeBytes() > 13<<10:
		return errors.New("a sketch should have twelve kilobytes, whatever it counts")
	}
	return nil
}

// ---- 5 --------------------------------------------------------------------------

// registers shows what randomness is good for. It does not depend on -n.
func (s *story) registers(context.Context) error {
	const items, runs = 100_000, 60
	trials, err := compareRegisters(items, runs)
	if err != nil {
		return err
	}
	s.say("%s different items, %d runs; the error is the root of the mean square, in %% of the truth", num(items), runs)
	s.say("  %-24s %16s %16s %16s %12s", "instances", "added up", "harmonic mean", "hll.Sketch", "1.04/√m")
	one := trials[0]
	s.say("  %-24s %14.0f %%", "1, the estimate is 2^n", 100*one.mean.rms)
	for _, t := range trials[1:] {
		s.say("  %-24s %14.0f %% %14.2f %% %14.2f %% %10.2f %%", num(t.instances), 100*t.mean.rms, 100*t.harmonic.rms, 100*t.sketch.rms, 100*t.theory)
	}
	s.say("half of the time one register is off by more than a factor of %.2f", one.mean.median)
	c, err := carelessly(1_000_000)
	if err != nil {
		return err
	}
	s.say("without hashing, or without chance:")
	say := func(what string, truth int, estimate float64) {
		text := num(round(estimate))
		if estimate > 1e15 {
			text = fmt.Sprintf("%.0e", estimate)
		}
		s.say("  %-66s %9s are estimated as %17s", what, num(truth), text)
	}
	say("one register, raw ids 1, 2, 3, …: the next lower power of two", c.consecutiveN, c.consecutive)
	say("one register, raw ids that end in ten zeros", c.stepsN, c.tens)
	say("one register, one user whose raw id is 2^40", 1, c.one)
	say("HyperLogLog, raw ids 1, 2, 3, …", c.consecutiveN, c.sketchRaw)
	say("HyperLogLog, the same ids, hashed", c.consecutiveN, c.hashed)
	say("16 instances, one for each country, which differ in size", c.consecutiveN, c.byCountry)
	say("16 instances, chosen by the hash of the user", c.consecutiveN, c.byHash)
	for i, t := range trials {
		if i > 0 && (t.harmonic.rms > 1.4*t.theory || t.sketch.rms > 1.4*t.theory) {
			return fmt.Errorf("%d instances should be off by about 1.04/√m", t.instances)
		}
		if i > 1 && t.sketch.rms > trials[i-1].sketch.rms/2 {
			return errors.New("more instances should be better")
		}
	}
	truth := float64(c.consecutiveN)
	switch {
	case one.mean.rms < 0.5 || one.mean.median < 1.3:
		return errors.New("one register should be off by a factor")
	case c.tens < 100*float64(c.stepsN) || c.one < 1e12 || c.sketchRaw < 2*truth:
		return errors.New("what is not hashed should be counted wrong")
	case c.byCountry > truth/2 || !near(c.byHash, c.consecutiveN, 3*0.26) || !near(c.hashed, c.consecutiveN, 4*1.04/128):
		return errors.New("instances must be chosen by chance")
	}
	return nil
}

// ---- 6 --------------------------------------------------------------------------

// onlineNow keeps the status table and stops at half past eight in the evening.
func (s *story) onlineNow(ctx context.Context) error {
	t := newTables(s.people)
	if err := t.follow(ctx, s.log, evening); err != nil {
		return err
	}
	wantDevices, wantUsers := onlineAt(s.events, s.people, evening)
	start := time.Now()
	scannedDevices, scannedUsers := t.scan()
	slow := time.Since(start)
	start = time.Now()
	now := t.users()
	quick := time.Since(start)
	s.say("at %s the status table has %s rows (device, user, online or offline)", clock(evening), num(t.rows()))
	s.say("  rows that say online   %9s", num(scannedDevices))
	s.say("  users online           %9s  from all rows in %.1f ms", num(scannedUsers), millis(slow))
	s.say("  users online           %9s  from the counts beside it in %.4f ms", num(now), millis(quick))
	if err := t.follow(ctx, s.log, minutes); err != nil {
		return err
	}
	_, atMidnight := onlineAt(s.events, s.people, minutes)
	s.say("at 24:00 there are %s rows, and %s users online", num(t.rows()), num(t.users()))
	switch {
	case scannedDevices != wantDevices || scannedUsers != wantUsers || now != wantUsers || t.users() != atMidnight:
		return errors.New("the status table must say what the events say")
	case wantDevices <= wantUsers:
		return errors.New("some users should be online with several devices")
	case t.rows() != s.truth.devices:
		return errors.New("the table should have a row for each device")
	}
	return nil
}

// ---- 7 --------------------------------------------------------------------------

// killed lets another process count a partition, kills it three times, and compares
// what the last of them has with what the job has that was never interrupted.
func (s *story) killed(ctx context.Context) error {
	// A log of its own, since one process at a time can have it open.
	dir := filepath.Join(s.dir, "killed")
	l, err := stream.OpenLocal(dir, nil)
	if err != nil {
		return err
	}
	own, err := copyPartition(ctx, s.log, l)
	if err := errors.Join(err, l.Close()); err != nil {
		return err
	}
	processed := 0
	const kills = 3
	for i := range kills + 1 {
		stop := 11
		if i == kills {
			stop = 0 // to the end
		}
		n, err := life(ctx, dir, stop)
		if err != nil {
			return err
		}
		processed += n
	}
	if l, err = stream.OpenLocal(dir, nil); err != nil {
		return err
	}
	defer l.Close()
	again, err := openCounter(ctx, l, liveGroup, 0, nil)
	if err != nil {
		return err
	}
	want, bytes, err := s.counters[0].digest()
	if err != nil {
		return err
	}
	got, _, err := again.digest()
	if err != nil {
		return err
	}
	s.say("a process counts the %s events of one partition; SIGKILL %d times, each in the middle of something", num(own), kills)
	s.say("  its checkpoints are sketches and an offset, in one transaction; read back they are %s", size(bytes))
	s.say("  events that were processed  %9s: %s a second time, a counter would be %.1f %% too high", num(processed), num(processed-own), 100*float64(processed-own)/float64(own))
	verdict := "the same bytes"
	if got != want {
		verdict = "DIFFERENT"
	}
	s.say("  SHA-256 of all sketches     %s… after three kills, %s… without: %s", got, want, verdict)

	// What a new process has that finds the offset, but not the sketches.
	third := len(s.events) / 3
	lost := usersIn(s.events, s.people, 0, s.events[third].minute())
	after := usersIn(s.events, s.people, s.events[third].minute(), minutes)
	s.say("  the offset without the sketches, after a third of the events: %s of %s users would be left, %s had been there before", num(after), num(s.truth.users), num(lost))
	switch {
	case got != want || again.next != int64(own):
		return errors.New("a restart must give the same bytes")
	case processed <= own:
		return errors.New("something should have been processed twice")
	case after >= s.truth.users:
		return errors.New("without its sketches a restart should have lost users")
	}
	return nil
}

// copyPartition copies the events of partition 0 to another log.
func copyPartition(ctx context.Context, from, to stream.Log) (n int, err error) {
	if err := to.CreateTopic(ctx, topic, &stream.TopicOptions{Partitions: partitions}); err != nil {
		return 0, err
	}
	part := stream.Partition{Topic: topic}
	_, end, err := from.Bounds(ctx, part)
	if err != nil {
		return 0, err
	}
	b := stream.Batch{MaxBytes: 4 << 20}
	for at := int64(0); at < end; at = b.Next {
		if err := from.Read(ctx, part, at, &b); err != nil {
			return n, err
		}
		if _, err := to.Append(ctx, part, b.Records); err != nil {
			return n, err
		}
		n += len(b.Records)
	}
	return n, nil
}

// ---- 8 --------------------------------------------------------------------------

// past archives everything, runs the batch job, and asks three questions.
func (s *story) past(ctx context.Context) error {
	start := time.Now()
	size64, err := archive(ctx, s.log, s.store)
	if err != nil {
		return err
	}
	s.say("archived: %s events in files by hour and partition, %s, %.1f bytes an event, in %.1f s", num(s.n), size(int(size64)), float64(size64)/float64(s.n), time.Since(start).Seconds())
	start = time.Now()
	batch := &report{}
	if err := batch.run(ctx, s.store, batchHours); err != nil {
		return err
	}
	s.say("the batch ran at %02d:00 over %s events in %.1f s: %s users until then, exactly", batchHours, num(batch.events), time.Since(start).Seconds(), num(len(batch.users)))
	equal := 0
	for h := range batchHours {
		slots, err := batchHour(ctx, s.store, h)
		if err != nil {
			return err
		}
		for m := range slots {
			same, err := alike(slots[m], s.live.slots[h*60+m])
			if err != nil {
				return err
			}
			if same {
				equal++
			}
		}
	}
	s.say("  it also wrote a sketch for each minute: %s of %s are, byte for byte, those of the stream", num(equal), num(batchHours*60))
	h := &history{s.store, batch, s.live}
	if err := s.ask(ctx, h); err != nil {
		return err
	}

	// At midnight the batch goes on: then all of the day is exact.
	if err := batch.run(ctx, s.store, 24); err != nil {
		return err
	}
	off := 0
	for m, n := range s.truth.minute {
		if batch.minute[m] != n {
			off++
		}
	}
	for i, n := range s.truth.hour {
		if batch.hour[i] != n || batch.termsHour[i] != s.truth.termsHour[i] {
			off++
		}
	}
	later, err := h.users(ctx, 15, 21)
	if err != nil {
		return err
	}
	exact := usersIn(s.events, s.people, 15*60, 21*60)
	s.say("at 24:00 it goes on: %s users, %s search terms, wrong minutes or hours: %d; 15:00 to 21:00 is %s now, exactly", num(len(batch.users)), num(len(batch.terms)), off, num(round(later.users)))
	switch {
	case equal != batchHours*60:
		return errors.New("the same events must make the same sketches")
	case len(batch.users) != s.truth.users || len(batch.users) != s.nodes.count() || len(batch.terms) != s.truth.terms || off > 0 || batch.events != s.n:
		return errors.New("the batch must be exact")
	case !later.exact || round(later.users) != exact:
		return errors.New("what the batch covers must be answered exactly")
	}
	return nil
}

// ask puts three questions: within the batch, after it, and across its end.
func (s *story) ask(ctx context.Context, h *history) error {
	for _, q := range []struct {
		what     string
		from, to int
	}{{"before the batch", 9, 12}, {"after it", 19, 21}, {"across its end", 15, 21}} {
		a, err := h.users(ctx, q.from, q.to)
		if err != nil {
			return err
		}
		exact := usersIn(s.events, s.people, q.from*60, q.to*60)
		how := fmt.Sprintf("%d sorted lists of the batch, united", a.lists)
		if !a.exact {
			how = fmt.Sprintf("%d sketches of the batch and %d of the stream, merged", a.batch, a.live)
		}
		s.say("  %02d:00 to %02d:00, %-17s %9s  off %8s  from %s, %.1f ms", q.from, q.to, q.what+":", num(round(a.users)), percent(a.users, exact), how, millis(a.took))
		if a.exact && round(a.users) != exact || !near(a.users, exact, 4*a.relative) || a.exact != (q.to <= batchHours) {
			return errors.New("a question about the past was answered wrong")
		}
	}
	before, after := usersIn(s.events, s.people, 15*60, 18*60), usersIn(s.events, s.people, 18*60, 21*60)
	exact := usersIn(s.events, s.people, 15*60, 21*60)
	s.say("why not add %s, exact until 18:00, and %s from then on? %s, off %s: %s were there before and after.", num(before), num(after), num(before+after), percent(float64(before+after), exact), num(before+after-exact))
	s.say("a count does not say who was counted. That is why the batch leaves sketches as well: they can be merged.")
	if before+after <= exact {
		return errors.New("some users should be on both sides of the boundary")
	}
	return nil
}

// alike tells whether two slots have the same bytes.
func alike(a, b slot) (bool, error) {
	if a.users == nil || b.users == nil {
		return a.users == nil && b.users == nil, nil
	}
	x, err := a.encode(nil)
	if err != nil {
		return false, err
	}
	y, err := b.encode(nil)
	return string(x) == string(y), err
}

// ---- 9 --------------------------------------------------------------------------

// curve measures errors at many sizes, and draws them if asked to. It does not depend
// on -n.
func (s *story) curve(context.Context) error {
	most := 1_000_000
	if s.brief {
		most = 100_000
	}
	points, err := errorCurve(most, 40)
	if err != nil {
		return err
	}
	s.say("root of the mean square of the error over %d runs, and bytes", points[0].runs)
	s.say("  %9s  %12s %6s   %12s %7s   %12s %7s   %10s", "users", "one register", "bytes", fmt.Sprintf("HLL p=%d", precision), "bytes", fmt.Sprintf("Exa p=%d", exaPrecision), "bytes", "exact bytes")
	sketchWithin, exaWithin, all := 0, 0, 0
	for i, p := range points {
		sketchWithin, exaWithin, all = sketchWithin+p.sketchWithin, exaWithin+p.exaWithin, all+p.runs
		if i%2 == 0 {
			s.say("  %9s  %10.0f %% %6d   %10.3f %% %7s   %10.3f %% %7s   %10s", num(p.n), 100*p.rightmost, p.oneBytes, 100*p.sketch, num(p.sketchBytes), 100*p.exa, num(p.exaBytes), num(p.exactBytes))
		}
		if p.sketch > 1.5*0.0081 || p.exa > 1.5*0.0080 || p.rightmost < 0.3 {
			return fmt.Errorf("the errors at %d users are not what they should be", p.n)
		}
		if p.sketchBytes > 13<<10 || p.exaBytes > 8<<10 {
			return fmt.Errorf("a sketch has more bytes at %d users than it may", p.n)
		}
	}
	s.say("each sketch says how sure it is: the truth was within two standard errors in %d and %d of %d measurements", sketchWithin, exaWithin, all)
	if 10*min(sketchWithin, exaWithin) < 9*all {
		return errors.New("two standard errors should contain the truth nearly always")
	}
	if s.svg != "" {
		if err := os.WriteFile(s.svg, []byte(drawCurve(points)), 0o644); err != nil {
			return err
		}
		s.say("drawn in %s", s.svg)
	}
	return nil
}

// ---- 10 -------------------------------------------------------------------------

// toRedis gives the sketches of two hours to a Redis server, if there is one.
func (s *story) toRedis(context.Context) error {
	r, err := dialRedis(s.redis)
	if err != nil {
		s.say("no Redis server answers at %s: nothing to show here (start one, or name it with -redis host:port)", s.redis)
		return nil
	}
	defer r.conn.Close()
	a, err := s.live.span(20*60, 21*60)
	if err != nil {
		return err
	}
	b, err := s.live.span(21*60, 22*60)
	if err != nil {
		return err
	}
	// A hundred users of the first hour, and a hundred that do not exist.
	var present, absent []uint32
	for _, e := range s.events[atMinute(s.events, 20*60):] {
		if present = append(present, e.user()); len(present) == 100 {
			break
		}
	}
	for i := range uint32(100) {
		absent = append(absent, uint32(s.people)+i)
	}
	e, err := export(r, a.users, b.users, present, absent)
	if err != nil {
		return err
	}
	s.say("two hours, %s: PFCOUNT %s and %s, PFMERGE of both %s; here %s and %s", size(e.bytes), num(e.count[0]), num(e.count[1]), num(e.merged), num(round(e.ours)), num(round(e.oursMerged)))
	s.say("read back it is the same sketch: %s; PFADD of %d users who were there changes nothing: %d of them", num(round(e.back)), len(present), e.knows)
	switch {
	case !near(float64(e.count[0]), s.truth.hour[20], 0.04) || !near(float64(e.count[1]), s.truth.hour[21], 0.04) || !near(float64(e.merged), round(e.oursMerged), 0.01):
		return errors.New("the server should count as we do")
	case e.back != e.oursMerged || e.knows != len(present):
		return errors.New("the server should have the sketch as it is here")
	}
	return nil
}

// ---- words ----------------------------------------------------------------------

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.w, format+"\n", args...) }

// num writes a number with separators.
func num(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func round(x float64) int { return int(math.Round(x)) }

// percent says how far an estimate is from the truth.
func percent(estimate float64, truth int) string {
	return fmt.Sprintf("%+.2f %%", 100*(estimate/float64(truth)-1))
}

func size(bytes int) string {
	switch {
	case bytes >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
	case bytes >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(bytes)/1e3)
	}
	return fmt.Sprintf("%d B", bytes)
}

func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func clock(minute int) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }

// near tells whether x is the truth, give or take a part of it.
func near(x float64, truth int, part float64) bool {
	return math.Abs(x-float64(truth)) <= part*float64(truth)
}

// heap returns the bytes that are in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
