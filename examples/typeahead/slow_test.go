//go:build !race

package main

// phrasesInTest is how many phrases the test's run has: fewer under the race detector.
const phrasesInTest = 12_000
