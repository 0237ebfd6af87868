// Examples lists the example systems. Each answers one question about a
// distributed system: in one run it shows how what seems enough fails, and what
// holds instead.
//
//	go run ./examples              this list
//	go run ./examples/lock         one of them
package main

import (
	"fmt"
	"io"
	"os"
)

// A system is one of the twenty example systems.
type system struct {
	name  string // its folder, once it is ready
	ready bool
	shows string
}

// systems is in the order in which they read best.
var systems = []system{
	{"lock", true, "why a lease alone loses updates, and how a fencing token saves them"},
	{"scheduler", false, "every job at least once, though workers die: claims, heartbeats, cron"},
	{"priorityqueue", false, "the most urgent first, on several machines, without losing one"},
	{"payments", false, "one charge for many retries: idempotency keys and a ledger"},
	{"exchange", false, "an order book that replays to the same trades"},
	{"ratelimiter", true, "who may pass: five policies, one machine and many"},
	{"metrics", true, "logs into windows and series: what a killed broker loses, and a log replays"},
	{"activeusers", true, "how many distinct users, in kilobytes, where adding counts up is wrong"},
	{"leaderboard", true, "the most frequent of billions, approximately now and exactly later"},
	{"catalog", false, "a cart that several leaders edit at the same time"},
	{"comments", false, "threads that all replicas show in one order"},
	{"notifications", true, "once to every subscriber, popular topics by polling"},
	{"filesync", false, "sending only what differs of a large file"},
	{"typeahead", true, "the ten best completions in microseconds"},
	{"maps", true, "the quickest way through a country, with traffic that changes"},
	{"rideshare", true, "the nearest free driver, and only one of them"},
	{"songid", false, "naming a song from a few noisy seconds"},
	{"video", false, "chunks in many sizes, uploads that go on where they stopped"},
	{"reviews", true, "places near you, with ratings that do not drift from their reviews"},
	{"recommend", false, "what next, and never what was seen before"},
}

func main() { list(os.Stdout) }

func list(w io.Writer) {
	fmt.Fprint(w, "Run one with: go run ./examples/NAME\n\n")
	for _, s := range systems {
		if s.ready {
			fmt.Fprintf(w, "  %-14s %s\n", s.name, s.shows)
		}
	}
	fmt.Fprint(w, "\nPlanned:\n\n")
	for _, s := range systems {
		if !s.ready {
			fmt.Fprintf(w, "  %-14s %s\n", s.name, s.shows)
		}
	}
}
