package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/ashlar-go/ashlar/geohash"
)

// A plan is what so many users come to.
type plan struct {
	users              float64
	drivers, riders    float64 // at the same time
	reports            float64 // a second
	bytes, bytesHTTP   float64 // a second, on the wire
	cores              float64 // that the index needs
	memory, memoryConn float64 // bytes, of the index and of connections
	servers            float64 // for the connections
}

// What a user does, and what a server bears: assumptions, the rest follows.
const (
	driving     = 0.03 // of all users, at the busiest hour
	waiting     = 0.05 // have the app open
	everySecond = 0.25 // reports of a driver
	connBytes   = 20_000
	connServer  = 100_000 // connections that one may lose at once
)

// measured is what this machine measures.
type measured struct {
	put         time.Duration // one move in the index
	bytes       float64       // of the index, for each driver
	ws, http    float64       // bytes on the socket for one report
	nearest     time.Duration
	nearestOnes int
}

func (m measured) plan(users float64) plan {
	p := plan{users: users, drivers: users * driving, riders: users * waiting}
	p.reports = p.drivers * everySecond
	p.bytes, p.bytesHTTP = p.reports*m.ws, p.reports*m.http
	p.cores = p.reports * m.put.Seconds()
	p.memory, p.memoryConn = p.drivers*m.bytes, (p.drivers+p.riders)*connBytes
	p.servers = float64(int((p.drivers+p.riders)/connServer)) + 1
	return p
}

func (p plan) String() string {
	return fmt.Sprintf("%5.0f M users: %9s drivers, %8s reports/s, %6.1f MB/s (%.0f over HTTP), %5.2f cores and %6.0f MB for the index, %5.1f GB for %s connections on %.0f servers",
		p.users/1e6, num(int(p.drivers)), num(int(p.reports)), p.bytes/1e6, p.bytesHTTP/1e6, p.cores, p.memory/1e6, p.memoryConn/1e9, num(int(p.drivers+p.riders)), p.servers)
}

// index measures an index of so many drivers.
func (r *roads) measureIndex(n int) (m measured, err error) {
	fleet := r.fleet(n, 4)
	places := make([][2]float64, n)
	before := heap()
	index := geohash.NewIndex[uint32](nil)
	for i, d := range fleet {
		lat, lon := r.at(d)
		places[i] = [2]float64{lat, lon}
		if err := index.Put(uint32(i), lat, lon); err != nil {
			return m, err
		}
	}
	m.bytes = (float64(heap()) - float64(before)) / float64(n)
	runtime.KeepAlive(fleet)
	const moves = 200_000
	began := time.Now()
	for i := range moves {
		p := &places[i*7919%n]
		p[0] += 1e-5 * float64(i%7-3)
		if err := index.Put(uint32(i*7919%n), p[0], p[1]); err != nil {
			return m, err
		}
	}
	m.put = time.Since(began) / moves
	const questions = 2000
	var found []geohash.Found[uint32]
	began = time.Now()
	for i := range questions {
		p := places[i*131%n]
		if found, err = index.Nearest(found[:0], p[0], p[1], 10, nil); err != nil {
			return m, err
		}
		m.nearestOnes += len(found)
	}
	m.nearest = time.Since(began) / questions
	return m, nil
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what pools keep goes at the second
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// num writes a number with separators.
func num(n int) string {
	if n < 0 {
		return "-" + num(-n)
	}
	t := fmt.Sprint(n)
	for i := len(t) - 3; i > 0; i -= 3 {
		t = t[:i] + "," + t[i:]
	}
	return t
}
