//go:build !race

package main

// slow is true under the race detector: the story is then told with fewer questions.
const slow = false
