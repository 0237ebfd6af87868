//go:build race

package geohash

// A pool forgets at random under the race detector.
func init() { raceEnabled = true }
