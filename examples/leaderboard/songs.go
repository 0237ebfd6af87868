package main

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A play is what the API takes: an item, when it happened, and how often. A
// telephone that was offline reports several at once, and late.
type play struct {
	ID    string    `json:"id"`
	Date  time.Time `json:"date"`
	Count uint32    `json:"count"`
}

// The songs are made of three words each. Real titles would tell nothing more: what
// matters is that there are many, and that few of them are played often.
var (
	first = strings.Fields(`amber autumn blue borrowed bright broken burning careless copper crooked distant early
		electric empty fading faithful foreign gentle golden hidden hollow idle iron last little lonely lost midnight
		northern paper patient quiet restless salt second silver sleeping slow velvet wild`)
	second = strings.Fields(`anchor apple arrow balcony bell bicycle bird boat bridge candle canyon carpet cathedral
		chimney city clock coat corner desert door engine feather ferry field garden harbor hill house island kitchen
		ladder lantern letter meadow mirror morning mountain ocean orchard piano radio river road sailor shadow station
		street summer train window`)
	third = strings.Fields(`again airborne alone anthem at-dawn at-dusk at-noon avenue ballad blues boogie bolero
		chorale dance dream duet echo etude fanfare farewell fever foxtrot fugue gospel groove hymn interlude jig jive
		lament lullaby march mazurka minuet nocturne overture parade polka prelude rag refrain remix reprise rumba
		serenade shuffle song swing tango waltz`)
)

// songs is how many there are.
var songs = len(first) * len(second) * len(third)

// song names a song by its number. Neighbours in number are not neighbours in name.
func song(n int) string {
	n = int(int64(n) * 61_757 % int64(songs)) // a prime that does not divide songs: each number has its own name
	a, rest := n%len(first), n/len(first)
	return first[a] + "-" + second[rest%len(second)] + "-" + third[rest/len(second)]
}

// regions are the places where plays are taken in. Each has its own tastes.
var regions = []string{"americas", "europe", "africa", "asia"}

const (
	minutes = 10               // how long the story lasts
	bound   = 10 * time.Second // by how much plays are usually late, at most
	grace   = time.Minute      // a minute is changed for so long after it is over
	local   = 10_000           // each region has so many songs of its own at the end of the list
	chart   = 10               // places on the board
)

// The line of the first region is cut for a while. What is played meanwhile arrives
// afterwards.
var (
	cutOff = opening.Add(3*time.Minute + 20*time.Second)
	cutFor = 100 * time.Second
)

var opening = time.Date(2026, 3, 2, 20, 0, 0, 0, time.UTC)

// A crowd makes up plays: some songs are played everywhere, by Zipf's law; some
// only in one region; and every minute another song is what everybody talks about.
type crowd struct {
	*rand.Rand
	world, home *rand.Zipf
}

func newCrowd(seed uint64) *crowd {
	r := rand.New(rand.NewPCG(seed, 10))
	return &crowd{
		Rand:  r,
		world: rand.NewZipf(r, 1.12, 4, uint64(songs-local*len(regions)-1)),
		home:  rand.NewZipf(r, 1.5, 10, local-1),
	}
}

// play returns a play of that time in a region.
func (c *crowd) play(region int, at time.Time) play {
	p := play{Date: at, Count: 1}
	if c.IntN(10) == 0 {
		p.Count = 2 + uint32(c.IntN(5))
	}
	minute := int(at.Unix() / 60)
	switch x := c.IntN(100); {
	case x < 6:
		p.ID = song(200 + minute*7%400) // today's talk is forgotten tomorrow
	case x < 46:
		p.ID = song(songs - local*(region+1) + int(c.home.Uint64()))
	default:
		p.ID = song(int(c.world.Uint64()))
	}
	return p
}

// delay is how long a play is on its way.
func (c *crowd) delay() time.Duration {
	switch x := c.IntN(1000); {
	case x < 960:
		return time.Duration(c.Int64N(int64(bound / 2)))
	case x < 992:
		return bound + time.Duration(c.Int64N(int64(grace))) // the minute may be over: it is changed
	default:
		return bound + grace + time.Minute + time.Duration(c.Int64N(int64(2*time.Minute))) // it is too late
	}
}

// A sent is a play and when it arrives.
type sent struct {
	play
	arrives time.Time
}

// generate returns the plays of the story for each region, in the order in which
// they arrive. They are the same every time.
func generate(n int) [][]sent {
	c := newCrowd(1)
	all := make([][]sent, len(regions))
	for i := range n {
		r := c.IntN(len(regions))
		at := opening.Add(time.Duration(float64(i) / float64(n) * float64(minutes*time.Minute))).Truncate(time.Millisecond)
		arrives := at.Add(c.delay())
		if r == 0 && arrives.After(cutOff) && arrives.Before(cutOff.Add(cutFor)) {
			arrives = cutOff.Add(cutFor).Add(time.Duration(c.Int64N(int64(5 * time.Second))))
		}
		all[r] = append(all[r], sent{c.play(r, at), arrives})
	}
	for _, list := range all {
		slices.SortStableFunc(list, byArrival)
	}
	return all
}

func byArrival(a, b sent) int { return a.arrives.Compare(b.arrives) }

// plays drops the times of arrival: the API does not take them.
func plays(list []sent) []play {
	out := make([]play, len(list))
	for i, s := range list {
		out[i] = s.play
	}
	return out
}
