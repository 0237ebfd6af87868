// Package geohash names places by cells, covers areas with them, and finds what
// is near in an index of points that move.
//
//	c, err := geohash.CellAt(40.7527, -73.9772, 30) // Grand Central, a cell of 1 km
//	c.String()                                     // "dr5rud"
//	cells, err := geohash.CoverCircle(nil, 40.7527, -73.9772, 800, 16)
//
//	drivers := geohash.NewIndex[string](nil)
//	err = drivers.Put("Alice", 40.7580, -73.9855)
//	near, err := drivers.Nearest(nil, 40.7527, -73.9772, 10, nil)
//
// # Cells
//
// A geohash (G. Niemeyer, 2008) halves longitude and latitude in turn and keeps a
// bit each time; five bits are a letter. Points with a common beginning are
// near each other; the reverse does not hold, for two sides of a street may
// differ in the first bit. So a search for what is near must not look at one
// prefix only: it looks at the [Cell.AppendNeighbors], or at a cover of the
// area.
//
// A [Cell] is such a beginning, of up to 60 bits, in one number whose order is
// that of the curve (Morton, 1966). What a cell contains is one range of numbers,
// and so a sorted store (a B-tree, a table of Redis or SQL) finds the points of
// a circle by scanning the few [AppendRanges] of [CoverCircle]:
//
//	for _, r := range geohash.AppendRanges(nil, cells) {
//		rows, err := db.Query("SELECT … WHERE cell BETWEEN ? AND ?", int64(r.First>>1), int64(r.Last>>1))
//
// (halved because SQL's integers have a sign; store int64(cell>>1)). A cover
// contains every point of its area and some others, which the reader drops by
// [Distance].
//
//	bits  letters  at the equator
//	  20        4  39 by 20 km
//	  25        5  4.9 by 4.9 km
//	  30        6  1.2 km by 610 m
//	  35        7  153 by 153 m
//	  40        8  38 by 19 m
//	  60       12  37 by 19 mm
//
// Towards the poles cells become narrower.
//
// # Exactness
//
// Cells are exact: a point is in the cell that [Cell.Bounds] says, down to the
// last bit of a float64. East of 180 degrees is -180, everywhere; nothing is
// beyond a pole. Distances are those on a sphere ([Distance]); the index finds
// the same points as going through all of them would, since it bounds the
// distance of a cell on the sphere too, and not in degrees.
//
// # References
//
//   - G. M. Morton: A Computer Oriented Geodetic Data Base, IBM 1966.
//   - G. Niemeyer: geohash.org, 2008.
//   - G. R. Hjaltason, H. Samet: Distance Browsing in Spatial Databases, TODS
//     1999: the search that opens the nearest cell first.
//   - R. Sinnott: Virtues of the Haversine, Sky and Telescope 1984.
package geohash
