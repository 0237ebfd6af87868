// Package parquet writes what package tsdb and package stream hold as Parquet
// files, for Spark, DuckDB, pandas and whatever else reads columns: series, lines
// of text, records of a log, and rows of one's own types.
//
//	n, err := parquet.WriteSeries(w, db.Query(ctx, tsdb.All, tsdb.Eq("name", "cpu")), &parquet.Options{Columns: []string{"host"}})
//
//	SELECT host, time_bucket(INTERVAL '1 hour', t) AS hour, max(v) FROM 'cpu.parquet' GROUP BY ALL;
//
// # Columns
//
//	WriteSeries   source, labels (a map), t (UTC, milliseconds), v (double)
//	WriteLogs     source, labels (a map), t (UTC, milliseconds), text
//	WriteRecords  topic, partition, offset, time (UTC, microseconds, or null), key, value (null: a tombstone), headers (a list of key and value)
//	WriteRows     the fields of a struct, as parquet-go names them
//
// [Options.Columns] makes columns of labels, null where a series has none; the
// map then holds the others. Times are delta coded, texts that repeat go to
// dictionaries, values are split by bytes, and everything is compressed by
// Zstandard. Values are kept bit by bit: NaN with its payload, infinities and -0.
// There are no minima and maxima of v in a file, since readers disagree about NaN
// in them, and a filter on v would lose rows.
//
// # What is missing is an error
//
// A sequence that yields an error, because a block is damaged, say, ends the
// writing with that error: the file has no footer then, and no reader takes it for
// a whole one. Write to a new name and rename it when the call has returned nil; an
// object store's put does that by itself.
//
// This package writes only. Its tests read the files back with parquet-go; by hand
// they were read with DuckDB 1.5, maps, lists, nulls and NaN included.
//
// # References
//
// The Apache Parquet format 2.10, above all its chapters on encodings and logical
// types.
package parquet
