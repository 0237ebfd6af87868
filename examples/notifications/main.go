// Notifications shows how a message reaches everybody who has subscribed to its
// topic, once, now or later, and what it costs when that is two hundred thousand.
//
// Subscriptions are in a table by user. Its changes go to a log divided by topic,
// and from there into the memory of routers, which take messages from the same log
// and push them to the servers that hold the users' connections; the few popular
// topics are not pushed but polled, through a cache:
//
//	table by user ─ changes ─► log by topic ─► router: topic → subscribers ─┬─► push servers ─ SSE ─► devices
//	                              ▲                │ (topic, time)          │    by consistent hash    │  ▲
//	                           messages            ▼                        │    and load              │  │
//	                                             store ◄── cache ◄──────────┼──── polls, popular ──────┘  │
//	                                               └───────────── what was missed ──────────────────────┘
//
// The push servers are real processes. One is killed with SIGKILL after it has pushed
// and before it has said so, and a router stops at the same point.
//
// Run it with "go run ./examples/notifications". Read run from top to bottom; the
// parts are in the files named after them.
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
	"strings"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/stream"
)

// usual is how many devices take part.
const usual = 400

func main() {
	child.Main(roles)
	n := flag.Int("n", usual, "how many `devices` take part, 60 to 2,000; the most popular topic has 500 times as many subscribers")
	serve := flag.String("serve", "", "serve a live page on this `address`, e.g. :8080")
	logURL := flag.String("log", "", "keep the feed and the messages in the log at this `URL`, kafka://HOST:PORT or nats://HOST:PORT, instead of a directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *n < 60 || *n > 2000 || flag.NArg() > 0:
		flag.Usage()
		os.Exit(2)
	case *serve != "":
		err = servePage(ctx, *serve, *logURL, os.Stdout)
	default:
		err = run(ctx, os.Stdout, *n, *logURL)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "notifications:", err)
		os.Exit(1)
	}
}

// A story is what the parts of the run share.
type story struct {
	w         io.Writer
	dir       string
	people    *population
	log       stream.Log
	table     *table
	directory *directory
	store     *store
	cache     *cache
	routing   *routing
	fleet     *fleet
	service   *service
	producer  *producer
	messages  int      // pushed ones of a drill
	fences    int      // marks that were sent
	last      []string // what the end says again
}

// cacheTime is how old the answer to a poll may be.
const cacheTime = 250 * time.Millisecond

func newStory(ctx context.Context, w io.Writer, n int, logURL string) (s *story, err error) {
	dir, err := os.MkdirTemp("", "notifications")
	if err != nil {
		return nil, err
	}
	s = &story{w: w, dir: dir, people: populate(n), directory: newDirectory(), messages: 150}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.log, err = openLog(ctx, logURL, filepath.Join(dir, "log")); err != nil {
		return s, err
	}
	s.producer = &producer{log: s.log}
	if s.table, err = openTable(dir); err != nil {
		return s, err
	}
	if logURL != "" {
		s.table.batch = 900
	}
	if s.store, err = openStore(dir); err != nil {
		return s, err
	}
	s.cache = newCache(s.store, cacheTime)
	if s.routing, err = newRouting(); err != nil {
		return s, err
	}
	if s.fleet, err = startFleet(s.routing); err != nil {
		return s, err
	}
	s.service = &service{table: s.table, directory: s.directory, store: s.store, cache: s.cache, routing: s.routing}
	s.service.polledAt.Store(popularFrom)
	return s, s.service.start()
}

func (s *story) close() {
	if s.service != nil && s.service.server != nil {
		s.service.stop()
	}
	if s.fleet != nil {
		s.fleet.stop()
	}
	if s.store != nil {
		s.store.close()
	}
	if s.table != nil {
		s.table.close()
	}
	if s.log != nil {
		s.log.Close()
	}
	os.RemoveAll(s.dir)
}

func run(ctx context.Context, w io.Writer, n int, logURL string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	s, err := newStory(ctx, w, n, logURL)
	if err != nil {
		return err
	}
	defer s.close()
	for i, part := range []struct { // first what fails, then what holds
		title string
		tell  func(context.Context) error
	}{
		{"Who has subscribed to this topic?", s.fanOut},
		{"A router that knows the answer beforehand", s.prefilled},
		{"Which push server?", s.choosing},
		{"A topic with very many subscribers", s.popularity},
		{"A push server is killed: what seems enough", s.naive},
		{"A key on the server", s.serverKey},
		{"A key on the device", s.deviceKey},
		{"A Bloom filter before the database", s.filter},
		{"The same kill, with both keys and the store", s.whole},
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

func (s *story) say(format string, a ...any) { fmt.Fprintf(s.w, format+"\n", a...) }

// ---- 1 --------------------------------------------------------------------------

// fanOut fills the table, and asks it the wrong question.
func (s *story) fanOut(ctx context.Context) error {
	if err := createTopics(ctx, s.log); err != nil {
		return err
	}
	began := time.Now()
	if err := s.table.subscribe(s.people.rows...); err != nil {
		return err
	}
	sizes := s.people.sizes
	small := len(sizes) - s.people.popular()
	s.say("%s users, %s topics, %s subscriptions: a table by user, written in %v", num(s.people.users), num(len(sizes)), num(len(s.people.rows)), time.Since(began).Round(10*time.Millisecond))
	s.say("subscribers by rank, as 1/rank^%.1f: %s, %s, %s, … %s, … %s; %d topics have %s or more, %s have fewer", zipf, num(sizes[0]), num(sizes[1]), num(sizes[2]),
		num(sizes[99]), num(sizes[len(sizes)-1]), s.people.popular(), num(popularFrom), num(small))
	s.say("%d of the users have a device in this run", s.people.online)

	// What it is for.
	began = time.Now()
	const questions = 1000
	for u := range questions {
		if _, err := s.table.topicsOf(userID(u * s.people.users / questions)); err != nil {
			return err
		}
	}
	s.say("  what has this user subscribed to?    a range    %10.1f µs", micros(time.Since(began), questions))

	// What it is not for. A message of a small topic is 1 row in thousands.
	began = time.Now()
	read, found := 0, 0
	asked := s.sample(5)
	for _, t := range asked {
		list, n, err := s.table.scan(t)
		if err != nil {
			return err
		}
		read += n
		found += len(list)
	}
	s.say("  who has subscribed to this topic?    all rows   %10.1f µs: %s rows are read for one subscriber that is found", micros(time.Since(began), len(asked)), num(read/found))
	if read != len(asked)*len(s.people.rows) {
		return errors.New("a scan must read every row")
	}
	return nil
}

// sample returns n small topics of different size.
func (s *story) sample(n int) (list []topicID) {
	first := s.people.popular()
	for i := range n {
		list = append(list, topicID(1+first+i*(len(s.people.sizes)-first)/n))
	}
	return list
}

// ---- 2 --------------------------------------------------------------------------

// prefilled takes the table's changes to the log, and from there into memory; first
// in a way that is not enough.
func (s *story) prefilled(ctx context.Context) error {
	began := time.Now()
	n, err := s.table.publish(ctx, s.log)
	if err != nil {
		return err
	}
	s.say("the table's changes, captured and divided by topic into %d partitions: %s in %v", partitions, num(n), time.Since(began).Round(10*time.Millisecond))

	// A router that reads both feeds as they come.
	lazy, missed, expected, err := s.lazily(ctx)
	if err != nil {
		return err
	}
	s.say("  filled while messages come   %7s of %s messages find some subscribers missing; %s of %s subscribers get nothing", num(lazy), num(topics), num(missed), num(expected))
	if lazy == 0 || missed == 0 {
		return errors.New("a map that is filled late should miss somebody")
	}

	// One that reads the feed to its end first.
	before := heap()
	began = time.Now()
	if err := s.directory.fill(ctx, s.log); err != nil {
		return err
	}
	took := time.Since(began)
	bytes := float64(heap()-before) / float64(n)
	lazy, missed = 0, 0
	for i, size := range s.people.sizes {
		if d := size - s.directory.count(topicID(i+1)); d != 0 {
			lazy++
			missed += d
		}
	}
	s.say("  filled before the first      %7s of %s messages find some subscribers missing; it took %v, and %.0f bytes of memory a subscription", num(lazy), num(topics), took.Round(10*time.Millisecond), bytes)
	if lazy != 0 || missed != 0 || s.directory.changes() != n {
		return errors.New("a map that is filled first must miss nobody")
	}

	// The question again.
	began = time.Now()
	found := 0
	const rounds = 100
	asked := s.sample(5)
	for range rounds {
		for _, t := range asked {
			found += len(s.directory.subscribers(t))
		}
	}
	s.say("  who has subscribed to this topic?    in memory  %10.1f µs, and no database is asked", micros(time.Since(began), rounds*len(asked)))

	// The feed goes on: some leave, some come.
	gone, more := s.people.rows[:1000], make([]subscription, 1000)
	for i := range more {
		more[i] = subscription{userID(s.people.users + i), topicID(1 + i)} // new users
	}
	if err := errors.Join(s.table.unsubscribe(gone...), s.table.subscribe(more...)); err != nil {
		return err
	}
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	same, err := s.directory.equal(s.table)
	if err != nil {
		return err
	}
	s.say("1,000 unsubscribe and 1,000 subscribe; the map equals the table: %v", same)
	if !same {
		return errors.New("the map must follow the table")
	}
	if err := errors.Join(s.table.unsubscribe(more...), s.table.subscribe(gone...)); err != nil { // as before
		return err
	}
	return s.catchUp(ctx)
}

func (s *story) catchUp(ctx context.Context) error {
	if _, err := s.table.publish(ctx, s.log); err != nil {
		return err
	}
	return s.directory.fill(ctx, s.log)
}

// ---- 3 --------------------------------------------------------------------------

// choosing compares ways to choose a server, by numbers alone; the connections
// themselves come in the parts after it.
func (s *story) choosing(context.Context) error {
	c, err := chooseAll(s.people.users, s.people.online)
	if err != nil {
		return err
	}
	s.say("%d push servers, one of them dies: of %s users", servers, num(s.people.users))
	s.say("  number modulo servers      %5.1f %% are sent elsewhere", 100*c.modulo)
	s.say("  consistent hashing         %5.1f %%, and %.1f %% were connected to it", 100*c.ring, 100*c.victim)
	s.say("%s connections, how many has the fullest server?", num(s.people.online))
	s.say("  whoever owns the user      %5.1f %% above the average", 100*(c.owners-1))
	s.say("  … unless it is too full    %5.1f %%, the bound is %.0f %%; %.1f %% of the users are with the next on the ring", 100*(c.bounded-1), 100*slack, 100*c.away)
	if math.Abs(c.ring-c.victim) > 1e-9 || c.modulo < 2*c.ring {
		return errors.New("on a ring only the users of the dead server should move")
	}
	if average := float64(s.people.online) / servers; c.bounded*average > math.Ceil((1+slack)*average) || c.owners < c.bounded {
		return errors.New("the bound must hold, and even out")
	}
	return nil
}

// ---- 4 --------------------------------------------------------------------------

// popularity sends one message to the most popular topic, and behind it one to a
// small topic of the same partition.
func (s *story) popularity(ctx context.Context) error {
	pushed, err := s.burst(ctx, "push", math.MaxInt)
	if err != nil {
		return err
	}
	polled, err := s.burst(ctx, "poll", popularFrom)
	if err != nil {
		return err
	}
	subscribers := s.people.sizes[0]
	each := micros(pushed.routed, pushed.pushes)
	s.say("one message to topic 1, and one to a small topic behind it:")
	s.say("  everything pushed    %6s pushes to those who are connected: the router is busy for %8.1f ms, and the small topic waits for %8.1f ms", num(pushed.pushes), millis(pushed.routed), millis(pushed.small))
	s.say("  popular ones polled  %6s                                    the router is busy for %8.1f ms, and the small topic waits for %8.1f ms", num(polled.pushes), millis(polled.routed), millis(polled.small))
	s.say("were all %s connected, at %.0f µs each: %s pushes and %.1f s for every message of topic 1; polled, it is 1 write", num(subscribers), each, num(subscribers), each*float64(subscribers)/1e6)
	s.say("its %s devices found it by %s polls of topic 1: the cache answered all but %s", num(polled.reached), num(polled.polls), num(polled.reads))
	switch {
	case pushed.pushes < len(s.people.reachable()[1]) || polled.pushes != 0:
		return errors.New("pushed once to each device, or not at all")
	case polled.reached != pushed.reached || polled.polls < polled.reached || polled.reads >= polled.polls:
		return errors.New("all devices should have polled, and the cache have answered some")
	}
	return nil
}

// ---- 5 --------------------------------------------------------------------------

// naive does nothing against duplicates but hope, and nothing against loss but
// trying again.
func (s *story) naive(ctx context.Context) error {
	r, err := s.drill(ctx, plan{name: "tried again, no key, nothing stored"})
	if err != nil {
		return err
	}
	s.tellDrill(r)
	s.say("%s", comparison([]result{r}))
	if r.twice == 0 || r.lost == 0 {
		return errors.New("without keys and store there should be duplicates and losses")
	}
	return nil
}

func (s *story) tellDrill(r result) {
	s.say("%d messages, %s to be shown; one device in ten is off until late", s.messages+s.messages/10, num(r.expected))
	s.say("SIGKILL to %s with %d connections, after %d pushes that it had not answered; a router stopped before its commit", r.victim, r.connections, r.unanswered)
	s.say("all were connected again %v later, rebalanced connections: %d", r.back.Round(10*time.Millisecond), r.moved)
}

// ---- 6 --------------------------------------------------------------------------

// serverKey kills senders between the key and the send.
func (s *story) serverKey(ctx context.Context) error {
	all, err := outcomes(ctx, s.dir)
	if err != nil {
		return err
	}
	s.say("how often the message arrives when its sender")
	s.say("  %-27s %22s %22s %12s %14s", "", "is killed before it", "is killed after it", "is repeated", "runs twice")
	for _, order := range keyOrders {
		o := all[order]
		s.say("  %-27s %22s %22s %12s %14s", order, times(o.before), times(o.after), times(o.again), times(o.twins))
	}
	s.say("a begun key is neither: after its lease of %v it was taken over %d times, by one that knows that it may be the second", senderHold, all[keyAround].takenOver)
	want := map[string]outcome{
		noKey:     {1, 2, 2, 2, 0},
		keyFirst:  {0, 1, 1, 2, 0}, // the key is written, the message never sent
		keyLast:   {1, 2, 1, 2, 0},
		keyAround: {1, 2, 1, 1, 2},
	}
	for order, o := range want {
		if all[order] != o {
			return fmt.Errorf("%s: %+v, want %+v", order, all[order], o)
		}
	}
	return nil
}

func times(n int) string {
	switch n {
	case 0:
		return "never"
	case 1:
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// ---- 7 --------------------------------------------------------------------------

// deviceKey lets devices remember more and less.
func (s *story) deviceKey(context.Context) error {
	const messages, topics = 50_000, 50
	list := deliveries(messages, topics)
	s.say("%s notifications of %d topics arrive, %s deliveries in all: 5 %% come again, 1 %% only late", num(messages), topics, num(len(list)))
	s.say("  %-32s %14s %12s %8s", "the device remembers", "memory", "shown twice", "lost")
	var twice []int
	for _, most := range []int{100, 1000, 0} {
		r := rememberKeys(list, most)
		name := fmt.Sprintf("the last %s keys", num(most))
		if most == 0 {
			name = "all keys"
		}
		s.say("  %-32s %8s bytes %12s %8s", name, num(r.bytes), num(r.twice), num(r.lost))
		twice = append(twice, r.twice)
	}
	r := rememberLast(list, topics)
	s.say("  %-32s %8s bytes %12s %8s   and fetches %s that were missing, in %s requests", "the last one of each topic", num(r.bytes), num(r.twice), num(r.lost), num(r.fetched), num(r.requests))
	if !(twice[0] > twice[1] && twice[1] > 0 && twice[2] == 0) || r.twice != 0 || r.lost != 0 {
		return errors.New("a device that forgets shows things twice, one that counts does not")
	}
	return nil
}

// ---- 8 --------------------------------------------------------------------------

// filter asks about keys with and without a filter in front.
func (s *story) filter(ctx context.Context) error {
	// The filter forgets by periods, and has room for a quarter of what it expects in
	// each: here all keys come in one.
	const keys = 10_000
	s.say("%s keys are known; %s notifications come, one in ten of them again:", num(keys), num(keys))
	s.say("  %-26s %10s %8s %14s %14s %12s", "", "reads", "saved", "wrongly kept", "wrongly sent", "µs each")
	var all []looking
	for _, c := range []struct {
		name   string
		expect int
	}{{"database alone", -1}, {"filter, database", 4 * keys}, {"filter too small, database", keys / 2}} {
		l, err := lookUp(ctx, s.dir, c.name, keys, c.expect)
		if err != nil {
			return err
		}
		s.say("  %-26s %10s %6.1f %% %14s %14s %12.2f", c.name, num(int(l.reads)), l.share(), num(l.lost), num(l.twice), micros(l.took, keys))
		all = append(all, l)
	}
	alone, err := filterAlone(keys)
	if err != nil {
		return err
	}
	s.say("  %-26s %10s %8s %14s %14s %12.2f", "filter alone", "0", "", num(alone.lost), num(alone.twice), micros(alone.took, keys))
	plain, filtered, small := all[0], all[1], all[2]
	for _, l := range all {
		if l.lost != 0 || l.twice != 0 {
			return errors.New("with a database behind it every answer must be right")
		}
	}
	switch {
	case plain.reads != keys || filtered.share() < 85 || filtered.reads < keys/10:
		return errors.New("the filter should save the reads of nearly all new keys, and only these")
	case small.reads <= filtered.reads:
		return errors.New("a small filter should save less")
	case alone.lost == 0:
		return errors.New("a filter that is believed should have kept something back")
	}
	return nil
}

func (l looking) share() float64 { return 100 * float64(l.saved) / float64(l.saved+l.reads) }

// ---- 9 --------------------------------------------------------------------------

// whole is the drill of part 5 again, with one precaution after the other.
func (s *story) whole(ctx context.Context) error {
	var all []result
	for _, p := range []plan{
		{"key on the server", true, false},
		{"key on the device, and the store", false, true},
		{"both keys, and the store", true, true},
	} {
		r, err := s.drill(ctx, p)
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	server, device, both := all[0], all[1], all[2]
	s.tellDrill(both)
	s.say("%s", comparison(all))
	saved := 100 * float64(both.keySaved) / float64(both.keySaved+both.keyReads)
	s.say("stopped: not pushed again, by the server's key; dropped: pushed again, known to the device; fetched: what an absent device missed")
	s.say("%s keys asked for: the Bloom filter answered %s, the database %s", num(int(both.keySaved+both.keyReads)), num(int(both.keySaved)), num(int(both.keyReads)))
	s.say("%s polls of popular topics: the cache answered %.1f %%", num(int(both.polls)), 100*float64(both.hits)/float64(both.polls))
	switch {
	case server.twice == 0 || server.lost == 0 || server.stopped == 0:
		return errors.New("the server's key should stop some, and not be enough")
	case device.twice != 0 || device.lost != 0 || both.twice != 0 || both.lost != 0:
		return errors.New("with the device's key and the store each must be shown once")
	case both.stopped == 0 || both.dropped == 0 || both.fetched == 0 || device.stopped != 0 || device.dropped == 0:
		return errors.New("each precaution should have had work")
	case both.shown() != both.expected:
		return errors.New("shown must be what was expected")
	case both.moved < both.connections || both.moved > both.connections+both.connections/10:
		return errors.New("those of the dead server should have moved, and nobody else")
	}
	s.last = append(s.last, fmt.Sprintf("pushed = %s", num(both.counts.pushed)), fmt.Sprintf("polled = %s", num(both.counts.polled)),
		fmt.Sprintf("fetched later = %s", num(both.fetched)), fmt.Sprintf("duplicates = %d", both.twice), fmt.Sprintf("lost = %d", both.lost),
		fmt.Sprintf("reads saved by the filter = %.1f %%", saved))
	return nil
}

// ---- numbers --------------------------------------------------------------------

// num writes a number with separators.
func num(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// heap returns how much memory is in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func micros(d time.Duration, n int) float64 {
	return float64(d.Nanoseconds()) / 1000 / float64(max(1, n))
}
func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
