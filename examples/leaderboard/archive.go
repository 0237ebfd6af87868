package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/stream"
)

// The slow path: every play as it came, in files of an object store, for exact
// answers later and for questions that nobody has asked yet. A file holds lines of
// JSON, compressed, which anything can read; its name says which minute its plays are
// of, from which partition and from which offset on:
//
//	plays/date=2026-03-02/hour=20/minute=05/2-000000020000.jsonl.gz
const (
	archivePrefix = "plays/"
	archiveChunk  = 20_000 // plays of a partition that are archived in one step
	archiveLimit  = 64 << 20
	groupArchive  = "archive"
)

// minutePrefix is where the plays of a minute are.
func minutePrefix(start int64) string {
	return archivePrefix + time.UnixMilli(start).UTC().Format("date=2006-01-02/hour=15/minute=04/")
}

// archivePlays writes what is new in the log. The same plays make the same files
// under the same names: a process that dies between writing and committing leaves
// files that the next one writes again, and nothing is there twice.
func archivePlays(ctx context.Context, l stream.Log, store blob.Store) error {
	done, err := l.Committed(ctx, groupArchive)
	if err != nil {
		return err
	}
	for n := range regions {
		p := partition(topicPlays, n)
		_, end, err := l.Bounds(ctx, p)
		if err != nil {
			return err
		}
		for from := max(0, done[p].Next); from < end; {
			if from, err = archiveFiles(ctx, l, store, p, from, end); err != nil {
				return err
			}
			if err := l.Commit(ctx, groupArchive, map[stream.Partition]stream.Offset{p: {Next: from}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// archiveFiles writes the plays of a partition from an offset on, up to archiveChunk
// of them and before end, and returns where to go on. It counts plays, not offsets: not
// every log gives out all numbers.
func archiveFiles(ctx context.Context, l stream.Log, store blob.Store, p stream.Partition, from, end int64) (next int64, err error) {
	lines := map[string]*bytes.Buffer{}
	next, n := end, 0
	for r, err := range stream.Scan(ctx, l, p, from, end) {
		if err != nil {
			return from, err
		}
		if n++; n > archiveChunk {
			next = r.Offset
			break
		}
		x, err := playOf(&r)
		if err != nil {
			return from, err
		}
		name := fmt.Sprintf("%s%d-%012d.jsonl.gz", minutePrefix(minute(x.Date)), p.Number, from)
		if lines[name] == nil {
			lines[name] = &bytes.Buffer{}
		}
		if err := json.NewEncoder(lines[name]).Encode(x); err != nil {
			return from, err
		}
	}
	for name, text := range lines {
		var file bytes.Buffer
		z := gzip.NewWriter(&file)
		_, _ = z.Write(text.Bytes()) // into memory
		_ = z.Close()
		if _, err := blob.PutBytes(ctx, store, name, file.Bytes()); err != nil {
			return from, err
		}
	}
	return next, nil
}

// A census is the exact answer: a map of everything.
type census struct {
	all     map[string]uint64
	minutes map[int64]map[string]uint64
	total   uint64
	plays   int // lines of files
	files   int
	size    int64
}

func (c *census) add(p play) {
	start := minute(p.Date)
	if c.minutes[start] == nil {
		c.minutes[start] = map[string]uint64{}
	}
	c.all[p.ID] += uint64(p.Count)
	c.minutes[start][p.ID] += uint64(p.Count)
	c.total += uint64(p.Count)
	c.plays++
}

// takeCensus is the batch job: it reads all files whose names begin with prefix, and
// needs neither the log nor what counts it.
func takeCensus(ctx context.Context, store blob.Store, prefix string) (*census, error) {
	c := &census{all: map[string]uint64{}, minutes: map[int64]map[string]uint64{}}
	for info, err := range store.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		if !strings.HasSuffix(info.Key, ".jsonl.gz") {
			continue
		}
		file, _, err := blob.GetBytes(ctx, store, info.Key, archiveLimit)
		if err != nil {
			return nil, err
		}
		if err := readFile(file, c.add); err != nil {
			return nil, fmt.Errorf("%s: %w", info.Key, err)
		}
		c.files, c.size = c.files+1, c.size+info.Size
	}
	return c, nil
}

func readFile(file []byte, f func(play)) error {
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return err
	}
	d := json.NewDecoder(z)
	for {
		var p play
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return z.Close()
		} else if err != nil {
			return err
		}
		f(p)
	}
}
