package stream

import (
	"math"
	"testing"
	"time"
)

// Every nanosecond that fits comes back as it was, up to both ends; what is
// beyond becomes the end.
func TestTimesToTheEnds(t *testing.T) {
	for _, ns := range []int64{math.MinInt64 + 1, math.MinInt64 + 2, math.MinInt64 + 999_999_999, -1, 0, 1, math.MaxInt64 - 48_000, math.MaxInt64 - 1, math.MaxInt64} {
		if got := toNanos(fromNanos(ns)); got != ns {
			t.Errorf("%d came back as %d", ns, got)
		}
	}
	if got := toNanos(time.Time{}); got != noTime || !fromNanos(got).IsZero() {
		t.Errorf("no time is %d", got)
	}
	for _, c := range []struct {
		t    time.Time
		want int64
	}{
		{lastTime.Add(1), math.MaxInt64},
		{time.Unix(1<<60, 0), math.MaxInt64},
		{firstTime.Add(-1), math.MinInt64 + 1},
		{time.Unix(-1<<60, 0), math.MinInt64 + 1},
	} {
		if got := toNanos(c.t); got != c.want {
			t.Errorf("%v became %d, want %d", c.t, got, c.want)
		}
	}
}
