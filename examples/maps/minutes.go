package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ashlar-go/ashlar/graph"
)

// traffic is part 5: probes of cars become averages by road and minute, and these new
// weights.
func (s *story) traffic(ctx context.Context) error {
	t := s.trips[2]
	probes, err := drive(s.n, s.free, t, s.jam, s.cars)
	if err != nil {
		return err
	}
	readings, late, err := average(ctx, s.n, s.dir, probes)
	if err != nil {
		return err
	}
	s.say("%s cars send %s probes from 08:00 to 08:30; the jam lasts from 08:08 to 08:20", num(s.cars), num(len(probes)))
	s.say("%d partitions by cell average them by road and minute: %s readings; %d probes came too late for theirs, out of tunnels", partitions, num(len(readings)), late)
	if err := s.sayMean(readings); err != nil {
		return err
	}
	ways := newPlain(s.topo)
	ways.customize(s.free.Weight)
	s.live = graph.NewLive(s.free)
	q := s.free.NewQuery()
	before, err := q.Distance(t.from, t.to)
	if err != nil {
		return err
	}
	path := q.AppendPath(nil)
	s.say("%s shortcuts hang over the roads; the long trip takes %s min", num(ways.shortcuts()), eta(before))
	s.say("        roads that   shortcuts    Update      the old way   the best way")
	s.say("          changed     changed        ms       takes         takes     of which in the jam, km")
	inJam := map[graph.ArcID]bool{}
	for _, a := range s.jam {
		inJam[a] = true
	}
	// A reader asks all the time, and is never made to wait.
	ctx, cancel := context.WithCancel(ctx)
	answers := make(chan map[uint32]int, 1)
	go func() { answers <- keepAsking(ctx, s.live, t) }()
	defer cancel()
	possible := map[uint32]bool{before: true}
	var around []graph.ArcID
	outside, stay, best := 0, uint32(0), uint32(0)
	for minute := dawn; minute.Before(dusk); minute = minute.Add(time.Minute) {
		var now []reading
		for len(readings) > 0 && readings[0].Start.Equal(minute) {
			now, readings = append(now, readings[0]), readings[1:]
		}
		list := changes(s.n, s.live.Metric(), now)
		for _, c := range list {
			if !inJam[c.Arc] {
				outside++
			}
		}
		began := time.Now()
		if err := s.live.Apply(list); err != nil {
			return err
		}
		took := time.Since(began)
		m := s.live.Metric()
		shortcuts := 0
		if len(list) > 0 {
			shortcuts = ways.customize(m.Weight)
		}
		q.Reset(m)
		if best, err = q.Distance(t.from, t.to); err != nil {
			return err
		}
		possible[best] = true
		way := q.AppendPath(nil)
		stay = sum(m.Weight, path)
		within := 0.0
		for _, a := range way {
			if inJam[a] {
				within += float64(s.n.decimetres[a]) / 1e4
			}
		}
		if len(list) > 0 || minute.Equal(dawn) {
			s.say("  %s    %6d   %9s   %7.2f   %11s   %12s     %.1f", minute.Add(time.Minute).Format("15:04"), len(list), num(shortcuts), took.Seconds()*1e3, eta(stay), eta(best), within)
		}
		if minute.Equal(jamFrom.Add(6 * time.Minute)) {
			s.jammed, around = m, way
			wrong, err := s.mistakes(m, s.pairs[:len(s.pairs)/2])
			if err := errors.Join(err, check(wrong == 0, "the updated metric is exact: %d wrong", wrong)); err != nil {
				return err
			}
			s.say("           %s questions asked of this metric and of Dijkstra: %d differ; new ETA %s instead of %s", num(len(s.pairs)/2), wrong, eta(best), eta(stay))
			if err := s.claim(best < stay && best > before && within < float64(sum(s.length, s.jam))/2e4, "the way around is better than the jam"); err != nil {
				return err
			}
		}
	}
	cancel()
	asked, strange := 0, 0
	for d, n := range <-answers {
		asked += n
		if !possible[d] {
			strange += n
		}
	}
	s.say("meanwhile a reader asked %s times; answers that belong to no minute: %d", num(asked), strange)
	// A metric is a snapshot: who holds the one of the morning still has it.
	q.Reset(s.free)
	again, err := q.Distance(t.from, t.to)
	if err := errors.Join(err, check(again == before, "the metric of the morning has not changed")); err != nil {
		return err
	}
	captions := [2]string{
		fmt.Sprintf("%s on empty roads: %s min, in the jam %s", t.name, eta(before), eta(sum(s.jammed.Weight, path))),
		fmt.Sprintf("around the jam: %s min", eta(sum(s.jammed.Weight, around))),
	}
	if err := s.draw("jam.svg", func() string { return drawJam(s.n, t, path, around, s.jam, captions) }); err != nil {
		return err
	}
	s.say("roads outside the jam that were taken to be slow: %d", outside)
	if err := check(asked > 0 && strange == 0, "readers see all of an update or nothing"); err != nil {
		return err
	}
	return s.claim(outside == 0 && best == before && late > 0, "only the jam is seen, and its end: %s, before %s", eta(best), eta(before))
}

// keepAsking asks for a trip again and again, each time of the metric of the moment, and
// returns how often each answer came. It leaves the processor to others now and then.
func keepAsking(ctx context.Context, l *graph.Live, t trip) map[uint32]int {
	answers, q := map[uint32]int{}, l.Metric().NewQuery()
	for i := 1; ; i++ {
		q.Reset(l.Metric())
		d, err := q.Distance(t.from, t.to)
		if err != nil {
			panic(err) // the nodes are those of the graph
		}
		answers[d]++
		if ctx.Err() != nil {
			return answers
		}
		if i%100 == 0 {
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

// sayMean tells the road and minute for which the average of speeds is the most wrong.
func (s *story) sayMean(readings []reading) error {
	worst, ratio := reading{}, 0.0
	for _, x := range readings {
		if speeds := float64(x.Pace.Cars) / x.Pace.Speeds; x.Pace.Cars >= 5 && x.Pace.mean()/speeds > ratio {
			worst, ratio = x, x.Pace.mean()/speeds
		}
	}
	if ratio == 0 {
		return nil
	}
	metres := float64(s.n.decimetres[worst.Arc]) / 10
	s.say("%s, %d cars on %.0f m: on average they took %.1f s; by their average speed of %.0f km/h it would be %.1f s",
		worst.Start.Format("15:04"), worst.Pace.Cars, metres, worst.Pace.mean()/1e3, worst.Pace.Speeds/float64(worst.Pace.Cars)*metres*3600, float64(worst.Pace.Cars)/worst.Pace.Speeds/1e3)
	return s.claim(ratio > 1.5, "the average of speeds hides a jam")
}

// mistakes counts the questions that a metric and Dijkstra answer differently.
func (s *story) mistakes(m *graph.Metric, pairs []pair) (wrong int, err error) {
	weights := make([]uint32, s.n.g.Arcs())
	for a := range weights {
		weights[a] = m.Weight(graph.ArcID(a))
	}
	plain, err := graph.NewSearch(s.n.g, weights)
	if err != nil {
		return 0, err
	}
	q := m.NewQuery()
	for _, p := range pairs {
		want, err := plain.Bidirectional(p.s, p.t)
		got, err2 := q.Distance(p.s, p.t)
		if err := errors.Join(err, err2); err != nil {
			return 0, err
		}
		if got != want || sum(m.Weight, q.AppendPath(nil)) != want && want < graph.Inf {
			wrong++
		}
	}
	return wrong, nil
}
