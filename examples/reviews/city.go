package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/geohash"
)

// The city lies where the meridian of Greenwich crosses the 45th parallel. Both are edges
// of large cells: places a few steps apart have geohashes that differ from the first
// letter on.
const (
	centreLat = 45.0
	centreLon = 0.0
)

type businessID int32

// A business is a row of the table of businesses.
type business struct {
	id       businessID
	name     string
	kind     string
	lat, lon float64
	cell     geohash.Cell // of 60 bits: the column that is sorted
	quality  float64      // what its reviews tend to; only the generator knows
	changed  time.Duration
	later    float64 // quality from then on, if changed is not zero
}

// A review is what one user thinks of one business. A later one of the same user replaces
// it; one without stars withdraws it.
type review struct {
	User     int32         `json:"user"`
	Business businessID    `json:"business"`
	Stars    int           `json:"stars"`
	At       time.Duration `json:"at"` // since Monday, 00:00
}

const week = 7 * 24 * time.Hour

var kinds = []struct {
	name  string
	share int // of a hundred
	words []string
}{
	{"pizzeria", 14, []string{"Pizzeria", "Pizza House", "Forno"}},
	{"cafe", 22, []string{"Cafe", "Coffee Room", "Espresso Bar"}},
	{"bakery", 14, []string{"Bakery", "Bread Oven", "Patisserie"}},
	{"ramen", 5, []string{"Ramen Bar", "Noodle House"}},
	{"barber", 12, []string{"Barber", "Hair Studio"}},
	{"bookshop", 8, []string{"Bookshop", "Books & Maps"}},
	{"bicycles", 6, []string{"Bicycles", "Bike Workshop"}},
	{"pharmacy", 9, []string{"Pharmacy"}},
	{"cinema", 2, []string{"Cinema", "Picture House"}},
	{"grocer", 8, []string{"Grocer", "Corner Shop"}},
}

var firsts = strings.Fields("Golden Old Little Blue Northern Quiet Corner Garden River Lucky Red Crooked Silver Sunny Honest Green Royal Copper Second Velvet")

var seconds = strings.Fields("Lantern Anchor Bell Fox Bridge Oak Swan Lion Mill Harbour Rose Crown Clock Pigeon Barrel Wheel Star Ship Owl Kettle")

// generateCity makes n businesses, the same for a number every time: dense in the centre
// and in eight districts.
func generateCity(n int) []business {
	r := rand.New(rand.NewPCG(19, uint64(n)))
	type district struct{ lat, lon, spread float64 }
	districts := []district{{centreLat, centreLon, 0.012}}
	for i := range 8 {
		sin, cos := math.Sincos(float64(i) * math.Pi / 4)
		districts = append(districts, district{centreLat + 0.045*sin, centreLon + 0.06*cos, 0.01})
	}
	list := make([]business, n)
	for i := range list {
		d := districts[0]
		if r.IntN(100) < 60 {
			d = districts[1+r.IntN(len(districts)-1)]
		}
		b := &list[i]
		b.id = businessID(i)
		b.lat, b.lon = d.lat+r.NormFloat64()*d.spread, d.lon+r.NormFloat64()*d.spread*1.4
		c, err := geohash.CellAt(b.lat, b.lon, geohash.MaxBits)
		if err != nil {
			panic(err) // the city is nowhere near a limit
		}
		b.cell = c
		share := r.IntN(100)
		k := 0
		for ; share >= kinds[k].share; k++ {
			share -= kinds[k].share
		}
		b.kind = kinds[k].name
		b.name = fmt.Sprintf("%s %s %s", firsts[r.IntN(len(firsts))], seconds[r.IntN(len(seconds))], kinds[k].words[r.IntN(len(kinds[k].words))])
		b.quality = min(4.9, max(1.3, 3.7+0.7*r.NormFloat64()))
		if r.IntN(20) == 0 { // a new cook
			b.changed = time.Duration(r.Int64N(int64(week)))
			b.later = min(4.9, max(1.3, b.quality+2*r.NormFloat64()))
		}
	}
	return list
}

// generateReviews makes n reviews of a week, in the order of their time: more in the
// evening, most about few businesses, one in ten a second thought. Each week has other
// ones.
func generateReviews(city []business, n int, number uint64) []review {
	r := rand.New(rand.NewPCG(20+number, uint64(n)))
	zipf := rand.NewZipf(r, 1.15, 30, uint64(len(city)-1))
	popular := rand.New(rand.NewPCG(21, 21)).Perm(len(city))
	list := make([]review, 0, n)
	for len(list) < n {
		// Time goes on by as much as makes n in a week, less in the evening.
		at := time.Duration(float64(len(list)) / float64(n) * float64(week))
		day := at.Truncate(24 * time.Hour)
		hour := (at - day).Hours()
		// A day's share of the time is bent, so that half of it falls on 17 to 23 o'clock.
		if hour < 12 {
			hour *= 17.0 / 12
		} else {
			hour = 17 + (hour-12)*7.0/12
		}
		at = day + time.Duration(hour*float64(time.Hour))
		v := review{User: int32(r.IntN(n / 3)), Business: businessID(popular[zipf.Uint64()]), At: at}
		if len(list) > 100 && r.IntN(10) == 0 {
			old := list[r.IntN(len(list))]
			v.User, v.Business = old.User, old.Business
			if r.IntN(4) == 0 {
				list = append(list, v) // withdrawn
				continue
			}
		}
		b := &city[v.Business]
		q := b.quality
		if b.changed > 0 && at >= b.changed {
			q = b.later
		}
		v.Stars = min(5, max(1, int(math.Round(q+0.9*r.NormFloat64()))))
		list = append(list, v)
	}
	return list
}

// A rating is the denormalised pair beside a business: reading it costs one row.
type rating struct {
	Sum   int `json:"sum"`
	Count int `json:"count"`
}

func (r rating) stars() float64 {
	if r.Count == 0 {
		return 0
	}
	return float64(r.Sum) / float64(r.Count)
}

// A ledger knows the last word of each user on each business, and so every rating
// exactly: what is true, and what a batch job computes.
type ledger struct {
	last    map[[2]int32]int
	ratings map[businessID]rating
}

func newLedger() *ledger {
	return &ledger{last: map[[2]int32]int{}, ratings: map[businessID]rating{}}
}

// add takes one review, and returns the rating that it made.
func (l *ledger) add(v review) rating {
	key := [2]int32{v.User, int32(v.Business)}
	r := l.ratings[v.Business]
	if old := l.last[key]; old > 0 {
		r.Sum -= old
		r.Count--
	}
	if v.Stars > 0 {
		r.Sum += v.Stars
		r.Count++
	}
	l.last[key], l.ratings[v.Business] = v.Stars, r
	return r
}
