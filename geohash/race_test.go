//go:build race

package geohash

const slow = true
