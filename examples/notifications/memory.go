package main

import "math/rand/v2"

// A delivery is one arrival of a notification at a device.
type delivery struct {
	topic, number int // the number-th of its topic, from 0
}

// deliveries makes what a device gets in a long time: messages of some topics. One in
// twenty comes a second time, sooner or much later; one in a hundred does not come
// when it should but only then.
func deliveries(messages, topics int) (list []delivery) {
	rnd := rand.New(rand.NewPCG(3, 3))
	next := make([]int, topics)
	later := map[int][]delivery{} // by how many messages came first
	for i := range messages + 10_000 {
		list = append(list, later[i]...)
		if i >= messages {
			continue
		}
		t := rnd.IntN(topics)
		d := delivery{t, next[t]}
		next[t]++
		missing := rnd.IntN(100) == 0
		if missing || rnd.IntN(20) == 0 {
			wait := 1 << rnd.IntN(14) // up to 8,192 messages later; a doubling is as likely as another
			later[i+wait] = append(later[i+wait], d)
		}
		if !missing {
			list = append(list, d)
		}
	}
	return list
}

// A remembering is what a device with a kind of memory made of its deliveries.
type remembering struct {
	twice, lost int
	bytes       int // of memory, at most
	fetched     int // notifications read from the store, in so many requests:
	requests    int
}

const keyBytes = 16 // a key as short as can be: topic and time

// rememberKeys is a device that keeps the keys of the last notifications.
func rememberKeys(list []delivery, most int) (r remembering) {
	seen := map[delivery]bool{}
	times := map[delivery]int{}
	var queue []delivery
	for _, d := range list {
		if seen[d] {
			continue
		}
		times[d]++
		seen[d] = true
		queue = append(queue, d)
		if most > 0 && len(queue) > most { // the oldest must go
			delete(seen, queue[0])
			queue = queue[1:]
		}
		r.bytes = max(r.bytes, len(queue)*keyBytes)
	}
	return r.judge(list, times)
}

// rememberLast is a device that keeps one number for each topic.
func rememberLast(list []delivery, topics int) (r remembering) {
	next := make([]int, topics)
	times := map[delivery]int{}
	for _, d := range list {
		if d.number > next[d.topic] { // some are missing: the store has them
			r.requests++
			r.fetched += d.number - next[d.topic]
		}
		for next[d.topic] <= d.number {
			times[delivery{d.topic, next[d.topic]}]++
			next[d.topic]++
		}
	}
	r.bytes = topics * keyBytes
	return r.judge(list, times)
}

func (r remembering) judge(list []delivery, times map[delivery]int) remembering {
	all := map[delivery]bool{}
	for _, d := range list {
		all[d] = true
	}
	for d := range all {
		if times[d] == 0 {
			r.lost++
		} else {
			r.twice += times[d] - 1
		}
	}
	return r
}
