package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/examples/internal/golden"
	"github.com/ashlar-go/ashlar/hll"
	"github.com/ashlar-go/ashlar/stream"
)

// TestMain lets the test's binary be the process that the example kills.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role))
	}
	os.Exit(m.Run())
}

// TestRun runs the whole example with fewer events: its claims are its own
// assertions. README.md shows the output for all of them; what does not depend on
// how many there are must be the same.
func TestRun(t *testing.T) {
	o := options{n: 300_000, redis: startRedis(t)}
	switch {
	case *golden.Update:
		o.n = usual
	case slow:
		o.n, o.brief = leastEvents, true
	}
	var out bytes.Buffer
	if err := run(t.Context(), &out, o); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if slow {
		return // README.md has the output of more runs
	}
	if *golden.Update {
		if o.redis == nobody {
			t.Fatal("the output in README.md should have been made with a Redis server")
		}
		points, err := errorCurve(1_000_000, 40)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("error.svg", []byte(drawCurve(points)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden.Check(t, out.String(), func(s string) string { return mask(s, o.redis != nobody) })
}

// nobody listens here: the discard port.
const nobody = "127.0.0.1:9"

// startRedis starts a server for this test and returns its address, or that of
// nobody where Redis is not installed.
func startRedis(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Log("redis-server is not installed")
		return nobody
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(path, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; {
		r, err := dialRedis(addr)
		if err == nil {
			_, err = r.do("PING")
			r.conn.Close()
		}
		if err == nil {
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatalf("no Redis within 20 s: %v", err)
		}
	}
}

var (
	digits = regexp.MustCompile(`[+-]?\d+([.,]\d+)*( (kB|MB|B)\b)?`)
	sums   = regexp.MustCompile(`[0-9a-f]{12}…`)
	spaces = regexp.MustCompile(` +`)
	title  = regexp.MustCompile(`^== (\d+)\. `)
)

// mask replaces numbers, but for those parts that are the same with any number of
// events. What Redis says is left out where there is none.
func mask(out string, redis bool) string {
	var b strings.Builder
	part := ""
	for line := range strings.Lines(out) {
		if m := title.FindStringSubmatch(line); m != nil {
			part = m[1]
			b.WriteString(line)
			continue
		}
		switch {
		case part == "10" && !redis && !strings.HasPrefix(line, "active users"):
			continue
		case part == "5" || part == "9":
		default:
			line = spaces.ReplaceAllString(digits.ReplaceAllString(sums.ReplaceAllString(line, "#"), "#"), " ")
		}
		b.WriteString(line)
	}
	return b.String()
}

func TestMask(t *testing.T) {
	for _, c := range []struct {
		in   string
		want string
	}{
		{"== 1. A day\n10,000 events of   1,000 users, 3.4 MB\n", "== 1. A day\n# events of # users, #\n"},
		{"== 5. One\n  16   427 %\n== 6. Who\n  off -0.3 %\n", "== 5. One\n  16   427 %\n== 6. Who\n off # %\n"},
		{"SHA-256 0541e6b4bb5e… after\n", "SHA# # after\n"},
		{"== 10. Handed to Redis\nno server\nactive users = 3\n", "== 10. Handed to Redis\nactive users = #\n"},
	} {
		if got := mask(c.in, false); got != c.want {
			t.Errorf("mask(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestGenerate(t *testing.T) {
	const n = 20_000
	events := generate(n)
	if !slices.Equal(events, generate(n)) {
		t.Fatal("two days differ")
	}
	if len(events) != n || !slices.IsSorted(events) {
		t.Errorf("%d events, or not in the order of time", len(events))
	}
	// What is packed comes out again, at the ends of all ranges too.
	m := pack(daySeconds-1, 1<<24-1, devices-1, offline, vocabulary-1)
	if m.second() != daySeconds-1 || m.user() != 1<<24-1 || m.slot() != devices-1 || m.kind() != offline || m.term() != vocabulary-1 {
		t.Errorf("packed and unpacked: %d %d %d %d %d", m.second(), m.user(), m.slot(), m.kind(), m.term())
	}
	if usersOf(mostEvents) > 1<<24 {
		t.Error("there are more users than fit")
	}
	seen := map[uint32]bool{}
	for d := range 100_000 {
		seen[deviceID(d)] = true
	}
	if len(seen) != 100_000 {
		t.Errorf("100,000 devices have %d ids", len(seen))
	}
}

// The truth, computed with sets.
func TestTruth(t *testing.T) {
	const n = 20_000
	events := generate(n)
	users, device, terms := map[uint32]bool{}, map[int]bool{}, map[int]bool{}
	minute, hour, termsHour := [minutes]map[uint32]bool{}, [24]map[uint32]bool{}, [24]map[int]bool{}
	put := func(set *map[uint32]bool, u uint32) {
		if *set == nil {
			*set = map[uint32]bool{}
		}
		(*set)[u] = true
	}
	for _, e := range events {
		users[e.user()], device[e.device()] = true, true
		put(&minute[e.minute()], e.user())
		put(&hour[e.minute()/60], e.user())
		if e.kind() == search {
			terms[e.term()] = true
			if termsHour[e.minute()/60] == nil {
				termsHour[e.minute()/60] = map[int]bool{}
			}
			termsHour[e.minute()/60][e.term()] = true
		}
	}
	got := truthOf(events, usersOf(n))
	if got.users != len(users) || got.devices != len(device) || got.terms != len(terms) {
		t.Errorf("%d users, %d devices, %d terms, want %d, %d, %d", got.users, got.devices, got.terms, len(users), len(device), len(terms))
	}
	pairs := 0
	for m := range minutes {
		if got.minute[m] != len(minute[m]) {
			t.Errorf("minute %d has %d users, want %d", m, got.minute[m], len(minute[m]))
		}
		pairs += len(minute[m])
	}
	if got.pairs != pairs {
		t.Errorf("%d pairs, want %d", got.pairs, pairs)
	}
	for h := range 24 {
		if got.hour[h] != len(hour[h]) || got.termsHour[h] != len(termsHour[h]) {
			t.Errorf("hour %d has %d users and %d terms, want %d and %d", h, got.hour[h], got.termsHour[h], len(hour[h]), len(termsHour[h]))
		}
	}
	all := map[uint32]bool{}
	for m := 600; m < 660; m++ {
		for u := range minute[m] {
			all[u] = true
		}
	}
	if n := usersIn(events, usersOf(n), 600, 660); n != len(all) {
		t.Errorf("%d users in an hour, want %d", n, len(all))
	}
}

func TestEvent(t *testing.T) {
	for _, m := range []moment{pack(1, 17, 2, online, 0), pack(1, 17, 2, search, 0), pack(1, 17, 2, search, 999), pack(1, 1<<24-1, 0, offline, 0)} {
		b := m.append(nil)
		e, err := parseEvent(b)
		if err != nil || e.kind != m.kind() || e.user != m.user() || e.device != deviceID(m.device()) || len(e.term) > 0 != (m.kind() == search) {
			t.Errorf("%x: %+v, %v", b, e, err)
		}
	}
	for _, b := range []string{"", "\x00", "\x00\x01\x02\x03\x04\x05\x06\x07", "\x03\x01\x02\x03\x04\x05\x06\x07\x08", "\x01\x01\x02\x03\x04\x05\x06\x07\x08", "\x00\x01\x02\x03\x04\x05\x06\x07\x08red"} {
		if _, err := parseEvent([]byte(b)); !errors.Is(err, errEvent) {
			t.Errorf("parseEvent(%x) = %v, want errEvent", b, err)
		}
	}
	seen := map[string]bool{}
	for i := range 5000 {
		seen[string(appendTerm(nil, i))] = true
	}
	if len(seen) != 5000 {
		t.Errorf("5,000 terms have %d texts", len(seen))
	}
}

// The status table against a list of all devices.
func TestStatusTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	table := newStatusTable(0)
	on := map[uint32]bool{}
	for i := range 5000 {
		device := rng.Uint32N(60)
		k := online
		if rng.IntN(2) == 0 {
			k = offline
		}
		table.apply(event{kind: k, device: device, user: device / devices})
		on[device] = k == online
		users, count := map[uint32]bool{}, 0
		for d, yes := range on {
			if yes {
				count++
				users[d/devices] = true
			}
		}
		d, u := table.scan()
		if d != count || u != len(users) || len(table.online) != len(users) {
			t.Fatalf("after %d events %d devices and %d or %d users are online, want %d and %d", i+1, d, u, len(table.online), count, len(users))
		}
	}
}

// A device that is sold belongs to its new user.
func TestStatusOfSoldDevice(t *testing.T) {
	table := newStatusTable(0)
	table.apply(event{kind: online, device: 1, user: 10})
	table.apply(event{kind: online, device: 2, user: 10})
	table.apply(event{kind: online, device: 1, user: 11})
	if d, u := table.scan(); d != 2 || u != 2 || table.online[10] != 1 || table.online[11] != 1 {
		t.Errorf("%d devices, %d users, %v", d, u, table.online)
	}
	table.apply(event{kind: offline, device: 2, user: 10})
	if _, known := table.online[10]; known {
		t.Error("a user without a device is online")
	}
}

// fill returns a log in memory with a day of events.
func fill(t *testing.T, n int) (*stream.Mem, []moment) {
	t.Helper()
	l := stream.NewMem()
	t.Cleanup(func() { l.Close() })
	events := generate(n)
	s, err := newSender(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	// In two parts, as if half of the day had not happened yet.
	for _, part := range [][]moment{events[:n/2], events[n/2:]} {
		if err := s.send(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	if s.sent != n {
		t.Fatalf("%d events sent, want %d", s.sent, n)
	}
	return l, events
}

// A counter that is replaced after any number of events has the same sketches as one
// that never was.
func TestCounterRestored(t *testing.T) {
	l, _ := fill(t, 20_000)
	calm, err := openCounter(t.Context(), l, "calm", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := calm.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want, _, err := calm.digest()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	lives, processed := 0, 0
	for next := int64(0); next < calm.next; lives++ {
		c, err := openCounter(t.Context(), l, "troubled", 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		left := 200 + rng.IntN(700)
		c.onEvent = func(int) error {
			if left--; left < 0 {
				return errEnough // what it knows is lost
			}
			return nil
		}
		if err := enough(c.run(t.Context())); err != nil {
			t.Fatal(err)
		}
		if c.next < next {
			t.Fatalf("life %d ended at %d, before %d", lives, c.next, next)
		}
		processed += c.processed
		if left >= 0 {
			next = c.next
		}
		if lives > 1000 {
			t.Fatal("it never comes to the end")
		}
	}
	last, err := openCounter(t.Context(), l, "troubled", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := last.digest()
	if err != nil || got != want || last.next != calm.next {
		t.Errorf("after %d lives %s up to %d, %v, want %s up to %d", lives, got, last.next, err, want, calm.next)
	}
	if lives < 5 || processed <= calm.processed {
		t.Errorf("%d lives, %d events: nothing was interrupted", lives, processed)
	}
}

func TestSlot(t *testing.T) {
	s, err := newSlot()
	if err != nil {
		t.Fatal(err)
	}
	for u := range uint32(100) {
		s.add(event{kind: search, user: u, term: appendTerm(nil, int(u)/2)})
	}
	b, err := s.encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	back, err := decodeSlot(b)
	if err != nil || round(back.users.Estimate()) != 100 || round(back.terms.Estimate()) != 50 {
		t.Fatalf("%v users, %v terms, %v", back.users.Estimate(), back.terms.Estimate(), err)
	}
	for n := range b {
		if _, err := decodeSlot(b[:n]); err == nil {
			t.Errorf("%d of %d bytes were read", n, len(b))
		}
	}
}

// The archive, the batch and the stream agree, and a question at any place is
// answered from what it should be.
func TestBatch(t *testing.T) {
	l, events := fill(t, 40_000)
	people := usersOf(len(events))
	store := blob.NewMem()
	if _, err := archive(t.Context(), l, store); err != nil {
		t.Fatal(err)
	}
	want := truthOf(events, people)
	r := &report{}
	for _, until := range []int{1, 9, 18} {
		if err := r.run(t.Context(), store, until); err != nil {
			t.Fatal(err)
		}
	}
	counters := make([]*counter, partitions)
	for p := range partitions {
		var err error
		if counters[p], err = openCounter(t.Context(), l, liveGroup, p, nil); err != nil {
			t.Fatal(err)
		}
		if err := counters[p].run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	live, err := merged(counters)
	if err != nil {
		t.Fatal(err)
	}
	h := &history{store, r, live}
	for _, c := range []struct {
		from, to    int
		exact       bool
		batch, live bool
	}{{0, 1, true, false, false}, {3, 18, true, false, false}, {17, 19, false, true, true}, {18, 19, false, false, true}, {0, 24, false, true, true}} {
		a, err := h.users(t.Context(), c.from, c.to)
		if err != nil {
			t.Fatal(err)
		}
		truth := usersIn(events, people, c.from*60, c.to*60)
		if a.exact != c.exact || a.batch > 0 != c.batch || a.live > 0 != c.live || !near(a.users, truth, 4*a.relative) {
			t.Errorf("%d to %d: %+v, want %d", c.from, c.to, a, truth)
		}
	}
	if err := r.run(t.Context(), store, 24); err != nil {
		t.Fatal(err)
	}
	if r.minute != want.minute || r.hour != want.hour || r.termsHour != want.termsHour || len(r.users) != want.users || len(r.terms) != want.terms || r.events != len(events) {
		t.Errorf("%d events, %d users, %d terms, or their parts, are not %d, %d, %d", r.events, len(r.users), len(r.terms), len(events), want.users, want.terms)
	}
}

// What is damaged is refused, and nothing makes the reader panic.
func FuzzArchived(f *testing.F) {
	l := stream.NewMem()
	defer l.Close()
	s, err := newSender(f.Context(), l)
	if err != nil {
		f.Fatal(err)
	}
	if err := s.send(f.Context(), generate(1000)); err != nil {
		f.Fatal(err)
	}
	store := blob.NewMem()
	if _, err := archive(f.Context(), l, store); err != nil {
		f.Fatal(err)
	}
	file, _, err := blob.GetBytes(f.Context(), store, archiveKey(20, 0), objectLimit)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add(file[:len(file)-1])
	f.Add([]byte(archiveMagic + "\x80"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = readArchived(b, 20, func(minute int, e event) error {
			if minute < 20*60 || minute >= 21*60 || e.kind > offline {
				t.Errorf("minute %d, kind %d", minute, e.kind)
			}
			return nil
		})
		if list, err := parseList(b); err == nil {
			again, err := parseList(appendList(nil, list))
			if err != nil || !slices.Equal(list, again) {
				t.Errorf("a list of %d is not read as it was written: %v", len(list), err)
			}
		}
	})
}

func TestUnion(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		list := func() (out []uint32) {
			for range rng.IntN(20) {
				out = append(out, rng.Uint32N(40))
			}
			slices.Sort(out)
			return slices.Compact(out)
		}
		a, b := list(), list()
		want := slices.Concat(a, b)
		slices.Sort(want)
		if got := union(a, b); !slices.Equal(got, slices.Compact(want)) {
			t.Errorf("union(%v, %v) = %v", a, b, got)
		}
	}
}

// A change of nodes moves each user to where the ring says, whichever node it is.
func TestShards(t *testing.T) {
	l, events := fill(t, 20_000)
	s, err := newShards(nodeNames(4)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.fill(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ add, remove string }{{"x", ""}, {"", "node-1"}, {"y", ""}, {"", "x"}} {
		r, err := s.change(c.add, c.remove)
		if err != nil {
			t.Fatal(err)
		}
		for name, node := range s.nodes {
			for u := range node.users {
				if s.owner(u) != name {
					t.Fatalf("%+v: user %d is on %s, and belongs to %s", c, u, name, s.owner(u))
				}
			}
		}
		if s.count() != usersOf(len(events)) || r.sideways != 0 || r.moved == 0 {
			t.Errorf("%+v: %d users, %+v", c, s.count(), r)
		}
	}
}

// The instances hold what the registers of a sketch hold: the same idea.
func TestInstancesAreRegisters(t *testing.T) {
	x := newInstances(8)
	s, err := hll.New(8)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for range 50_000 {
		h := rng.Uint64()
		x.addHash(h)
		s.AddHash(h)
	}
	// Far above the number of registers both estimators agree within a per cent.
	if a, b := x.harmonic(), s.Estimate(); a/b < 0.99 || a/b > 1.01 {
		t.Errorf("the harmonic mean says %.0f, the sketch %.0f", a, b)
	}
}

func TestSummarise(t *testing.T) {
	e := summarise([]float64{50, 100, 200, 100, 400}, 100)
	if e.median != 2 || e.rms < 1.43 || e.rms > 1.44 { // √((¼ + 0 + 1 + 0 + 9)/5)
		t.Errorf("%+v", e)
	}
}

// The picture is well-formed, and has a line for each way in each panel, but for the
// exact one, which has no error.
func TestDrawCurve(t *testing.T) {
	points, err := errorCurve(10_000, 4)
	if err != nil {
		t.Fatal(err)
	}
	picture := drawCurve(points)
	lines := 0
	for d := xml.NewDecoder(strings.NewReader(picture)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "path" && strings.HasPrefix(e.Attr[0].Value, "line") {
			lines++
		}
	}
	if want := 4 + 3 + 4; lines != want { // legend, errors, bytes
		t.Errorf("%d lines, want %d", lines, want)
	}
	if strings.Contains(picture, "NaN") || strings.Contains(picture, "Inf") {
		t.Error("there are no numbers in it")
	}
	shipped, err := os.ReadFile(filepath.Join(".", "error.svg"))
	if err != nil || !strings.Contains(string(shipped), "measured over 40 runs") {
		t.Errorf("the picture in this folder is not that of the program: %v", err)
	}
}

// A server that answers nonsense is an error and no panic.
func TestRedisAnswers(t *testing.T) {
	for answer, want := range map[string]string{
		"+OK\r\n": "OK", ":17\r\n": "17", "$3\r\nabc\r\n": "abc",
		"-ERR no\r\n": "error", "$-1\r\n": "error", "$9999999999\r\n": "error", "$5\r\nab": "error", "\r\n": "error", "*1\r\n": "error", "": "error",
	} {
		here, there := net.Pipe()
		go func() {
			b := make([]byte, 100)
			_, _ = there.Read(b)
			_, _ = io.WriteString(there, answer)
			there.Close()
		}()
		got, err := newRedis(here).do("PING")
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("an answer %q is %q, %v, want %q", answer, got, err, want)
		}
		here.Close()
	}
}

func TestWords(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -12: "-12"} {
		if got := num(n); got != want {
			t.Errorf("num(%d) = %s, want %s", n, got, want)
		}
	}
	if got := percent(101, 100) + size(12_359) + size(4_000_000) + size(7) + clock(61); got != "+1.00 %12.4 kB4.0 MB7 B01:01" {
		t.Error(got)
	}
}
