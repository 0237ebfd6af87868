package replica

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// full runs the crash tests at the sizes that a release is judged by; by default
// they are small enough for every change.
var full = os.Getenv("ASHLAR_FULL") != ""

func scaled(few, all int) int {
	if full {
		return all
	}
	return few
}

// storesUnderTest opens both stores on disk.
var storesUnderTest = map[string]func(dir string) (logStore, error){
	"wal": func(dir string) (logStore, error) {
		s, _, err := openWAL(vfs.OS, dir, 4096)
		return s, err
	},
	"bolt": func(dir string) (logStore, error) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		return openBolt(filepath.Join(dir, "raft.db"))
	},
}

func entry(index, term uint64, data string) *raft.Log {
	l := &raft.Log{Index: index, Term: term, Type: raft.LogCommand, AppendedAt: time.Unix(1700000000, int64(index))}
	if data != "" {
		l.Data = []byte(data)
	}
	return l
}

// TestStoreConformance holds each store to what the engine expects of one.
func TestStoreConformance(t *testing.T) {
	for name, open := range storesUnderTest {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "log")
			s, err := open(dir)
			require.NoError(t, err)
			defer func() { s.Close() }()
			bounds := func(first, last uint64) {
				t.Helper()
				f, err := s.FirstIndex()
				require.NoError(t, err)
				l, err := s.LastIndex()
				require.NoError(t, err)
				require.Equal(t, [2]uint64{first, last}, [2]uint64{f, l})
			}
			reopen := func() {
				t.Helper()
				require.NoError(t, s.Close())
				s, err = open(dir)
				require.NoError(t, err)
			}
			bounds(0, 0)
			var l raft.Log
			require.ErrorIs(t, s.GetLog(1, &l), raft.ErrLogNotFound)
			require.NoError(t, s.DeleteRange(1, 10), "of nothing")

			// What comes out is what went in.
			odd := &raft.Log{
				Index: 1, Term: 1<<63 + 7, Type: raft.LogConfiguration, Data: []byte("data"),
				Extensions: []byte("ext"), AppendedAt: time.Unix(-5, 999999999),
			}
			require.NoError(t, s.StoreLog(odd))
			require.NoError(t, s.StoreLogs([]*raft.Log{entry(2, 3, "two"), entry(3, 3, ""), entry(4, 4, strings.Repeat("4", 9000))}))
			for range 2 { // from the cache, and from the disk
				bounds(1, 4)
				require.NoError(t, s.GetLog(1, &l))
				require.True(t, l.AppendedAt.Equal(odd.AppendedAt), "%v", l.AppendedAt)
				l.AppendedAt = odd.AppendedAt
				require.Equal(t, *odd, l)
				for i, want := range map[uint64]string{2: "two", 3: "", 4: strings.Repeat("4", 9000)} {
					require.NoError(t, s.GetLog(i, &l))
					require.Equal(t, want, string(l.Data))
					require.Equal(t, i, l.Index)
				}
				require.ErrorIs(t, s.GetLog(0, &l), raft.ErrLogNotFound)
				require.ErrorIs(t, s.GetLog(5, &l), raft.ErrLogNotFound)
				reopen()
			}

			// The end is cut and written anew; then the beginning is cut.
			require.NoError(t, s.DeleteRange(3, 4))
			bounds(1, 2)
			require.ErrorIs(t, s.GetLog(3, &l), raft.ErrLogNotFound)
			reopen()
			bounds(1, 2)
			require.NoError(t, s.StoreLogs([]*raft.Log{entry(3, 5, "new three"), entry(4, 5, "new four")}))
			require.NoError(t, s.DeleteRange(1, 2))
			bounds(3, 4)
			require.ErrorIs(t, s.GetLog(2, &l), raft.ErrLogNotFound)
			reopen()
			bounds(3, 4)
			require.NoError(t, s.GetLog(3, &l))
			require.Equal(t, "new three", string(l.Data))

			// Durable values outlive the entries around them.
			_, err = s.Get([]byte("none"))
			require.EqualError(t, err, "not found")
			require.NoError(t, s.SetUint64([]byte("CurrentTerm"), 7))
			require.NoError(t, s.Set([]byte("LastVoteCand"), []byte("n1")))
			require.NoError(t, s.SetUint64([]byte("CurrentTerm"), 8))
			require.NoError(t, s.DeleteRange(3, 4), "all of it")
			bounds(0, 0)
			reopen()
			bounds(0, 0)
			term, err := s.GetUint64([]byte("CurrentTerm"))
			require.NoError(t, err)
			require.EqualValues(t, 8, term)
			cand, err := s.Get([]byte("LastVoteCand"))
			require.NoError(t, err)
			require.Equal(t, "n1", string(cand))

			// An empty log begins anywhere.
			require.NoError(t, s.StoreLog(entry(1000, 9, "far")))
			bounds(1000, 1000)
			reopen()
			bounds(1000, 1000)
		})
	}
}

// TestStoreOrder is what only the store without gaps promises.
func TestStoreOrder(t *testing.T) {
	s, _, err := openWAL(vfs.NewSim(), "log", 4096)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.StoreLogs([]*raft.Log{entry(5, 1, "5"), entry(6, 1, "6"), entry(7, 1, "7"), entry(8, 1, "8")}))
	for _, wrong := range [][]*raft.Log{
		{entry(8, 1, "again")}, {entry(10, 1, "gap")}, {entry(9, 1, ""), entry(11, 1, "")}, {entry(4, 1, "before")}, {entry(0, 1, "")},
	} {
		require.ErrorContains(t, s.StoreLogs(wrong), "follow")
	}
	require.ErrorContains(t, s.DeleteRange(6, 7), "middle")
	require.NoError(t, s.DeleteRange(9, 12))
	require.NoError(t, s.DeleteRange(1, 4))
	require.NoError(t, s.StoreLogs(nil))
	require.ErrorIs(t, s.Set(make([]byte, 256), nil), ErrTooLarge)

	// A snapshot makes one gap legal, and what was before it void.
	s.covered = func() uint64 { return 20 }
	require.ErrorContains(t, s.StoreLog(entry(22, 2, "22")), "follow")
	require.NoError(t, s.StoreLog(entry(21, 2, "21")))
	first, _ := s.FirstIndex()
	last, _ := s.LastIndex()
	require.Equal(t, [2]uint64{21, 21}, [2]uint64{first, last})
	require.ErrorIs(t, s.GetLog(8, new(raft.Log)), raft.ErrLogNotFound)
}

// A logState is what a store should hold.
type logState struct {
	first   uint64 // of entries, if there are any
	entries []string
	stable  map[string]string
}

func (m logState) clone() logState {
	m.entries, m.stable = slices.Clone(m.entries), maps.Clone(m.stable)
	return m
}

func (m logState) String() string {
	if len(m.entries) == 0 {
		m.first = 0
	}
	return fmt.Sprint(m.first, m.entries, m.stable)
}

func (m logState) last() uint64 { return m.first + uint64(len(m.entries)) - 1 }

// dataOf is what the tests know an entry by: its data and term.
func dataOf(l *raft.Log) string { return fmt.Sprintf("%d:%.24s", l.Term, l.Data) }

// look reads all of a store.
func look(s logStore) (logState, error) {
	m := logState{stable: map[string]string{}}
	first, err := s.FirstIndex()
	if err != nil {
		return m, err
	}
	last, err := s.LastIndex()
	if err != nil {
		return m, err
	}
	m.first = first
	for i := first; i <= last && i > 0; i++ {
		var l raft.Log
		if err := s.GetLog(i, &l); err != nil {
			return m, fmt.Errorf("entry %d: %w", i, err)
		}
		if l.Index != i {
			return m, fmt.Errorf("entry %d says %d", i, l.Index)
		}
		m.entries = append(m.entries, dataOf(&l))
	}
	for _, key := range []string{"term", "vote"} {
		if v, err := s.Get([]byte(key)); err == nil {
			m.stable[key] = string(v)
		} else if err.Error() != "not found" {
			return m, err
		}
	}
	return m, nil
}

// A stepper makes random changes to a store and to what it should hold.
type stepper struct {
	rng     *rand.Rand
	n       int // numbers the values
	covered uint64
}

// A change is one call and the states that it passes through, the last of which
// is the one after it.
type change struct {
	do      func(s logStore) error
	states  []logState
	durable bool // when do returns
}

func (g *stepper) next(m logState) change {
	add := func(first uint64, from logState, passed []logState, durable bool) change {
		var logs []*raft.Log
		states := passed
		at := from.clone()
		if len(at.entries) == 0 {
			at.first = first
		}
		for i := range 1 + g.rng.IntN(4) {
			g.n++
			pad := g.rng.IntN(120)
			if g.rng.IntN(25) == 0 {
				pad = g.rng.IntN(6000)
			}
			l := entry(first+uint64(i), uint64(g.n), fmt.Sprintf("%d;%s", g.n, strings.Repeat("x", pad)))
			logs = append(logs, l)
			at.entries = append(at.entries, dataOf(l))
			states = append(states, at.clone())
		}
		return change{states: states, durable: durable, do: func(s logStore) error {
			if split, ok := s.(splitStore); ok && !durable {
				return split.Append(logs)
			}
			return s.StoreLogs(logs)
		}}
	}
	after := m.clone()
	switch op := g.rng.IntN(20); {
	case op < 9 || len(m.entries) == 0 && op < 17:
		first := m.last() + 1
		if len(m.entries) == 0 {
			first = 1 + g.rng.Uint64N(50)
		}
		return add(first, m, nil, op%2 == 0)
	case op < 11: // cut the end
		k := g.rng.IntN(len(m.entries))
		after.entries = after.entries[:k]
		return change{states: []logState{after}, durable: true, do: func(s logStore) error {
			return s.DeleteRange(m.first+uint64(k), m.last())
		}}
	case op < 14: // cut the beginning
		k := 1 + g.rng.IntN(len(m.entries))
		after.first, after.entries = m.first+uint64(k), after.entries[k:]
		return change{states: []logState{after}, durable: true, do: func(s logStore) error {
			return s.DeleteRange(m.first, m.first+uint64(k)-1)
		}}
	case op < 15 && g.covered > 0: // a snapshot went beyond the end
		g.covered = m.last() + 1 + g.rng.Uint64N(20)
		empty := logState{stable: m.stable}
		return add(g.covered+1, empty, []logState{empty}, true)
	default:
		g.n++
		key := []string{"term", "vote"}[g.rng.IntN(2)]
		after.stable[key] = fmt.Sprint(g.n)
		return change{states: []logState{after}, durable: true, do: func(s logStore) error {
			return s.Set([]byte(key), []byte(after.stable[key]))
		}}
	}
}

// TestStoreModel makes random changes, reopens, and compares.
func TestStoreModel(t *testing.T) {
	for name, open := range storesUnderTest {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(scaled(4, 50)) {
				dir := filepath.Join(t.TempDir(), "log")
				s, err := open(dir)
				require.NoError(t, err)
				g := &stepper{rng: rand.New(rand.NewPCG(seed, 2))}
				m := logState{stable: map[string]string{}}
				for step := range 120 {
					if w, ok := s.(*walStore); ok {
						g.covered = 1
						w.covered = func() uint64 { return g.covered }
					}
					c := g.next(m)
					require.NoError(t, c.do(s), "seed %d step %d", seed, step)
					m = c.states[len(c.states)-1]
					if g.rng.IntN(10) == 0 {
						require.NoError(t, s.Close())
						s, err = open(dir)
						require.NoError(t, err)
					}
					got, err := look(s)
					require.NoError(t, err)
					require.Equal(t, m.String(), got.String(), "seed %d step %d", seed, step)
				}
				require.NoError(t, s.Close())
			}
		})
	}
}

// A crashRun makes random changes on a simulated disk until its power is cut,
// and checks what is there afterwards, several times over.
type crashRun struct {
	t    *testing.T
	name string
	sim  *vfs.Sim
	g    *stepper
	may  []logState // what may be found: the last durable state and those passed since
}

// cuts runs until the n-th call is cut (0: never, for steps changes), and
// returns how many calls there were.
func (r *crashRun) cut(n, steps int) (ops int) {
	before := r.sim.Ops()
	r.sim.CutAt(n)
	s, _, err := openWAL(r.sim, "log", 4096)
	if err == nil {
		s.covered = func() uint64 { return r.g.covered }
		err = r.check(s)
		m := r.may[0]
		for n := 0; n < steps && err == nil; n++ {
			r.g.covered = max(r.g.covered, 1)
			c := r.g.next(m)
			r.may = append(r.may, c.states...)
			if err = c.do(s); err != nil {
				break
			}
			m = c.states[len(c.states)-1]
			if c.durable {
				r.may = []logState{m}
			}
		}
		if err == nil && r.g.rng.IntN(3) == 0 {
			err = s.Flush()
			if err == nil {
				r.may = []logState{m}
			}
		}
	}
	if err != nil && !errors.Is(err, vfs.ErrPowerCut) {
		r.t.Fatalf("%s: %v", r.name, err)
	}
	ops = r.sim.Ops() - before
	if s != nil {
		defer s.Close() // ends its goroutine; the disk is gone or the state is taken
	}
	if r.g.rng.IntN(4) == 0 {
		r.sim = r.sim.Kill()
	} else {
		r.sim = r.sim.Crash(r.g.rng.Uint64())
	}
	return ops
}

// check demands that the store holds one of the states allowed, which becomes
// the only one. Its error is one of reading: what the log does in the background
// may be the call that is cut.
func (r *crashRun) check(s *walStore) error {
	r.t.Helper()
	got, err := look(s)
	if err != nil {
		return err
	}
	for _, m := range r.may {
		if m.String() == got.String() {
			r.may = []logState{m}
			return nil
		}
	}
	r.t.Fatalf("%s: found\n%v\nallowed\n%v", r.name, got, r.may)
	return nil
}

func newCrashRun(t *testing.T, seed uint64, name string) *crashRun {
	return &crashRun{
		t: t, name: name, sim: vfs.NewSim(), g: &stepper{rng: rand.New(rand.NewPCG(seed, 3))},
		may: []logState{{stable: map[string]string{}}},
	}
}

// TestStorePowerCut cuts the power at every call of a random run, reopens (often
// with another cut meanwhile), and goes on: every acknowledged entry, term and
// vote must be there, what was removed must not, and what was not acknowledged
// may be there in the order of writing. 10,000 cuts with ASHLAR_FULL.
func TestStorePowerCut(t *testing.T) {
	const steps = 40
	want := scaled(2000, 10000)
	for seed, cuts := uint64(0), 0; cuts < want; seed++ {
		ops := newCrashRun(t, seed, "dry").cut(0, steps)
		for n := 1; n <= ops && cuts < want; n++ {
			r := newCrashRun(t, seed, fmt.Sprintf("seed %d cut %d", seed, n))
			r.cut(n, steps)
			cuts++
			for range r.g.rng.IntN(3) { // also while it recovers
				r.cut(1+r.g.rng.IntN(30), 10)
				cuts++
			}
			r.cut(0, 3)
			r.cut(0, 0)
		}
	}
}

// filledLog returns a disk with a log as a killed process leaves it: acked
// entries that were flushed one by one, and then one write of further ones.
func filledLog(t *testing.T, acked, more, size int, flush bool) (sim *vfs.Sim, ends []int64) {
	t.Helper()
	sim = vfs.NewSim()
	s, _, err := openWAL(sim, "log", 1<<20)
	require.NoError(t, err)
	require.NoError(t, s.Set([]byte("term"), []byte("5")))
	for i := range acked {
		require.NoError(t, s.StoreLog(entry(uint64(i+1), 1, fmt.Sprintf("%d;%s", i+1, strings.Repeat("a", size)))))
	}
	var logs []*raft.Log
	for i := range more {
		logs = append(logs, entry(uint64(acked+i+1), 1, fmt.Sprintf("%d;%s", acked+i+1, strings.Repeat("b", size))))
	}
	if more > 0 {
		require.NoError(t, s.Append(logs))
	}
	if flush {
		require.NoError(t, s.Flush())
	}
	for i := range acked + more {
		end := s.log.End()
		if i+2 <= acked+more {
			end = s.index.at(uint64(i + 2))
		}
		ends = append(ends, int64(end)) // in the first segment position and offset agree
	}
	killed := sim.Kill()
	s.Close()
	return killed, ends
}

const firstSegment = "log/0000000000000001.wal"

// TestStoreTornTail tears an unacknowledged write of 64 KiB at every byte: what
// is whole before the tear is found, and nothing behind it.
func TestStoreTornTail(t *testing.T) {
	const acked, more = 20, 130
	base, ends := filledLog(t, acked, more, 450, false)
	from, to := ends[acked-1], ends[len(ends)-1]
	require.Greater(t, to-from, int64(64<<10))
	f, err := base.Open(firstSegment)
	require.NoError(t, err)
	image := make([]byte, to)
	_, err = f.ReadAt(image, 0)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 4))
	step := int64(scaled(211, 1))
	for cut := from; cut <= to; cut += step {
		sim := base.Crash(1) // any: all is overwritten here
		f, err := sim.Open(firstSegment)
		require.NoError(t, err)
		b := slices.Clone(image)
		if clear(b[cut:]); cut%3 == 0 {
			for i := cut; i < to; i++ { // what was there before
				b[i] = byte(rng.Uint32())
			}
		}
		_, err = f.WriteAt(b, 0)
		require.NoError(t, err)
		s, _, err := openWAL(sim, "log", 1<<20)
		require.NoError(t, err, "torn at %d", cut)
		want := 0
		for want < len(ends) && ends[want] <= cut {
			want++
		}
		last, _ := s.LastIndex()
		// The padding of the last record may be torn without loss.
		if int(last) != want && (int(last) != want+1 || ends[want]-cut >= 8) {
			t.Fatalf("torn at %d: entries up to %d, want %d", cut, last, want)
		}
		got, err := look(s)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("1:%d;", last), got.entries[last-1][:len(fmt.Sprintf("1:%d;", last))])
		require.Equal(t, "5", got.stable["term"])
		require.NoError(t, s.Close())
	}
}

// TestStoreBitFlips flips single bits of a log. One that was closed, or one that
// was killed with its last record vouched for, either opens with everything or
// says where it is damaged. Of one that was killed right after a flush the last
// flush may be taken for a torn write: that much is lost without a word, and no
// more. 10,000 flips with ASHLAR_FULL.
func TestStoreBitFlips(t *testing.T) {
	const acked, more = 40, 10
	flips := scaled(400, 5000)
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprint("closed=", closed), func(t *testing.T) {
			base, ends := filledLog(t, acked, more, 100, true)
			if closed {
				s, _, err := openWAL(base, "log", 1<<20)
				require.NoError(t, err)
				require.NoError(t, s.Close())
			}
			size, err := base.Stat(firstSegment)
			require.NoError(t, err)
			rng := rand.New(rand.NewPCG(2, 5))
			found, same, cut := 0, 0, 0
			for range flips {
				off := rng.Int64N(ends[len(ends)-1] + 64)
				if rng.IntN(20) == 0 {
					off = rng.Int64N(size)
				}
				sim := base.Crash(1) // all is durable: a copy
				require.NoError(t, sim.Flip(firstSegment, off, rng.IntN(8)))
				s, _, err := openWAL(sim, "log", 1<<20)
				if err != nil {
					found++
					require.ErrorIs(t, err, ErrCorrupt, "offset %d", off)
					require.ErrorContains(t, err, firstSegment)
					require.ErrorContains(t, err, "offset")
					continue
				}
				got, err := look(s)
				require.NoError(t, err)
				last, _ := s.LastIndex()
				for i, e := range got.entries {
					want := fmt.Sprintf("1:%d;", i+1)
					require.Equal(t, want, e[:len(want)])
				}
				if last == acked+more {
					same++
				} else {
					cut++
					require.False(t, closed, "flip at %d lost entries after %d", off, last)
					require.GreaterOrEqual(t, last, uint64(acked), "flip at %d", off)
				}
				require.Equal(t, "5", got.stable["term"])
				require.NoError(t, s.Close())
			}
			t.Logf("%d flips: %d reported, %d without effect, %d cut from the last flush", flips, found, same, cut)
			require.NotZero(t, found)
		})
	}
}

// TestStoreReadDamage damages a record under an open store.
func TestStoreReadDamage(t *testing.T) {
	sim, ends := filledLog(t, 30, 0, 100, true)
	s, _, err := openWAL(sim, "log", 1<<20)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, sim.Flip(firstSegment, ends[9]+60, 3))
	err = s.GetLog(11, new(raft.Log))
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, fmt.Sprint(firstSegment, " at offset ", ends[9]))
	require.NoError(t, s.GetLog(12, new(raft.Log)))
}

// TestStoreFailedSync: after a failed flush nothing is tried again.
func TestStoreFailedSync(t *testing.T) {
	sim := vfs.NewSim()
	s, _, err := openWAL(sim, "log", 1<<20)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.StoreLog(entry(1, 1, "1")))
	eio := errors.New("input/output error")
	syncs := 0
	sim.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpDatasync && op.Name == firstSegment {
			syncs++
			return eio
		}
		return nil
	})
	require.NoError(t, s.Append([]*raft.Log{entry(2, 1, "2")}))
	require.ErrorIs(t, s.Flush(), eio)
	for range 3 {
		require.ErrorIs(t, s.Flush(), eio)
		require.ErrorIs(t, s.StoreLog(entry(3, 1, "3")), eio)
		require.ErrorIs(t, s.Set([]byte("term"), []byte("1")), eio)
		require.ErrorIs(t, s.DeleteRange(1, 1), eio)
	}
	require.Equal(t, 1, syncs)
}

// TestStoreFullDisk: an entry that did not fit is not there; what is there stays.
func TestStoreFullDisk(t *testing.T) {
	sim := vfs.NewSim()
	s, _, err := openWAL(sim, "log", 1<<20)
	require.NoError(t, err)
	require.NoError(t, s.StoreLog(entry(1, 1, "1")))
	short := 0
	sim.SetHook(func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite && op.Name == firstSegment && op.Len > 500 && op.Len < 100000 {
			return &vfs.ShortWrite{N: short, Err: vfs.ErrNoSpace}
		}
		return nil
	})
	for _, short = range []int{0, 1, 8, 17, 300} {
		require.ErrorIs(t, s.StoreLog(entry(2, 1, strings.Repeat("2", 1000))), vfs.ErrNoSpace)
	}
	sim.SetHook(nil)
	require.NoError(t, s.StoreLog(entry(2, 1, "small")))
	require.NoError(t, s.Close())
	s, _, err = openWAL(sim, "log", 1<<20)
	require.NoError(t, err)
	got, err := look(s)
	require.NoError(t, err)
	require.Equal(t, "1 [1:1 1:small] map[]", got.String())
	require.NoError(t, s.Close())
}

// FuzzWALEntry decodes anything as a record, and encodes it back.
func FuzzWALEntry(f *testing.F) {
	var head [entryHead]byte
	putEntryHead(&head, entry(3, 4, "x"))
	f.Add(append(head[:], "data"...))
	f.Add(appendStable(nil, "key", []byte("val")))
	f.Add(appendCut(nil, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		var l raft.Log
		if parseEntry(b, &l) == nil {
			var head [entryHead]byte
			putEntryHead(&head, &l)
			if back := slices.Concat(head[:], l.Extensions, l.Data); string(back) != string(b) {
				t.Errorf("entry %x encodes to %x", b, back)
			}
		}
		if key, val, err := parseStable(b); err == nil && string(appendStable(nil, key, val)) != string(b) {
			t.Errorf("value %x encodes to %x", b, appendStable(nil, key, val))
		}
		if index, err := parseCut(b); err == nil && string(appendCut(nil, index)) != string(b) {
			t.Errorf("cut %x encodes to %x", b, appendCut(nil, index))
		}
	})
}
