package parquet

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"time"

	pq "github.com/parquet-go/parquet-go"

	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/tsdb"
)

// ErrInvalid is returned for an argument that can never be right.
var ErrInvalid = errors.New("parquet: invalid argument")

// Options configures the writing. Nil, and a zero field, mean the default.
type Options struct {
	// Columns are labels that get a column of their own, of their name, in
	// WriteSeries and WriteLogs. Default: none, all labels are in the map.
	Columns []string
	// GroupRows is the most rows in a row group, which is what is held in memory
	// and what readers divide work by. Default 1,048,576.
	GroupRows int
	// Metadata is kept in the file's footer, by name.
	Metadata map[string]string
}

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.GroupRows == 0 {
		c.GroupRows = 1 << 20
	}
	if c.GroupRows < 0 {
		return c, fmt.Errorf("%w: Options.GroupRows is %d", ErrInvalid, c.GroupRows)
	}
	return c, nil
}

func (o *Options) config() []pq.WriterOption {
	out := []pq.WriterOption{
		pq.CreatedBy("ashlar", "", ""), pq.Compression(&pq.Zstd), pq.MaxRowsPerRowGroup(int64(o.GroupRows)),
		pq.SkipPageBounds("v"),
	}
	for k, v := range o.Metadata {
		out = append(out, pq.KeyValueMetadata(k, v))
	}
	return out
}

// The nodes of the columns.
func word() pq.Node { return pq.Encoded(pq.String(), &pq.RLEDictionary) }

func when(unit pq.TimeUnit) pq.Node {
	return pq.Encoded(pq.Timestamp(unit), &pq.DeltaBinaryPacked)
}

// A table writes rows by the places of their columns.
type table struct {
	w       *pq.GenericWriter[any]
	schema  *pq.Schema
	columns []pq.Row // values of the row that is being made, by column
	row     pq.Row
	rows    int64
}

func newTable(w io.Writer, name string, g pq.Group, o *Options) *table {
	t := &table{schema: pq.NewSchema(name, g)}
	t.columns = make([]pq.Row, len(t.schema.Columns()))
	t.w = pq.NewGenericWriter[any](w, append(o.config(), t.schema)...)
	return t
}

// at returns the place of a column, which exists.
func (t *table) at(path ...string) int {
	leaf, ok := t.schema.Lookup(path...)
	if !ok {
		panic(fmt.Sprintf("parquet: no column %q", path))
	}
	return leaf.ColumnIndex
}

// set adds a value to a column of the row. Rep is 0 for the first value of a row
// and 1 for more of a list; def is how much of what is optional or repeated is
// there.
func (t *table) set(column int, v pq.Value, rep, def int) {
	t.columns[column] = append(t.columns[column], v.Level(rep, def, column))
}

// end writes the row.
func (t *table) end() error {
	t.row = t.row[:0]
	for i, c := range t.columns {
		t.row = append(t.row, c...)
		t.columns[i] = c[:0]
	}
	n, err := t.w.WriteRows([]pq.Row{t.row})
	t.rows += int64(n)
	return err
}

// close writes the footer, unless something failed before.
func (t *table) close(err error) (int64, error) {
	if err == nil {
		err = t.w.Close()
	}
	if err != nil {
		return 0, err
	}
	return t.rows, nil
}

// labelled is a table whose rows have a source and labels.
type labelled struct {
	*table
	source, names, values, time int
	own                         []int // by Options.Columns
	labels                      []string
}

func newLabelled(w io.Writer, name string, more pq.Group, o *Options) (*labelled, error) {
	g := pq.Group{"source": word(), "labels": pq.Map(word(), word()), "t": when(pq.Millisecond)}
	for k, n := range more {
		g[k] = n
	}
	for _, label := range o.Columns {
		if _, taken := g[label]; taken || label == "" {
			return nil, fmt.Errorf("%w: Options.Columns: there is a column %q already", ErrInvalid, label)
		}
		g[label] = pq.Optional(word())
	}
	l := &labelled{table: newTable(w, name, g, o), labels: o.Columns}
	l.source, l.time = l.at("source"), l.at("t")
	l.names, l.values = l.at("labels", "key_value", "key"), l.at("labels", "key_value", "value")
	for _, label := range o.Columns {
		l.own = append(l.own, l.at(label))
	}
	return l, nil
}

// head sets what all rows of a series share, and the time.
func (l *labelled) head(source string, labels tsdb.Labels, t int64) {
	l.set(l.source, pq.ByteArrayValue([]byte(source)), 0, 0)
	l.set(l.time, pq.Int64Value(t), 0, 0)
	for i, name := range l.labels {
		if v := labels.Get(name); v != "" {
			l.set(l.own[i], pq.ByteArrayValue([]byte(v)), 0, 1)
		} else {
			l.set(l.own[i], pq.NullValue(), 0, 0)
		}
	}
	n := 0
	for _, x := range labels {
		if slices.Contains(l.labels, x.Name) {
			continue
		}
		rep := min(n, 1)
		l.set(l.names, pq.ByteArrayValue([]byte(x.Name)), rep, 1)
		l.set(l.values, pq.ByteArrayValue([]byte(x.Value)), rep, 1)
		n++
	}
	if n == 0 { // an empty map
		l.set(l.names, pq.NullValue(), 0, 0)
		l.set(l.values, pq.NullValue(), 0, 0)
	}
}

// WriteSeries writes the samples of series, as [tsdb.DB.Query] yields them, and
// returns how many there were. After an error what was written is no Parquet file.
func WriteSeries(w io.Writer, series iter.Seq2[*tsdb.Series, error], o *Options) (rows int64, err error) {
	opts, err := o.withDefaults()
	if err != nil {
		return 0, err
	}
	l, err := newLabelled(w, "series", pq.Group{"v": pq.Encoded(pq.Leaf(pq.DoubleType), &pq.ByteStreamSplit)}, &opts)
	if err != nil {
		return 0, err
	}
	return l.close(func() error {
		v := l.at("v")
		for s, err := range series {
			if err != nil {
				return err
			}
			labels := s.Labels()
			for b, err := range s.Blocks() {
				if err != nil {
					return err
				}
				for i, t := range b.T {
					l.head(s.Source, labels, t)
					l.set(v, pq.DoubleValue(b.V[i]), 0, 0)
					if err := l.end(); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}())
}

// WriteLogs writes lines of text, as [tsdb.DB.Logs] yields them, and returns how
// many there were. After an error what was written is no Parquet file.
func WriteLogs(w io.Writer, lines iter.Seq2[tsdb.LogEntry, error], o *Options) (rows int64, err error) {
	opts, err := o.withDefaults()
	if err != nil {
		return 0, err
	}
	l, err := newLabelled(w, "logs", pq.Group{"text": pq.Encoded(pq.String(), &pq.DeltaLengthByteArray)}, &opts)
	if err != nil {
		return 0, err
	}
	return l.close(func() error {
		text := l.at("text")
		for e, err := range lines {
			if err != nil {
				return err
			}
			l.head(e.Source, e.Labels(), e.T)
			l.set(text, pq.ByteArrayValue([]byte(e.Text)), 0, 0)
			if err := l.end(); err != nil {
				return err
			}
		}
		return nil
	}())
}

// WriteRecords writes records of a partition, as [stream.Scan] yields them, and
// returns how many there were. After an error what was written is no Parquet file.
// A time is cut to microseconds; the zero time, and one beyond some 292,000 years
// from 1970, is null.
func WriteRecords(w io.Writer, p stream.Partition, records iter.Seq2[stream.Record, error], o *Options) (rows int64, err error) {
	opts, err := o.withDefaults()
	if err != nil {
		return 0, err
	}
	if len(opts.Columns) > 0 {
		return 0, fmt.Errorf("%w: Options.Columns: records have no labels", ErrInvalid)
	}
	if p.Number < 0 || p.Number > math.MaxInt32 {
		return 0, fmt.Errorf("%w: partition %v", ErrInvalid, p)
	}
	bytes := func() pq.Node { return pq.Leaf(pq.ByteArrayType) }
	t := newTable(w, "records", pq.Group{
		"topic":     word(),
		"partition": pq.Encoded(pq.Int(32), &pq.RLEDictionary),
		"offset":    pq.Encoded(pq.Int(64), &pq.DeltaBinaryPacked),
		"time":      pq.Optional(when(pq.Microsecond)),
		"key":       bytes(),
		"value":     pq.Optional(bytes()),
		"headers":   pq.List(pq.Group{"key": word(), "value": bytes()}),
	}, &opts)
	return t.close(t.records(p, records))
}

func (t *table) records(p stream.Partition, records iter.Seq2[stream.Record, error]) error {
	topic, partition, offset, at := t.at("topic"), t.at("partition"), t.at("offset"), t.at("time")
	key, value := t.at("key"), t.at("value")
	name, content := t.at("headers", "list", "element", "key"), t.at("headers", "list", "element", "value")
	for r, err := range records {
		if err != nil {
			return err
		}
		t.set(topic, pq.ByteArrayValue([]byte(p.Topic)), 0, 0)
		t.set(partition, pq.Int32Value(int32(p.Number)), 0, 0)
		t.set(offset, pq.Int64Value(r.Offset), 0, 0)
		t.set(key, pq.ByteArrayValue(r.Key), 0, 0)
		if micros, ok := micros(r.Time); ok {
			t.set(at, pq.Int64Value(micros), 0, 1)
		} else {
			t.set(at, pq.NullValue(), 0, 0)
		}
		if r.Value != nil {
			t.set(value, pq.ByteArrayValue(r.Value), 0, 1)
		} else {
			t.set(value, pq.NullValue(), 0, 0)
		}
		for i, h := range r.Headers {
			rep := min(i, 1)
			t.set(name, pq.ByteArrayValue([]byte(h.Key)), rep, 1)
			t.set(content, pq.ByteArrayValue(h.Value), rep, 1)
		}
		if len(r.Headers) == 0 {
			t.set(name, pq.NullValue(), 0, 0)
			t.set(content, pq.NullValue(), 0, 0)
		}
		if err := t.end(); err != nil {
			return err
		}
	}
	return nil
}

// micros returns a time in microseconds since 1970, if it is one.
func micros(t time.Time) (int64, bool) {
	const limit = math.MaxInt64 / 1_000_000 // seconds
	if s := t.Unix(); t.IsZero() || s > limit-1 || s < -limit {
		return 0, false
	}
	return t.UnixMicro(), true
}

// WriteRows writes rows of a struct, by the names and tags that parquet-go knows,
// and returns how many there were. After an error what was written is no Parquet
// file. It panics if T has no columns.
func WriteRows[T any](w io.Writer, rows iter.Seq2[T, error], o *Options) (n int64, err error) {
	opts, err := o.withDefaults()
	if err != nil {
		return 0, err
	}
	if len(opts.Columns) > 0 {
		return 0, fmt.Errorf("%w: Options.Columns: rows have no labels", ErrInvalid)
	}
	out := pq.NewGenericWriter[T](w, opts.config()...)
	batch := make([]T, 0, 1024)
	flush := func() error {
		k, err := out.Write(batch)
		n += int64(k)
		clear(batch)
		batch = batch[:0]
		return err
	}
	for row, err := range rows {
		if err != nil {
			return 0, err
		}
		if batch = append(batch, row); len(batch) == cap(batch) {
			if err := flush(); err != nil {
				return 0, err
			}
		}
	}
	if err := flush(); err != nil {
		return 0, err // without a footer
	}
	if err := out.Close(); err != nil {
		return 0, err
	}
	return n, nil
}
