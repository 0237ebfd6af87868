package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"github.com/ashlar-go/ashlar/geohash"
	"github.com/ashlar-go/ashlar/graph"
	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/flow"
)

// A probe is what a car sends when it leaves a road: how long it took.
type probe struct {
	arc    graph.ArcID
	at     time.Time // when it left it
	millis uint32
	sent   time.Time // when it reached the log: networks have tunnels
}

// The morning of the story.
var (
	dawn     = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	jamFrom  = dawn.Add(8 * time.Minute)
	jamUntil = dawn.Add(20 * time.Minute)
	dusk     = dawn.Add(30 * time.Minute)
)

const (
	jamFactor = 12               // times as long
	bound     = 20 * time.Second // probes that come later than this after others are late
	enough    = 3                // cars in a window: one that stands still may only be parked
	notable   = 0.25             // a road within this of its empty time is taken to be free
)

// drive lets cars drive on the ways that are the best when roads are empty, half of them
// along one trip, and returns their probes in the order in which they reach the log.
func drive(n *network, m *graph.Metric, along trip, jam []graph.ArcID, cars int) ([]probe, error) {
	jammed := map[graph.ArcID]bool{}
	for _, a := range jam {
		jammed[a] = true
	}
	var nearFrom, nearTo []graph.NodeID
	for u := range graph.NodeID(n.g.Nodes()) {
		if n.between(u, along.from) < 1500 {
			nearFrom = append(nearFrom, u)
		}
		if n.between(u, along.to) < 1500 {
			nearTo = append(nearTo, u)
		}
	}
	r := rand.New(rand.NewPCG(8, 8))
	q := m.NewQuery()
	var probes []probe
	var path []graph.ArcID
	for i := range cars {
		s, t := graph.NodeID(r.IntN(n.g.Nodes())), graph.NodeID(r.IntN(n.g.Nodes()))
		if i%2 == 0 {
			s, t = nearFrom[r.IntN(len(nearFrom))], nearTo[r.IntN(len(nearTo))]
		}
		at := dawn.Add(time.Duration(r.Int64N(int64(70*time.Minute))) - 40*time.Minute)
		pace := 0.9 + 0.2*r.Float64() // of this driver
		if _, err := q.Distance(s, t); err != nil {
			return nil, err
		}
		path = q.AppendPath(path[:0])
		for _, a := range path {
			millis := float64(n.millis[a]) * pace
			if jammed[a] && at.After(jamFrom) && at.Before(jamUntil) {
				millis *= jamFactor
			}
			at = at.Add(time.Duration(millis * float64(time.Millisecond)))
			if at.Before(dawn) {
				continue
			}
			if at.After(dusk) {
				break
			}
			p := probe{a, at, uint32(max(millis, 1)), at.Add(time.Duration(r.Int64N(int64(15 * time.Second))))}
			if r.IntN(1000) == 0 {
				p.sent = p.sent.Add(4 * time.Minute)
			}
			probes = append(probes, p)
		}
	}
	slices.SortStableFunc(probes, func(a, b probe) int { return cmp.Compare(a.sent.UnixNano(), b.sent.UnixNano()) })
	return probes, nil
}

// The topics. Probes are divided by place: all of a road are in one partition, and with
// them those of the roads around it.
const (
	topicProbes = "probes"
	topicSpeeds = "speeds"
	partitions  = 4
	cellBits    = 25 // 5 km
)

func (n *network) partition(a graph.ArcID) (int, error) {
	lat, lon, _ := n.g.Coord(n.g.Tail(a))
	cell, err := geohash.CellAt(lat, lon, cellBits)
	if err != nil {
		return 0, err
	}
	return stream.PartitionOf(binary.BigEndian.AppendUint64(nil, uint64(cell)), partitions), nil
}

func (p *probe) record() stream.Record {
	return stream.Record{
		Key:   binary.BigEndian.AppendUint32(nil, p.arc),
		Value: binary.BigEndian.AppendUint32(nil, p.millis),
		Time:  p.at,
	}
}

// A pace is what a window knows about a road. The time that a road takes is the average of
// the times that it took: the average of speeds forgets that the slow are on it longer.
type pace struct {
	Cars   int64
	Millis float64 // sum
	Speeds float64 // sum of road lengths by times, to show what is wrong with it
}

func (p pace) mean() float64 { return p.Millis / float64(p.Cars) }

// A reading is the pace of a road in a minute.
type reading struct {
	Arc   graph.ArcID
	Start time.Time
	Pace  pace
}

// average appends probes to a log, runs the job over it, and returns the readings by
// time, then by road, and how many probes came too late for their window.
func average(ctx context.Context, n *network, dir string, probes []probe) (readings []reading, late int, err error) {
	log, err := stream.OpenLocal(filepath.Join(dir, "log"), &stream.Options{Sync: stream.SyncNone})
	if err != nil {
		return nil, 0, err
	}
	defer log.Close()
	if err := log.CreateTopic(ctx, topicProbes, &stream.TopicOptions{Partitions: partitions}); err != nil {
		return nil, 0, err
	}
	for some := range slices.Chunk(probes, 10_000) {
		batches := map[int][]stream.Record{}
		for i := range some {
			at, err := n.partition(some[i].arc)
			if err != nil {
				return nil, 0, err
			}
			batches[at] = append(batches[at], some[i].record())
		}
		for at, records := range batches {
			if _, err := log.Append(ctx, stream.Partition{Topic: topicProbes, Number: at}, records); err != nil {
				return nil, 0, err
			}
		}
	}
	job := &flow.Job[uint32, pace]{
		Log: log, Name: topicSpeeds, Source: topicProbes, Sink: topicSpeeds,
		Decode: func(r *stream.Record) (flow.Event[uint32], error) {
			if len(r.Key) != 4 || len(r.Value) != 4 {
				return flow.Event[uint32]{}, fmt.Errorf("a probe of %d and %d bytes", len(r.Key), len(r.Value))
			}
			return flow.Event[uint32]{Key: string(r.Key), Time: flow.At(r.Time), Value: binary.BigEndian.Uint32(r.Value)}, nil
		},
		Window: flow.Tumbling(time.Minute),
		Aggregate: flow.Aggregate[uint32, pace]{
			Add: func(p pace, e *flow.Event[uint32]) pace {
				return pace{p.Cars + 1, p.Millis + float64(e.Value), p.Speeds + 1/float64(e.Value)}
			},
			Merge: func(a, b pace) pace { return pace{a.Cars + b.Cars, a.Millis + b.Millis, a.Speeds + b.Speeds} },
		},
		Watermarks: &flow.WatermarkOptions{Bound: bound},
		Encode: func(p *flow.Pane[pace]) stream.Record {
			value, err := json.Marshal(reading{binary.BigEndian.Uint32([]byte(p.Key)), p.Start.Time(), p.Value})
			if err != nil {
				panic(err) // it holds numbers and a time of this century
			}
			return stream.Record{Key: []byte(p.Key), Value: value, Time: p.End.Time()}
		},
	}
	if err := job.RunToEnd(ctx); err != nil {
		return nil, 0, err
	}
	err = everything(ctx, log, topicSpeeds, func(r *stream.Record) error {
		var x reading
		err := json.Unmarshal(r.Value, &x)
		readings = append(readings, x)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	slices.SortFunc(readings, func(a, b reading) int { return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Arc, b.Arc)) })
	err = everything(ctx, log, topicSpeeds+".side", func(*stream.Record) error { late++; return nil })
	return readings, late, err
}

// everything calls f for all records of a topic.
func everything(ctx context.Context, log stream.Log, topic string, f func(*stream.Record) error) error {
	o, err := log.Topic(ctx, topic)
	if err != nil {
		return err
	}
	for i := range o.Partitions {
		p := stream.Partition{Topic: topic, Number: i}
		first, end, err := log.Bounds(ctx, p)
		if err != nil {
			return err
		}
		for r, err := range stream.Scan(ctx, log, p, first, end) {
			if err != nil {
				return err
			}
			if err := f(&r); err != nil {
				return err
			}
		}
	}
	return nil
}

// changes returns what a minute of readings changes in a metric: roads that few cars used
// stay as they are, and so do those that differ little, since each driver is different.
func changes(n *network, m *graph.Metric, readings []reading) (list []graph.Change) {
	for _, x := range readings {
		if x.Pace.Cars < enough {
			continue
		}
		now, free := x.Pace.mean(), float64(n.millis[x.Arc])
		w := uint32(max(1, min(now, graph.MaxWeight)))
		if now < free*(1+notable) {
			w = n.millis[x.Arc] // as if it were empty
		}
		if old := float64(m.Weight(x.Arc)); w != m.Weight(x.Arc) && (w == n.millis[x.Arc] || now < old*(1-notable) || now > old*(1+notable)) {
			list = append(list, graph.Change{Arc: x.Arc, Weight: w})
		}
	}
	return list
}
