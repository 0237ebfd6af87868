package wal

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

const (
	// fillChunk is how much is filled with zeros between two syncs.
	fillChunk = 256 << 10
	// firstSize is the size of a new log's first segment; growth is how much
	// larger the next ones are, up to Options.SegmentSize.
	firstSize = 256 << 10
	growth    = 4
	// maxPool is how many emptied segments are kept for use as next ones.
	maxPool = 2
)

// A spare is a file ready to become the next segment.
type spare struct {
	num  uint64
	name string
	file vfs.File
	size int64
}

// A retired is the closed file of a segment that holds nothing of use.
type retired struct {
	name string
	size int64
}

// The background goroutine prepares the next segment and clears away old ones.
// It begins with Open and ends with Close.
type background struct {
	l      *Log
	wanted atomic.Bool   // a next segment is asked for
	urgent atomic.Bool   // somebody waits for it
	wake   chan struct{} // holds one
	hurry  chan struct{} // holds one: urgent was set
	quit   chan struct{}
	done   chan struct{}

	mu      sync.Mutex
	ready   *spare
	pool    []retired
	err     error         // of the last attempt
	changed chan struct{} // closed at each change of ready or err

	// The goroutine's own.
	num    uint64    // of the next file
	size   int64     // of the next file filled with zeros
	failed time.Time // when the last attempt failed
}

func (b *background) start(l *Log, num uint64, size int64, ready *spare, pool []retired) {
	b.l, b.num, b.size, b.ready, b.pool = l, num, size, ready, pool
	b.wake, b.hurry = make(chan struct{}, 1), make(chan struct{}, 1)
	b.quit, b.done, b.changed = make(chan struct{}), make(chan struct{}), make(chan struct{})
	go b.run()
}

func (b *background) run() {
	defer close(b.done)
	for {
		select {
		case <-b.quit:
			return
		case <-b.wake:
		}
		b.collect()
		if b.wanted.Load() {
			b.prepare()
		}
		b.shrink()
	}
}

func (b *background) stop() {
	close(b.quit)
	<-b.done
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ready != nil {
		b.ready.file.Close() // the file stays, for the next Open
	}
}

func (b *background) kick() { signal(b.wake) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// want asks for a next segment.
func (b *background) want() {
	b.wanted.Store(true)
	b.kick()
}

// take returns the next segment if there is one.
func (b *background) take() *spare {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.takeLocked()
}

func (b *background) takeLocked() *spare {
	sp := b.ready
	b.ready = nil
	if sp != nil {
		b.wanted.Store(false)
		b.urgent.Store(false)
	}
	return sp
}

// wait returns the next segment as soon as there is one, or why there is none.
func (b *background) wait() (*spare, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = nil
	for b.ready == nil && b.err == nil {
		changed := b.changed
		b.mu.Unlock()
		b.urgent.Store(true)
		signal(b.hurry)
		b.want()
		select {
		case <-changed:
		case <-b.quit:
			b.mu.Lock()
			return nil, ErrClosed
		}
		b.mu.Lock()
	}
	if b.ready == nil {
		return nil, b.err
	}
	return b.takeLocked(), nil
}

func (b *background) lastError() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *background) publish(sp *spare, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ready, b.err = sp, err
	close(b.changed)
	b.changed = make(chan struct{})
}

// refuse tells who waits for the next segment that there will be none.
func (b *background) refuse(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
	close(b.changed)
	b.changed = make(chan struct{})
}

// collect retires the segments that end before the head, once the head is
// durable: before, a crash could bring back a log that needs them.
func (b *background) collect() {
	l := b.l
	head := l.Head()
	segs := *l.segs.Load()
	n := 0
	for n < len(segs)-1 && segs[n+1].base <= head {
		n++
	}
	if n == 0 {
		return
	}
	l.mu.Lock()
	headEnd := l.headEnd
	l.mu.Unlock()
	if l.Sync(context.Background(), headEnd) != nil {
		return
	}
	l.mu.Lock()
	segs = *l.segs.Load()
	old, segs := segs[:n], segs[n:]
	l.segs.Store(&segs)
	l.mu.Unlock()
	for _, s := range old {
		s.gone = func() { // after the last reader
			b.mu.Lock()
			b.pool = append(b.pool, retired{s.name, s.size})
			b.mu.Unlock()
			b.kick()
		}
		_ = s.release() // nothing of the file is needed
	}
}

// shrink removes retired files that will not be needed soon. No sync: should
// they come back after a crash, they are still before the head.
func (b *background) shrink() {
	b.mu.Lock()
	var drop []retired
	if n := len(b.pool) - maxPool; n > 0 {
		drop, b.pool = b.pool[:n:n], b.pool[n:]
	}
	b.mu.Unlock()
	for _, r := range drop {
		b.remove(r.name)
	}
}

func (b *background) remove(name string) {
	if b.l.fs.Remove(name) == nil { // else the next Open tries again
		b.l.stats.removed.Add(1)
	}
}

// prepare makes the next segment, from a retired one if there is one.
func (b *background) prepare() {
	if err := b.l.Err(); err != nil {
		b.refuse(err) // an appender may be waiting
		return
	}
	if !b.urgent.Load() && time.Since(b.failed) < time.Second {
		return // a full disk asks with each append
	}
	b.mu.Lock()
	have := b.ready != nil
	var from *retired
	if !have && len(b.pool) > 0 {
		last := len(b.pool) - 1
		from, b.pool = &b.pool[last], b.pool[:last:last]
	}
	b.mu.Unlock()
	if have {
		return
	}
	sp := &spare{num: b.num, name: filepath.Join(b.l.dir, segmentName(b.num))}
	b.num++
	var err error
	if from != nil {
		err = b.recycle(sp, *from)
	} else {
		err = b.fill(sp)
	}
	if err == nil {
		err = b.l.fs.SyncDir(b.l.dir)
	}
	if err != nil {
		if sp.file != nil {
			sp.file.Close()
			b.remove(sp.name)
		}
		b.failed = time.Now()
		b.publish(nil, err)
		return
	}
	b.publish(sp, nil)
}

// recycle renames a retired segment. What it holds is salted with its former
// number and never passes for a frame again.
func (b *background) recycle(sp *spare, from retired) (err error) {
	fs := b.l.fs
	if err := fs.Rename(from.name, sp.name); err != nil {
		return err
	}
	if sp.file, err = fs.Open(sp.name); err != nil {
		return err
	}
	if sp.size, err = sp.file.Size(); err != nil {
		return err
	}
	if sp.size > b.l.max {
		if err := sp.file.Truncate(b.l.max); err != nil {
			return err
		}
		sp.size = b.l.max
	}
	b.l.stats.recycled.Add(1)
	return nil
}

// fill writes zeros, a chunk at a time with as long a pause, so that commits to
// the segment in use find the disk free half of the time. When somebody waits,
// what is filled is enough.
func (b *background) fill(sp *spare) (err error) {
	if sp.file, err = b.l.fs.Create(sp.name); err != nil {
		return err
	}
	var timer *time.Timer
	for sp.size < b.size {
		start := time.Now()
		n := min(fillChunk, b.size-sp.size)
		if err := vfs.ZeroFill(sp.file, sp.size, n); err != nil {
			return err
		}
		if err := sp.file.Datasync(); err != nil {
			return err
		}
		if sp.size += n; sp.size >= b.size || b.urgent.Load() {
			break
		}
		pause := time.Since(start)
		if timer == nil {
			timer = time.NewTimer(pause)
			defer timer.Stop()
		} else {
			timer.Reset(pause)
		}
		select {
		case <-timer.C:
		case <-b.hurry:
		case <-b.quit:
			return ErrClosed
		}
	}
	b.size = min(b.size*growth, b.l.max)
	b.l.stats.filled.Add(1)
	return nil
}
