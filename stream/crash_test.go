package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// full runs the crash tests at full size.
var full = os.Getenv("ASHLAR_FULL") != ""

func scaled(few, all int) int {
	if full {
		return all
	}
	return few
}

var ctx = context.Background()

// A crashRun does random operations until the power is cut. What is found
// afterwards must be one of the states since the last one known to be durable:
// the log keeps a prefix of what was written, whatever the partitions.
type crashRun struct {
	t     *testing.T
	name  string
	level Sync
	sim   *vfs.Sim
	rng   *rand.Rand
	n     int
	state model
	may   []string
}

// A model is the state of a log: the plain topic's records, what the keyed topic
// says of each key, and the group's offsets.
type model struct {
	rows    [2][]string
	first   [2]int
	keys    map[string]string
	offsets map[Partition]Offset
}

func (m model) clone() model {
	for i := range m.rows {
		m.rows[i] = slices.Clone(m.rows[i])
	}
	m.keys, m.offsets = maps.Clone(m.keys), maps.Clone(m.offsets)
	return m
}

func (m model) String() string {
	var b strings.Builder
	for i, row := range m.rows {
		fmt.Fprintf(&b, "%d %q\n", m.first[i], row[min(m.first[i], len(row)):])
	}
	for _, k := range slices.Sorted(maps.Keys(m.keys)) {
		fmt.Fprintf(&b, "%s=%q ", k, m.keys[k])
	}
	for _, p := range sortedPartitions(m.offsets) {
		fmt.Fprintf(&b, "%v:%v ", p, m.offsets[p])
	}
	return b.String()
}

func newCrashRun(t *testing.T, seed uint64, level Sync, name string) *crashRun {
	return &crashRun{
		t: t, name: name, level: level, sim: vfs.NewSim(), rng: rand.New(rand.NewPCG(seed, 11)),
		state: model{keys: map[string]string{}, offsets: map[Partition]Offset{}},
	}
}

func (r *crashRun) open() (*Local, error) {
	return openLocal(r.sim, "log", &Options{Sync: r.level, SegmentSize: 4096, CleanEvery: -1, CleanRatio: 0.01, Interval: time.Hour})
}

var (
	plain = func(i int) Partition { return Partition{"plain", i} }
	keyed = Partition{"keyed", 0}
)

func (r *crashRun) topics(l *Local) error {
	if err := l.CreateTopic(ctx, "plain", &TopicOptions{Partitions: 2}); err != nil {
		return err
	}
	if err := l.CreateTopic(ctx, "keyed", &TopicOptions{Compact: true, TombstoneKeep: 1}); err != nil {
		return err
	}
	return l.Sync(ctx)
}

// cut runs steps operations with the power cut at the n-th call, and then makes r
// what the next process finds.
func (r *crashRun) cut(n, steps int) (ops int) {
	before := r.sim.Ops()
	r.sim.CutAt(n)
	l, err := r.open()
	if err == nil {
		if err = r.topics(l); err == nil {
			err = r.check(l)
		}
		for n := 0; n < steps && err == nil; n++ {
			err = r.step(l)
		}
		if err == nil && r.rng.IntN(3) == 0 {
			if err = l.Close(); err == nil {
				r.may = []string{r.state.String()}
			}
		}
	}
	if err != nil && !errors.Is(err, vfs.ErrPowerCut) {
		r.t.Fatalf("%s: %v", r.name, err)
	}
	ops = r.sim.Ops() - before
	old := r.sim
	if r.rng.IntN(5) == 0 {
		r.sim = old.Kill()
	} else {
		r.sim = old.Crash(r.rng.Uint64())
	}
	if l != nil {
		old.CutAt(1) // so that Close changes nothing
		_ = l.Close()
	}
	return ops
}

// did notes that the state has changed to next, which may be found from now on.
func (r *crashRun) did(next model, err error) error {
	r.may = append(r.may, next.String())
	if err == nil {
		r.state = next
		if r.level == SyncGroup {
			r.may = []string{next.String()}
		}
	}
	return err
}

func (r *crashRun) records(next *model, i int) []Record {
	var out []Record
	for range 1 + r.rng.IntN(4) {
		r.n++
		v := fmt.Sprintf("%d%s", r.n, strings.Repeat("x", r.rng.IntN(200)))
		next.rows[i] = append(next.rows[i], v)
		out = append(out, Record{Value: []byte(v), Key: []byte("k")})
	}
	return out
}

func (r *crashRun) keyedRecords(next *model) []Record {
	var out []Record
	for range 1 + r.rng.IntN(3) {
		r.n++
		k := fmt.Sprint("key", r.rng.IntN(6))
		if r.rng.IntN(3) == 0 {
			delete(next.keys, k)
			out = append(out, Record{Key: []byte(k)})
			continue
		}
		v := fmt.Sprintf("%d%s", r.n, strings.Repeat("y", r.rng.IntN(100)))
		next.keys[k] = v
		out = append(out, Record{Key: []byte(k), Value: []byte(v)})
	}
	return out
}

func (r *crashRun) step(l *Local) error {
	next := r.state.clone()
	i := r.rng.IntN(2)
	switch op := r.rng.IntN(20); {
	case op < 7:
		records := r.records(&next, i)
		_, err := l.Append(ctx, plain(i), records)
		return r.did(next, err)
	case op < 10:
		records := r.keyedRecords(&next)
		_, err := l.Append(ctx, keyed, records)
		return r.did(next, err)
	case op < 14:
		tx := &Tx{Group: "g", Offsets: map[Partition]Offset{plain(i): {Next: int64(r.rng.IntN(len(next.rows[i]) + 1)), Epoch: 1}}}
		maps.Copy(next.offsets, tx.Offsets)
		tx.Appends = []Append{{plain(0), r.records(&next, 0)}, {keyed, r.keyedRecords(&next)}, {plain(1), r.records(&next, 1)}}
		_, err := l.Transact(ctx, tx)
		return r.did(next, err)
	case op < 15:
		at := int64(r.rng.IntN(len(next.rows[i]) + 1))
		next.first[i] = max(next.first[i], int(at))
		return r.did(next, l.Trim(ctx, plain(i), at))
	case op < 17:
		return l.Clean(ctx) // changes nothing that can be read
	default:
		err := l.Sync(ctx)
		if err == nil {
			r.may = []string{r.state.String()}
		}
		return err
	}
}

// look reads the whole state of a log.
func look(l *Local) (model, error) {
	m := model{keys: map[string]string{}, offsets: map[Partition]Offset{}}
	for i := range m.rows {
		first, next, err := l.Bounds(ctx, plain(i))
		if err != nil {
			return m, err
		}
		m.first[i] = int(first)
		m.rows[i] = make([]string, first)
		for r, err := range Scan(ctx, l, plain(i), first, next) {
			if err != nil {
				return m, err
			}
			m.rows[i] = append(m.rows[i], string(r.Value))
		}
		if len(m.rows[i]) != int(next) {
			return m, fmt.Errorf("%d records, next offset %d", len(m.rows[i]), next)
		}
	}
	first, next, err := l.Bounds(ctx, keyed)
	if err != nil {
		return m, err
	}
	for r, err := range Scan(ctx, l, keyed, first, next) {
		if err != nil {
			return m, err
		}
		if r.Value == nil {
			delete(m.keys, string(r.Key))
		} else {
			m.keys[string(r.Key)] = string(r.Value)
		}
	}
	m.offsets, err = l.Committed(ctx, "g")
	return m, err
}

// check fails the test unless what the log holds is allowed.
func (r *crashRun) check(l *Local) error {
	r.t.Helper()
	got, err := look(l)
	if errors.Is(err, vfs.ErrPowerCut) {
		return err
	}
	if d := l.Recovery().Damage; err != nil || len(d) > 0 {
		r.t.Fatalf("%s: %v, damage %v\n%v", r.name, err, d, r.sim)
	}
	if s := got.String(); len(r.may) > 0 && !slices.Contains(r.may, s) {
		r.t.Fatalf("%s: found\n%s\nwhich is none of %d states, the first is\n%s\nthe last is\n%s\n%v", r.name, s, len(r.may), r.may[0],
			r.may[len(r.may)-1], r.sim)
	}
	r.state = got
	if len(r.may) == 0 || slices.Contains(r.may, got.String()) {
		r.may = []string{got.String()} // opening made it durable
	}
	return nil
}

// TestPowerCut cuts the power at each call of a run, and goes on with what is
// left.
func TestPowerCut(t *testing.T) {
	for level := SyncGroup; level <= SyncNone; level++ {
		for seed := range uint64(scaled(3, 60)) {
			total := 0
			for n := 1; n == 1 || n <= total; n += scaled(3, 1) {
				r := newCrashRun(t, seed, level, fmt.Sprintf("level %d seed %d cut %d", level, seed, n))
				if ops := r.cut(n, 40); n == 1 {
					probe := newCrashRun(t, seed, level, "probe")
					total = probe.cut(0, 40)
					_ = ops
				}
				r.cut(0, 3)
				r.cut(0, 0)
			}
		}
	}
}

// TestManyPowerCuts lets one log lose power again and again, also while it
// recovers.
func TestManyPowerCuts(t *testing.T) {
	for seed := range uint64(scaled(150, 3000)) {
		r := newCrashRun(t, seed+1000, Sync(seed%3), fmt.Sprintf("seed %d", seed+1000))
		for round := range 12 {
			r.name = fmt.Sprintf("seed %d round %d", seed+1000, round)
			n := 1 + r.rng.IntN(60)
			if r.rng.IntN(3) == 0 {
				n = 1 + r.rng.IntN(8) // while opening
			}
			r.cut(n, 30)
		}
		r.cut(0, 5)
		r.cut(0, 0)
	}
}
