//go:build engines

package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/adapters/kafka"
	"github.com/ashlar-go/ashlar/adapters/nats"
	"github.com/ashlar-go/ashlar/adapters/parquet"
	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/stream"
)

// checkLog says whether openLog knows what such a URL is.
func checkLog(url string) error {
	switch scheme, _, _ := strings.Cut(url, "://"); scheme {
	case "", "kafka", "nats":
		return nil
	}
	return fmt.Errorf("-log %s: want kafka://HOST:PORT or nats://HOST:PORT", url)
}

// openLog opens the log at a URL, or the one in a directory if there is none. In an
// engine that others use too, topics begin with a name of their own for each run.
func openLog(ctx context.Context, url, dir string) (stream.Transactor, error) {
	prefix := "ashlar-" + filepath.Base(filepath.Dir(dir)) + "-" + filepath.Base(dir)
	switch scheme, rest, _ := strings.Cut(url, "://"); scheme {
	case "":
		return stream.OpenLocal(dir, nil)
	case "kafka":
		// A killed process leaves a transaction open, for which readers wait until
		// it has timed out.
		return kafka.Dial(ctx, strings.Split(rest, ","), &kafka.Options{Prefix: prefix + "-", Timeout: 5 * time.Second})
	case "nats":
		return nats.Dial(ctx, url, &nats.Options{Prefix: prefix})
	default:
		return nil, checkLog(url)
	}
}

// A parquetRow is an event as Spark and DuckDB see it.
type parquetRow struct {
	Time    int64  `parquet:"time,timestamp(millisecond),delta"`
	Host    string `parquet:"host,dict"`
	IP      string `parquet:"ip"`
	User    string `parquet:"user,dict"`
	Method  string `parquet:"method,dict"`
	Path    string `parquet:"path,dict"`
	Status  int32  `parquet:"status,dict"`
	Bytes   int64  `parquet:"bytes,delta"`
	Referer string `parquet:"referer,dict"`
	Agent   string `parquet:"agent,dict"`
	Micros  *int64 `parquet:"micros,optional"` // null: not known
}

// exportParquet writes the archive once more, in columns.
func exportParquet(ctx context.Context, w io.Writer, store blob.Store) error {
	var rows int64
	var failed error
	body, out := io.Pipe()
	go func() { // ends with the pipe
		rows, failed = parquet.WriteRows(out, lakeRows(ctx, store), nil)
		out.CloseWithError(failed)
	}()
	info, err := store.Put(ctx, "parquet/events.parquet", body, -1)
	body.CloseWithError(err) // ends the writer, if the store failed
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "as Parquet too: %s rows in %s bytes, %.1f each\n", num(int(rows)), num(int(info.Size)), float64(info.Size)/float64(rows))
	return nil
}

func lakeRows(ctx context.Context, store blob.Store) iter.Seq2[parquetRow, error] {
	return func(yield func(parquetRow, error) bool) {
		_, _, err := readLake(ctx, store, func(a *access) error {
			row := parquetRow{a.Time.UnixMilli(), a.Host, a.IP, a.User, a.Method, a.Path, int32(a.Status), a.Bytes, a.Referer, a.Agent, nil}
			if a.Micros >= 0 {
				row.Micros = &a.Micros
			}
			if !yield(row, nil) {
				return io.ErrClosedPipe
			}
			return nil
		})
		if err != nil && err != io.ErrClosedPipe {
			yield(parquetRow{}, err)
		}
	}
}
