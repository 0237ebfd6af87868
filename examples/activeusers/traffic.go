package main

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/ashlar-go/ashlar/hll"
	"github.com/ashlar-go/ashlar/stream"
)

// The traffic of a day that never was: the same on every machine, since it is
// computed from a seed. A tenth as many users as events, each with three devices;
// every user is there at least once, few are there very often (Zipf), and most come
// in the evening.
const (
	seed       = 2026
	devices    = 3 // a user
	perUser    = 10
	minutes    = 24 * 60
	daySeconds = minutes * 60
	vocabulary = 1 << 18 // search terms that anybody thinks of
	partitions = 4
	topic      = "events"
)

var begin = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// A kind says what an event is.
type kind uint8

const (
	online kind = iota
	search
	offline
)

// A moment is an event in eight bytes, which sort by time:
//
//	second 17 bits │ user 24 │ device 2 │ kind 2 │ term 19
type moment uint64

func pack(second, user, slot int, k kind, term int) moment {
	return moment(second)<<47 | moment(user)<<23 | moment(slot)<<21 | moment(k)<<19 | moment(term)
}

func (m moment) second() int    { return int(m >> 47) }
func (m moment) user() uint32   { return uint32(m>>23) & (1<<24 - 1) }
func (m moment) slot() int      { return int(m>>21) & 3 }
func (m moment) kind() kind     { return kind(m>>19) & 3 }
func (m moment) term() int      { return int(m) & (1<<19 - 1) }
func (m moment) minute() int    { return m.second() / 60 }
func (m moment) time() int64    { return begin.Unix() + int64(m.second()) }
func (m moment) device() int    { return int(m.user())*devices + m.slot() }
func usersOf(n int) (users int) { return n / perUser }

// generate makes n events in the order of time.
func generate(n int) []moment {
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	users := usersOf(n)
	terms := rand.NewZipf(rng, 1.05, 10, vocabulary-1)
	often := rand.NewZipf(rng, 1.2, 50, uint64(users-1))
	when := curve()
	events := make([]moment, 0, n+64)

	// A visit: a device comes online, its user looks for something, it goes. Who
	// is there at midnight stays.
	visit := func(user, slot, searches int) {
		start := when[rng.IntN(len(when))]*60 + rng.IntN(60)
		length := 20 + int(rng.ExpFloat64()*420)
		events = append(events, pack(start, user, slot, online, 0))
		for range searches {
			if at := start + rng.IntN(length); at < daySeconds {
				events = append(events, pack(at, user, slot, search, int(terms.Uint64())))
			}
		}
		if start+length < daySeconds {
			events = append(events, pack(start+length, user, slot, offline, 0))
		}
	}
	// Everybody takes up the first two devices; one third device in ten stays in
	// its drawer.
	for user := range users {
		for slot := range devices {
			if slot < 2 || rng.IntN(10) > 0 {
				visit(user, slot, rng.IntN(4)/3)
			}
		}
	}
	// The rest of the day belongs to those who cannot leave it alone. Who that is
	// has nothing to do with how old an account is.
	stride := users*5/8 | 1
	for gcd(stride, users) != 1 {
		stride += 2
	}
	for len(events) < n {
		visit(int(often.Uint64())*stride%users, min(rng.IntN(3), rng.IntN(3)), rng.IntN(4))
	}
	events = events[:n]
	slices.Sort(events)
	return events
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// curve returns minutes of the day as often as visits begin in them: few at four
// in the morning, a hill before noon and a higher one in the evening.
func curve() []int {
	var out []int
	for m := range minutes {
		h := float64(m) / 60
		hill := func(at, wide, high float64) float64 { return high * math.Exp(-(h-at)*(h-at)/(2*wide*wide)) }
		for range int(4 + hill(10.5, 3, 40) + hill(20, 2.2, 75) + hill(15, 3, 20) + hill(23.5, 1.5, 12)) {
			out = append(out, m)
		}
	}
	return out
}

// ---- the bytes of an event ------------------------------------------------------

// An event as it stands in the log, little-endian; when it happened is the record's
// own time:
//
//	0  1  kind
//	1  4  device
//	5  4  user
//	9     what was searched for
const eventHead = 9

var errEvent = errors.New("not an event")

type event struct {
	kind   kind
	device uint32
	user   uint32
	term   []byte // points into the record
}

func (m moment) append(b []byte) []byte {
	b = append(b, byte(m.kind()))
	b = binary.LittleEndian.AppendUint32(b, deviceID(m.device()))
	b = binary.LittleEndian.AppendUint32(b, m.user())
	if m.kind() == search {
		b = appendTerm(b, m.term())
	}
	return b
}

func parseEvent(b []byte) (event, error) {
	if len(b) < eventHead || b[0] > byte(offline) || (b[0] == byte(search)) != (len(b) > eventHead) {
		return event{}, errEvent
	}
	return event{kind(b[0]), binary.LittleEndian.Uint32(b[1:]), binary.LittleEndian.Uint32(b[5:]), b[eventHead:]}, nil
}

// deviceID is what a device is called: nothing in it tells whose it is. An odd
// factor and shifts are steps that can be undone, so different devices stay so.
func deviceID(x int) uint32 {
	d := uint32(x) * 0x9e3779b1
	d ^= d >> 15
	d *= 0x85ebca6b
	return d ^ d>>13
}

var (
	first  = []string{"red", "blue", "used", "small", "warm", "cheap", "light", "old", "soft", "dark", "new", "long", "wide", "quiet", "fast", "green"}
	second = []string{"boots", "lamp", "tent", "chair", "phone", "coat", "bike", "book", "bag", "watch", "desk", "kettle", "radio", "scarf", "drill", "piano"}
)

func appendTerm(b []byte, term int) []byte {
	b = append(b, first[term%16]...)
	b = append(b, ' ')
	b = append(b, second[term/16%16]...)
	if rest := term / 256; rest > 0 {
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(rest), 10)
	}
	return b
}

// userHash is the hash under which a user is counted everywhere: Redis' own, of the
// decimal digits, so that every sketch can be handed to a Redis server.
func userHash(user uint32) uint64 {
	var buf [10]byte
	return hll.RedisHash(strconv.AppendUint(buf[:0], uint64(user), 10))
}

// partitionOf keeps all events of a user together, whatever the device.
func partitionOf(user uint32) int {
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], user)
	return stream.PartitionOf(key[:], partitions)
}

// ---- into the log ---------------------------------------------------------------

const sendBatch = 1 << 15

// A sender appends events to the log in batches.
type sender struct {
	log    stream.Log
	queued [partitions][]stream.Record
	arena  [partitions][]byte
	sent   int
}

func newSender(ctx context.Context, l stream.Log) (*sender, error) {
	return &sender{log: l}, l.CreateTopic(ctx, topic, &stream.TopicOptions{Partitions: partitions})
}

func (s *sender) send(ctx context.Context, events []moment) error {
	for _, m := range events {
		p := partitionOf(m.user())
		s.queued[p] = append(s.queued[p], stream.Record{Time: time.Unix(m.time(), 0)})
		from := len(s.arena[p])
		s.arena[p] = m.append(s.arena[p])
		// The arena may have moved: only where in it an event ends is sure until
		// the batch is complete.
		s.queued[p][len(s.queued[p])-1].Offset = int64(from)
		if len(s.queued[p]) == sendBatch {
			if err := s.flush(ctx, p); err != nil {
				return err
			}
		}
	}
	for p := range partitions {
		if err := s.flush(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (s *sender) flush(ctx context.Context, p int) error {
	records, end := s.queued[p], len(s.arena[p])
	if len(records) == 0 {
		return nil
	}
	for i := len(records) - 1; i >= 0; i-- {
		from := int(records[i].Offset)
		records[i].Value = s.arena[p][from:end:end]
		end = from
	}
	if _, err := s.log.Append(ctx, stream.Partition{Topic: topic, Number: p}, records); err != nil {
		return err
	}
	s.sent += len(records)
	s.queued[p], s.arena[p] = records[:0], s.arena[p][:0]
	return nil
}

// each calls f for the events of a partition from an offset on, as far as it
// reaches now. What f is given is valid until it returns; an error of f ends it.
func each(ctx context.Context, l stream.Log, p int, from int64, f func(offset int64, at time.Time, e event) error) error {
	part := stream.Partition{Topic: topic, Number: p}
	_, end, err := l.Bounds(ctx, part)
	if err != nil {
		return err
	}
	var b stream.Batch
	for from < end {
		if err := l.Read(ctx, part, from, &b); err != nil {
			return err
		}
		for i := range b.Records {
			r := &b.Records[i]
			e, err := parseEvent(r.Value)
			if err != nil {
				return err
			}
			if err := f(r.Offset, r.Time, e); err != nil {
				return err
			}
		}
		from = b.Next
	}
	return nil
}

func minuteOf(at time.Time) int { return int(at.Unix()-begin.Unix()) / 60 }

// ---- the truth ------------------------------------------------------------------

// A truth is what the counts should be. Only the generator can know it so cheaply:
// its users are numbers without gaps, and it sees all events in order.
type truth struct {
	users, devices, terms int
	minute                [minutes]int // users by minute
	hour                  [24]int
	termsHour             [24]int
	pairs                 int // of a user and a minute
}

func truthOf(events []moment, users int) *truth {
	t := &truth{}
	lastMinute, lastHour := make([]int16, users), make([]int8, users)
	device, term := newBits(users*devices), make([]int8, vocabulary)
	for _, e := range events {
		u, m, h := e.user(), int16(e.minute()+1), int8(e.minute()/60+1)
		if lastMinute[u] == 0 {
			t.users++
		}
		if lastMinute[u] != m {
			lastMinute[u] = m
			t.minute[m-1]++
			t.pairs++
		}
		if lastHour[u] != h {
			lastHour[u] = h
			t.hour[h-1]++
		}
		if device.add(uint32(e.device())) {
			t.devices++
		}
		if e.kind() == search {
			if term[e.term()] == 0 {
				t.terms++
			}
			if term[e.term()] != h {
				term[e.term()] = h
				t.termsHour[h-1]++
			}
		}
	}
	return t
}

// usersIn counts the users with an event in the minutes [from, to).
func usersIn(events []moment, users, from, to int) int {
	seen := newBits(users)
	n := 0
	for _, e := range events[atMinute(events, from):atMinute(events, to)] {
		if seen.add(e.user()) {
			n++
		}
	}
	return n
}

// atMinute returns the index of the first event of a minute or a later one.
func atMinute(events []moment, minute int) int {
	i, _ := slices.BinarySearch(events, pack(minute*60, 0, 0, 0, 0))
	return i
}

// onlineAt counts devices and users that are online when a minute begins.
func onlineAt(events []moment, users, minute int) (deviceCount, userCount int) {
	on := make([]bool, users*devices)
	for _, e := range events[:atMinute(events, minute)] {
		switch e.kind() {
		case online:
			on[e.device()] = true
		case offline:
			on[e.device()] = false
		}
	}
	for d := 0; d < len(on); d += devices {
		here := 0
		for _, yes := range on[d : d+devices] {
			if yes {
				here++
			}
		}
		deviceCount += here
		userCount += min(here, 1)
	}
	return deviceCount, userCount
}

// bits is a set of small numbers.
type bits []uint64

func newBits(n int) bits { return make(bits, (n+63)/64) }

func (b bits) add(x uint32) bool {
	if b[x/64]>>(x%64)&1 == 1 {
		return false
	}
	b[x/64] |= 1 << (x % 64)
	return true
}
