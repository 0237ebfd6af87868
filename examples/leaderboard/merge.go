package main

import (
	"github.com/ashlar-go/ashlar/cms"
	"github.com/ashlar-go/ashlar/stream"
)

// Each consumer has a board for its partition. What the board of the whole is cannot
// be told from the boards alone: a song that is eleventh everywhere is on none of
// them, and may be the first of all. Boards must bring more than they show, and a way
// to ask for the count of what they do not show: that is the sketch.

// addLists is the naive way: the lists of k, with exact counts even, added up. What a
// list does not have counts as zero.
func addLists(lists [][]entry, k int) []entry {
	sum := map[string]uint64{}
	for _, list := range lists {
		for _, e := range list {
			sum[e.ID] += e.Count
		}
	}
	return exactly(sum, k)
}

// askAgain takes the first n candidates of each shard and asks the sketches of all
// shards for each. Sketches answer for what they never listed.
func askAgain(shards []*shard, n, k int) []entry {
	sum := map[string]uint64{}
	for _, s := range shards {
		for _, e := range ranked(s.all.heap.entries, n) {
			sum[e.ID] = 0
		}
	}
	for id := range sum {
		sum[id] = countAll(shards, id)
	}
	return exactly(sum, k)
}

// countAll adds up what the sketches say of an item.
func countAll(shards []*shard, id string) (n uint64) {
	for _, s := range shards {
		n += s.sketch.CountString(id)
	}
	return n
}

// unlisted is the most that a song can have which is among nobody's first n: in each
// shard at most as much as the last of them. If that is no more than what the last of
// the merged board has, then nothing is missing.
func unlisted(shards []*shard, n int) (most uint64) {
	for _, s := range shards {
		list := ranked(s.all.heap.entries, n)
		most += list[len(list)-1].Count
	}
	return most
}

// mergeTops merges what cms.TopK has, table and filter.
func mergeTops(shards []*shard) (*cms.TopK[string], error) {
	sum := shards[0].top.Clone()
	for _, s := range shards[1:] {
		if err := sum.Merge(s.top); err != nil {
			return nil, err
		}
	}
	return sum, nil
}

// mergeSketches adds the counters up.
func mergeSketches(shards []*shard) (*cms.Sketch, error) {
	sum := shards[0].sketch.Clone()
	for _, s := range shards[1:] {
		if err := sum.Merge(s.sketch); err != nil {
			return nil, err
		}
	}
	return sum, nil
}

// mergeHeavy counts each region's plays with a cms.Heavy, and merges them.
func mergeHeavy(all [][]sent, counters int) (*cms.Heavy[string], error) {
	var sum *cms.Heavy[string]
	for _, list := range all {
		h, err := cms.NewHeavy[string](counters)
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			h.Add(p.ID, p.Count)
		}
		if sum == nil {
			sum = h
		} else {
			sum.Merge(h)
		}
	}
	return sum, nil
}

// byItem divides the plays by song instead of by region: each song is in one place,
// and lists of k are enough. It returns them, with the load of the fullest partition
// as a multiple of the average.
func byItem(all [][]sent, k int) (lists [][]entry, skew float64) {
	counts := make([]map[string]uint64, len(regions))
	load := make([]uint64, len(regions))
	var total, most uint64
	for i := range counts {
		counts[i] = map[string]uint64{}
	}
	for _, list := range all {
		for _, s := range list {
			p := stream.PartitionOf([]byte(s.ID), len(regions))
			counts[p][s.ID] += uint64(s.Count)
			load[p]++
			total++
		}
	}
	for p := range counts {
		lists = append(lists, exactly(counts[p], k))
		most = max(most, load[p])
	}
	return lists, float64(most) * float64(len(load)) / float64(total)
}
