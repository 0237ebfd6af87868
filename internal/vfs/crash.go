package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

func sortedNames(m map[string]*inode) []string { return slices.Sorted(maps.Keys(m)) }

// Crash returns a new file system that holds one of the states a power cut at
// this moment may leave, chosen by the seed; s is not changed. Some seeds lose
// all that may be lost, some keep all, most decide sector by sector.
func (s *Sim) Crash(seed uint64) *Sim {
	s.mu.Lock()
	defer s.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	after := NewSim()
	maps.Copy(after.dirs, s.dirs)

	// pick chooses one of n+1 states, the last of which is the newest.
	var pick func(n int) int
	switch rng.IntN(6) {
	case 0:
		pick = func(int) int { return 0 }
	case 1:
		pick = func(n int) int { return n }
	case 2: // mostly kept: one lost sector among many
		pick = func(n int) int {
			if rng.IntN(16) == 0 {
				return rng.IntN(n + 1)
			}
			return n
		}
	case 3: // mostly lost
		pick = func(n int) int {
			if rng.IntN(16) == 0 {
				return rng.IntN(n + 1)
			}
			return 0
		}
	default:
		pick = func(n int) int { return rng.IntN(n + 1) }
	}

	names := maps.Clone(s.disk)
	lost := map[string]bool{}
	for _, op := range s.pend {
		keep := pick(1) == 1 && !slices.ContainsFunc(op.names, func(n string) bool { return lost[n] })
		if keep {
			op.apply(names)
			continue
		}
		for _, n := range op.names {
			lost[n] = true
		}
	}

	contents := map[*inode]*inode{} // hard links stay links
	for _, name := range sortedNames(names) {
		ino := names[name]
		if contents[ino] == nil {
			c := newInode()
			c.disk = ino.crash(pick)
			c.data = slices.Clone(c.disk)
			contents[ino] = c
		}
		after.names[name] = contents[ino]
	}
	after.disk = maps.Clone(after.names)
	return after
}

// crash returns the content after a power cut.
func (ino *inode) crash(pick func(n int) int) []byte {
	size := int64(len(ino.data))
	if k := pick(len(ino.sizes)); k < len(ino.sizes) {
		size = ino.sizes[k]
	}
	b := resized(slices.Clone(ino.disk), size)
	for _, i := range slices.Sorted(maps.Keys(ino.past)) {
		states := ino.past[i]
		var st []byte
		if k := pick(len(states)); k < len(states) {
			st = states[k]
		} else {
			st = sector(ino.data, i)
		}
		if off := i * SectorSize; off < size {
			copy(b[off:], st)
		}
	}
	return b
}

// Kill returns a new file system as the next process sees it when this one is
// killed while the machine lives on: everything written is there, the locks are
// free, and what was not durable is still not durable. S must not be used again.
func (s *Sim) Kill() *Sim {
	s.mu.Lock()
	defer s.mu.Unlock()
	after := NewSim()
	maps.Copy(after.dirs, s.dirs)
	clones := map[*inode]*inode{}
	clone := func(ino *inode) *inode {
		if ino != nil && clones[ino] == nil {
			clones[ino] = ino.clone()
		}
		return clones[ino]
	}
	for name, ino := range s.names {
		after.names[name] = clone(ino)
	}
	for name, ino := range s.disk {
		after.disk[name] = clone(ino)
	}
	for _, op := range s.pend {
		c := nameOp{names: op.names}
		for _, ino := range op.inodes {
			c.inodes = append(c.inodes, clone(ino))
		}
		after.pend = append(after.pend, c)
	}
	s.gone = true
	return after
}
