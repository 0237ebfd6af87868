//go:build !race

package main

// devices is how many take part in the test's run: fewer under the race detector.
const devices = 100
