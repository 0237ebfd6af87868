package main

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
)

// A userID and a topicID are numbers; topic 1 is the most popular one.
type (
	userID  uint32
	topicID uint32
)

// A subscription is a row of the table: its primary key, and nothing else.
type subscription struct {
	user  userID
	topic topicID
}

// key is the row's key: the user first, so that a user's rows are neighbours.
func (s subscription) key() []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(s.user)), uint32(s.topic))
}

func subscriptionOf(key []byte) subscription {
	return subscription{userID(binary.BigEndian.Uint32(key)), topicID(binary.BigEndian.Uint32(key[4:]))}
}

// A population is who subscribes to what. It is made from a seed, the same on
// every machine.
type population struct {
	users  int // numbered from 0
	online int // the first of them have a device that takes part in the run
	sizes  []int
	rows   []subscription // by user, then topic
}

const (
	topics      = 5000
	perOnline   = 500  // subscribers of topic 1 for each user whose device takes part
	popularFrom = 1000 // a topic with so many subscribers is polled
	zipf        = 1.5  // topic r has size(1)/r^zipf subscribers
)

// populate makes the population for n devices: topic 1 has 500·n subscribers.
// One subscription of a small topic in five is by one of the n·5/4 most active
// users, to whom those with a device belong.
func populate(n int) *population {
	rnd := rand.New(rand.NewPCG(7, 7))
	p := &population{users: n * perOnline * 5 / 4, online: n}
	active := n * 5 / 4
	order := make([]userID, p.users) // a pack of cards
	for i := range order {
		order[i] = userID(i)
	}
	for r := 1; r <= topics; r++ {
		size := max(1, int(float64(n*perOnline)/math.Pow(float64(r), zipf)))
		p.sizes = append(p.sizes, size)
		if size >= popularFrom {
			for i := range size { // draws without putting back
				j := i + rnd.IntN(len(order)-i)
				order[i], order[j] = order[j], order[i]
				p.rows = append(p.rows, subscription{order[i], topicID(r)})
			}
			continue
		}
		drawn := map[userID]bool{}
		for len(drawn) < size {
			u := userID(rnd.IntN(p.users))
			if rnd.IntN(5) == 0 {
				u = userID(rnd.IntN(active))
			}
			if !drawn[u] {
				drawn[u] = true
				p.rows = append(p.rows, subscription{u, topicID(r)})
			}
		}
	}
	slices.SortFunc(p.rows, func(a, b subscription) int {
		if a.user != b.user {
			return int(a.user) - int(b.user)
		}
		return int(a.topic) - int(b.topic)
	})
	return p
}

// popular tells how many topics are polled.
func (p *population) popular() (n int) {
	for _, size := range p.sizes {
		if size >= popularFrom {
			n++
		}
	}
	return n
}

// reachable returns for every topic who of its subscribers has a device.
func (p *population) reachable() map[topicID][]userID {
	m := map[topicID][]userID{}
	for _, s := range p.rows {
		if int(s.user) >= p.online {
			break // rows are by user
		}
		m[s.topic] = append(m[s.topic], s.user)
	}
	return m
}
