package replica

import "github.com/hashicorp/raft"

const chunkLen = 1024

// positions maps the indexes of the log's entries, which have no gap, to their
// positions in the log's files: 8 bytes for each entry kept. The zero value is
// empty.
type positions struct {
	first, n uint64 // the entries are [first, first+n)
	skip     uint64 // unused places at the start of chunks[0]
	chunks   [][]uint64
}

func (p *positions) last() uint64 { return p.first + p.n - 1 } // p.n > 0

func (p *positions) has(index uint64) bool { return index >= p.first && index-p.first < p.n }

// at returns the position of an entry that is there.
func (p *positions) at(index uint64) uint64 {
	i := index - p.first + p.skip
	return p.chunks[i/chunkLen][i%chunkLen]
}

// push adds the entry after the last one, or any first one.
func (p *positions) push(index, pos uint64) {
	if p.n == 0 {
		*p = positions{first: index}
	}
	i := p.skip + p.n
	if i == uint64(len(p.chunks))*chunkLen {
		p.chunks = append(p.chunks, make([]uint64, chunkLen))
	}
	p.chunks[i/chunkLen][i%chunkLen] = pos
	p.n++
}

// dropFrom removes an entry and all after it.
func (p *positions) dropFrom(index uint64) {
	if index <= p.first {
		*p = positions{}
		return
	}
	p.n = min(p.n, index-p.first)
	used := (p.skip + p.n + chunkLen - 1) / chunkLen
	clear(p.chunks[used:])
	p.chunks = p.chunks[:used]
}

// dropBefore removes all before an entry, which stays.
func (p *positions) dropBefore(index uint64) {
	d := index - p.first
	p.first, p.n, p.skip = index, p.n-d, p.skip+d
	k := p.skip / chunkLen
	if k > 0 {
		p.chunks = append([][]uint64(nil), p.chunks[k:]...)
		p.skip %= chunkLen
	}
}

const (
	recentLen   = 4096
	recentBytes = 32 << 20
)

// recent holds the entries appended last, up to 4,096 and 32 MiB, so that
// replication does not read the disk. Their bytes belong to whoever appended
// them and are not changed by anyone.
type recent struct {
	logs     []raft.Log // a ring: index i is at i % recentLen
	from, to uint64     // the entries held are [from, to)
	bytes    int
}

func weight(l *raft.Log) int { return len(l.Data) + len(l.Extensions) }

func (r *recent) get(index uint64) *raft.Log {
	if index < r.from || index >= r.to {
		return nil
	}
	return &r.logs[index%recentLen]
}

// push adds the entry after the last one, or any first one.
func (r *recent) push(l *raft.Log) {
	if r.logs == nil {
		r.logs = make([]raft.Log, recentLen)
	}
	if r.from == r.to || l.Index != r.to {
		r.dropFrom(0)
		r.from, r.to = l.Index, l.Index
	}
	r.to++
	r.bytes += weight(l)
	for r.from < r.to-1 && (r.to-r.from > recentLen || r.bytes > recentBytes) {
		r.forget(r.from)
		r.from++
	}
	r.logs[l.Index%recentLen] = *l
}

func (r *recent) forget(index uint64) {
	l := &r.logs[index%recentLen]
	r.bytes -= weight(l)
	*l = raft.Log{}
}

func (r *recent) dropFrom(index uint64) {
	for r.to > r.from && r.to > index {
		r.to--
		r.forget(r.to)
	}
}

func (r *recent) dropBefore(index uint64) {
	for r.from < r.to && r.from < index {
		r.forget(r.from)
		r.from++
	}
}
