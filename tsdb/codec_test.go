package tsdb

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// checkValues codes v and fails unless it comes back bit for bit.
func checkValues(t testing.TB, c *coder, v []float64) int {
	t.Helper()
	b, _ := c.appendValues(nil, v, 0)
	got, x := make([]float64, len(v)), make([]int64, len(v))
	rest, err := decodeValues(got, x, append(b, 1, 2, 3))
	require.NoError(t, err)
	require.Equal(t, []byte{1, 2, 3}, rest)
	for i := range v {
		if math.Float64bits(got[i]) != math.Float64bits(v[i]) {
			t.Fatalf("value %d of %d = %x (%v), want %x (%v)", i, len(v), math.Float64bits(got[i]), got[i], math.Float64bits(v[i]), v[i])
		}
	}
	return len(b)
}

func checkInts(t testing.TB, c *intCoder, x []int64) int {
	t.Helper()
	b := c.append(nil, x)
	got := make([]int64, len(x))
	rest, err := decodeInts(got, b)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.True(t, slices.Equal(got, x), "got %v, want %v", got, x)
	return len(b)
}

var oddFloats = []float64{
	0, math.Copysign(0, -1), math.NaN(), math.Float64frombits(0x7ff0000000000002), math.Float64frombits(0xfff8dead0000beef),
	math.Inf(1), math.Inf(-1), math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64, math.MaxFloat64, 1 << 53, 1<<53 + 2, 0.1, 1.0 / 3, -123.456,
}

func TestValuesRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var c coder
	kinds := map[string]func(i int) float64{
		"constant": func(int) float64 { return 7.25 },
		"counter":  func(i int) float64 { return float64(1000*i + rnd.IntN(300)) },
		"cents":    func(int) float64 { return float64(rnd.IntN(10000)) / 100 },
		"noise":    func(int) float64 { return rnd.Float64() },
		"bits":     func(int) float64 { return math.Float64frombits(rnd.Uint64()) },
		"odd":      func(int) float64 { return oddFloats[rnd.IntN(len(oddFloats))] },
		"rarely odd": func(int) float64 {
			if rnd.IntN(20) == 0 {
				return oddFloats[rnd.IntN(len(oddFloats))]
			}
			return float64(rnd.IntN(1000)) / 1000
		},
	}
	for name, next := range kinds {
		for n := 1; n <= maxBlock; n = n*5/4 + 1 {
			v := make([]float64, n)
			for i := range v {
				v[i] = next(i)
			}
			size := checkValues(t, &c, v)
			if n > 500 {
				t.Logf("%s: %.2f bytes a value", name, float64(size)/float64(n))
			}
		}
	}
}

func TestIntsRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var c intCoder
	for range 3000 {
		n := 1 + rnd.IntN(maxBlock)
		if rnd.IntN(2) == 0 {
			n = 1 + rnd.IntN(20)
		}
		x := make([]int64, n)
		w := rnd.IntN(65)
		step := int64(rnd.Uint64() >> rnd.IntN(64))
		for i := range x {
			x[i] = int64(i)*step + int64(rnd.Uint64()>>(64-w)) // a shift by 64 is zero
			if rnd.IntN(50) == 0 {
				x[i] = int64(rnd.Uint64())
			}
		}
		checkInts(t, &c, x)
	}
	for _, x := range [][]int64{
		{math.MinInt64}, {math.MinInt64, math.MaxInt64}, {math.MaxInt64, math.MinInt64, 0}, {0, 0, 0}, {-1, math.MaxInt64, -1, 5},
	} {
		checkInts(t, &c, x)
	}
	steady := make([]int64, maxBlock)
	for i := range steady {
		steady[i] = 1_700_000_000_000 + int64(i)*15_000
	}
	require.LessOrEqual(t, checkInts(t, &c, steady), 14, "a constant step costs a header only")
}

func FuzzDecodeInts(f *testing.F) {
	var c intCoder
	f.Add(uint16(5), c.append(nil, []int64{1, 5, 9, 1 << 40, 3}))
	f.Fuzz(func(t *testing.T, n uint16, b []byte) {
		x := make([]int64, 1+int(n)%maxBlock)
		if _, err := decodeInts(x, b); err == nil {
			checkInts(t, &c, x)
		}
	})
}

func FuzzDecodeValues(f *testing.F) {
	var c coder
	for _, v := range [][]float64{{1, 1, 1}, {1.5, 2.25, 1e300}, oddFloats, {0.1234567890123456, 0.2345678901234567, 0.3456789012345678}} {
		b, _ := c.appendValues(nil, v, 0)
		f.Add(uint16(len(v)-1), b)
	}
	f.Fuzz(func(t *testing.T, n uint16, b []byte) {
		v := make([]float64, 1+int(n)%maxBlock)
		if _, err := decodeValues(v, make([]int64, len(v)), b); err == nil {
			checkValues(t, &c, v)
		}
	})
}

func FuzzValues(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\xf0\x3f\x00\x00\x00\x00\x00\x00\x00\x40"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v []float64
		for ; len(b) >= 8 && len(v) < maxBlock; b = b[8:] {
			v = append(v, math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}
		if len(v) > 0 {
			checkValues(t, new(coder), v)
		}
	})
}

// TestNAB stores real series of the Numenta Anomaly Benchmark, with the times that
// come twice and the step backwards that they have, and counts bytes: the slice in
// testdata, or the archive that ASHLAR_NAB names.
func TestNAB(t *testing.T) {
	name, limit := os.Getenv("ASHLAR_NAB"), 2.4
	if name == "" {
		name, limit = "testdata/nab/slice.tar.gz", 2.5
	}
	var c coder
	total, size := 0, 0
	opts := testOptions(vfs.NewSim())
	opts.ChunkRange = 32 * 24 * time.Hour
	opts.Now = func() time.Time { return at(start).AddDate(5, 0, 0) }
	db := open(t, opts)
	m := newModel()
	for file, s := range readNAB(t, name) {
		begin := size
		for i := 0; i < len(s.t); i += maxBlock {
			j := min(i+maxBlock, len(s.t))
			size += checkInts(t, &c.intCoder, s.t[i:j]) + checkValues(t, &c, s.v[i:j])
		}
		total += len(s.t)
		t.Logf("%.2f %s", float64(size-begin)/float64(len(s.t)), file)
		l := Pairs("file", file)
		ref, err := db.Series("nab", l)
		require.NoError(t, err)
		key, err := l.appendKey(nil)
		require.NoError(t, err)
		for i, ts := range s.t { // one by one, as they came
			res, err := db.Append(t.Context(), Batch{[]Ref{ref}, []int64{ts}, s.v[i : i+1]})
			require.NoError(t, err)
			require.Equal(t, 1, res.Accepted)
			m.put(seriesID{"nab", string(key)}, ts, s.v[i])
		}
	}
	require.Less(t, float64(size)/float64(total), limit)
	want := m.query(All, nil)
	sameColumns(t, want, read(t, db, All), "in heads")
	require.NoError(t, db.Seal(t.Context()))
	sameColumns(t, want, read(t, db, All), "sealed")
	st := db.Stats()
	stored := 0
	for _, c := range want {
		stored += len(c.t)
	}
	require.Equal(t, uint64(total-stored), st.Duplicates, "times that came twice")
	require.Less(t, float64(st.ChunkSize)/float64(stored), limit, "bytes on the disk, index included")
	t.Logf("%d samples, %.3f bytes a sample coded, %.3f on the disk", total, float64(size)/float64(total), float64(st.ChunkSize)/float64(stored))
}

type column struct {
	t []int64
	v []float64
}

func readNAB(t testing.TB, name string) map[string]column {
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	out := map[string]column{}
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		if !strings.HasSuffix(h.Name, ".csv") {
			continue
		}
		var s column
		for lines := bufio.NewScanner(tr); lines.Scan(); {
			stamp, value, ok := strings.Cut(lines.Text(), ",")
			at, err := time.Parse(time.DateTime, strings.SplitN(stamp, ".", 2)[0])
			if !ok || err != nil {
				continue
			}
			v, err := strconv.ParseFloat(value, 64)
			require.NoError(t, err)
			s.t, s.v = append(s.t, at.UnixMilli()), append(s.v, v)
		}
		out[h.Name] = s
	}
}
