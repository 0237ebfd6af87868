package main

import (
	"slices"
	"time"

	"github.com/ashlar-go/ashlar/cms"
	"github.com/ashlar-go/ashlar/stream/flow"
)

// minuteBoards has a small cms.TopK for each minute, the minute in which plays
// happened. A watermark behind the latest play seen says what is over:
//
//	20:03 ├──────────┤20:04 ├──────────┤20:05 ├─────····
//	       last chance for 20:03 ▲  ▲ watermark    ▲ latest play
//	                             └ a minute of grace
//
// A minute is shown when the watermark has passed its end, changed by what comes
// within the grace, and closed after it: what is later is not counted in any minute,
// and how much that is is counted.
type minuteBoards struct {
	boards map[int64]*cms.TopK[string] // by start, in milliseconds
	marks  *flow.Watermarks
	late   uint64 // plays that came after the grace
	again  uint64 // plays that changed a minute which was over
}

// remembered is how many minutes are kept.
const remembered = 15

func newMinuteBoards() (*minuteBoards, error) {
	w, err := flow.NewWatermarks(1, 0, &flow.WatermarkOptions{Bound: bound})
	return &minuteBoards{boards: map[int64]*cms.TopK[string]{}, marks: w}, err
}

func (m *minuteBoards) add(p play) error {
	start := minute(p.Date)
	end := start + time.Minute.Milliseconds()
	m.marks.Observe(0, flow.At(p.Date), 0)
	mark := m.watermark()
	if mark >= end+grace.Milliseconds() {
		m.late += uint64(p.Count)
		return nil
	}
	if mark >= end {
		m.again += uint64(p.Count)
	}
	t := m.boards[start]
	if t == nil {
		var err error
		if t, err = cms.NewTopK[string](minuteItems, minuteBytes); err != nil {
			return err
		}
		m.boards[start] = t
		if len(m.boards) > remembered {
			delete(m.boards, m.starts()[0])
		}
	}
	t.Add(p.ID, p.Count)
	return nil
}

// latest is the latest time of a play.
func (m *minuteBoards) latest() flow.Instant { return m.marks.Latest(0) }

// watermark is the time, in milliseconds, before which nothing is expected.
func (m *minuteBoards) watermark() int64 {
	if m.latest() == flow.Beginning {
		return 0
	}
	return m.marks.Input(0).Time().UnixMilli()
}

func (m *minuteBoards) restore(latest int64) { m.marks.Restore(0, flow.Instant(latest)) }

// starts returns the minutes, the first in time first.
func (m *minuteBoards) starts() []int64 {
	list := make([]int64, 0, len(m.boards))
	for start := range m.boards {
		list = append(list, start)
	}
	slices.Sort(list)
	return list
}

// over tells whether all shards have passed the end of a minute.
func over(shards []*shard, start int64) bool {
	for _, s := range shards {
		if s.minutes.watermark() < start+time.Minute.Milliseconds() {
			return false
		}
	}
	return true
}

// ofMinute merges the boards of all shards for a minute.
func ofMinute(shards []*shard, start int64) (*cms.TopK[string], error) {
	sum, err := cms.NewTopK[string](minuteItems, minuteBytes)
	if err != nil {
		return nil, err
	}
	for _, s := range shards {
		if t := s.minutes.boards[start]; t != nil {
			if err := sum.Merge(t); err != nil {
				return nil, err
			}
		}
	}
	return sum, nil
}
