package main

import (
	"cmp"
	"slices"
	"sort"

	"github.com/ashlar-go/ashlar/geohash"
)

// A place table is the table of businesses as a database keeps it: rows in the order of
// a column. Looking up costs a search in the order; what is read is counted.
type table struct {
	rows []business
	read int // rows since the count was last set to 0
}

func newTable(city []business, order func(a, b *business) int) *table {
	t := &table{rows: slices.Clone(city)}
	slices.SortFunc(t.rows, func(a, b business) int { return cmp.Or(order(&a, &b), cmp.Compare(a.id, b.id)) })
	return t
}

func byCell(a, b *business) int { return cmp.Compare(a.cell, b.cell) }
func byLat(a, b *business) int  { return cmp.Compare(a.lat, b.lat) }

// scan reads the rows from the first for which begin is true, while it goes on.
func (t *table) scan(begin func(*business) bool, goOn func(*business) bool, each func(*business)) {
	i := sort.Search(len(t.rows), func(i int) bool { return begin(&t.rows[i]) })
	for ; i < len(t.rows) && goOn(&t.rows[i]); i++ {
		t.read++
		each(&t.rows[i])
	}
}

func (t *table) scanRange(r geohash.Range, each func(*business)) {
	t.scan(func(b *business) bool { return b.cell >= r.First }, func(b *business) bool { return b.cell <= r.Last }, each)
}

// A spot is where somebody stands, and how far they would walk.
type spot struct{ lat, lon, metres float64 }

func (s spot) near(b *business) bool {
	return geohash.Distance(s.lat, s.lon, b.lat, b.lon) <= s.metres
}

// The ways to find what is near. Each returns the businesses, by id.

// everything reads the whole table: what the others must agree with.
func everything(t *table, s spot) []businessID {
	var found []businessID
	for i := range t.rows {
		t.read++
		if s.near(&t.rows[i]) {
			found = append(found, t.rows[i].id)
		}
	}
	return sorted(found)
}

// latitude uses an index on one coordinate: a band around the whole Earth.
func latitude(t *table, s spot) []businessID {
	var found []businessID
	d := s.metres / 111_195 * 1.001
	t.scan(func(b *business) bool { return b.lat >= s.lat-d }, func(b *business) bool { return b.lat <= s.lat+d }, func(b *business) {
		if s.near(b) {
			found = append(found, b.id)
		}
	})
	return sorted(found)
}

// onePrefix reads the cell in which somebody stands: six letters are about a kilometre.
func onePrefix(t *table, s spot) []businessID {
	c, _ := geohash.CellAt(s.lat, s.lon, 30)
	return sorted(inCells(t, s, []geohash.Cell{c}))
}

// ninePrefixes reads the cells around it too.
func ninePrefixes(t *table, s spot) []businessID {
	c, _ := geohash.CellAt(s.lat, s.lon, 30)
	cells := c.AppendNeighbors([]geohash.Cell{c})
	slices.Sort(cells)
	return sorted(inCells(t, s, cells))
}

// covered reads cells of the sizes that fit the circle best.
func covered(t *table, s spot) []businessID {
	cells, _ := geohash.CoverCircle(nil, s.lat, s.lon, s.metres, 16)
	return sorted(inCells(t, s, cells))
}

func inCells(t *table, s spot, cells []geohash.Cell) []businessID {
	var found []businessID
	for _, r := range geohash.AppendRanges(nil, cells) {
		t.scanRange(r, func(b *business) {
			if s.near(b) {
				found = append(found, b.id)
			}
		})
	}
	return found
}

func sorted(ids []businessID) []businessID {
	slices.Sort(ids)
	return ids
}
