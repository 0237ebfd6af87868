package main

import "math"

// Stated numbers for the estimate. The run measures the bytes and checks that
// they are not above.
const (
	bytesPerSong  = 100       // of a map's entry with its name
	machine       = 16e9      // bytes of memory that one machine can spare
	perConsumer   = 250_000.0 // plays that one consumer counts in a second
	peak          = 3.0       // the busiest hour against the average
	bytesInLog    = 45.0      // of a play
	keepDays      = 7.0       // that the log keeps
	tenthShare    = 0.001     // of the tenth song of all plays
	relativeError = 0.01      // that its count may be off by
	day           = 24.0 * 60.0 * 60.0
)

// A load is what the estimate begins with: users, plays a day of each, and songs.
type load struct {
	name               string
	users, each, items float64
}

var loads = []load{
	{"a club", 20_000, 20, 100_000},
	{"a country", 10e6, 20, 20e6},
	{"the world", 500e6, 20, 200e6},
	{"search terms of the world", 3e9, 5, 5e9},
}

// An estimate is what follows.
type estimate struct {
	rate      float64 // plays a second at the peak
	exact     float64 // bytes of a map of all
	sketch    float64 // bytes of a sketch that is as precise as needed
	consumers int
	log       float64 // bytes
	verdict   string
}

// The verdicts, from the simplest.
const (
	verdictMap     = "one process with a map: none of this is needed"
	verdictShards  = "maps by song on a few machines: exact, no sketch is needed"
	verdictSketch  = "sketches, a log, and a batch for what must be exact"
	exactMachines  = 4 // as many machines for the map we would still call a few
	mapConsumerMax = 1
)

func (l load) estimate() (e estimate) {
	average := l.users * l.each / day
	e.rate = average * peak
	e.exact = l.items * bytesPerSong
	width := math.Ceil(math.E / (tenthShare * relativeError)) // ε·Total ≤ 1 % of the tenth
	e.sketch = width * sketchDepth * 4
	e.consumers = int(math.Ceil(e.rate / perConsumer))
	e.log = average * day * keepDays * bytesInLog
	switch machines := int(math.Ceil(e.exact / machine)); {
	case machines <= 1 && e.consumers <= mapConsumerMax:
		e.verdict = verdictMap
	case machines <= exactMachines:
		e.verdict = verdictShards
	default:
		e.verdict = verdictSketch
	}
	return e
}

// enough is up to how many distinct songs a map in one process is enough.
func enough() float64 { return machine / bytesPerSong }
