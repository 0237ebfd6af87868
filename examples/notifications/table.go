package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ashlar-go/ashlar/stream"
)

// A table is the subscription table: one file here, SQL tables sharded by user
// in earnest. "What has this user subscribed to?" is one range of neighbouring
// rows, "who has subscribed to this topic?" all rows of all users.
//
// Each change is written twice in one transaction: to the row, and to the outbox,
// from which [table.publish] takes it to the log. So the feed has every change
// that the table has, and no other. A database's own log (binlog, WAL) read by a
// connector does the same.
type table struct {
	db *bbolt.DB
	// batch is how many changes go to the log in one step. Those of a directory
	// take many; JetStream takes at most 999 for a compacted topic.
	batch int
}

var (
	bucketRows   = []byte("subscriptions") // user, topic → when
	bucketOutbox = []byte("outbox")        // number → changes of one transaction
)

func openTable(dir string) (*table, error) {
	db, err := bbolt.Open(filepath.Join(dir, "subscriptions.db"), 0o600, nil)
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketRows, bucketOutbox} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	return &table{db, 50_000}, err
}

func (t *table) close() { t.db.Close() }

// subscribe adds rows, and unsubscribe removes them.
func (t *table) subscribe(rows ...subscription) error   { return t.change('+', rows) }
func (t *table) unsubscribe(rows ...subscription) error { return t.change('-', rows) }

func (t *table) change(op byte, rows []subscription) error {
	now := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
	const step = 50_000 // rows a transaction
	for some := range slices.Chunk(rows, step) {
		err := t.db.Update(func(tx *bbolt.Tx) error {
			table, outbox := tx.Bucket(bucketRows), tx.Bucket(bucketOutbox)
			table.FillPercent = 0.9 // rows come in order
			var changes []byte
			for _, s := range some {
				key := s.key()
				changes = append(append(changes, key...), op)
				if op == '-' {
					if err := table.Delete(key); err != nil {
						return err
					}
				} else if err := table.Put(key, now); err != nil {
					return err
				}
			}
			number, err := outbox.NextSequence()
			if err != nil {
				return err
			}
			return outbox.Put(binary.BigEndian.AppendUint64(nil, number), changes)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const changeSize = 9 // bytes of a change in the outbox: the row's key, + or -

// topicsOf is what the table is sorted for.
func (t *table) topicsOf(user userID) (list []topicID, err error) {
	err = t.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketRows).Cursor()
		for k, _ := c.Seek(subscription{user, 0}.key()); k != nil && subscriptionOf(k).user == user; k, _ = c.Next() {
			list = append(list, subscriptionOf(k).topic)
		}
		return nil
	})
	return list, err
}

// scan is what it is not: it reads every row of every user.
func (t *table) scan(topic topicID) (list []userID, read int, err error) {
	err = t.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketRows).ForEach(func(k, _ []byte) error {
			read++
			if s := subscriptionOf(k); s.topic == topic {
				list = append(list, s.user)
			}
			return nil
		})
	})
	return list, read, err
}

// publish takes what is in the outbox to the log: the change data capture. The
// table is by user; the feed is divided by topic, so that all changes of one topic,
// and its messages, are in the partition of one router. One that dies after the
// append and before the removal appends the same changes again, in the same order,
// which leaves every subscription as it was.
func (t *table) publish(ctx context.Context, log stream.Log) (published int, err error) {
	for {
		var number, changes []byte
		err := t.db.View(func(tx *bbolt.Tx) error {
			k, v := tx.Bucket(bucketOutbox).Cursor().First()
			number, changes = bytes.Clone(k), bytes.Clone(v)
			return nil
		})
		if err != nil || number == nil {
			return published, err
		}
		batches := map[int][]stream.Record{}
		for c := range slices.Chunk(changes, changeSize) {
			row := subscriptionOf(c)
			p := partitionOf(row.topic)
			batches[p] = append(batches[p], changeRecord(row, c[changeSize-1]))
			published++
		}
		for p, records := range batches {
			for some := range slices.Chunk(records, t.batch) {
				if _, err := log.Append(ctx, stream.Partition{Topic: topicChanges, Number: p}, some); err != nil {
					return published, err
				}
			}
		}
		err = t.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketOutbox).Delete(number) })
		if err != nil {
			return published, err
		}
	}
}

// The log's topics. Both are divided by topic id into the same number of
// partitions.
const (
	topicChanges  = "subscriptions" // compacted: the last change of each subscription stays
	topicMessages = "notifications"
	partitions    = 4
)

func createTopics(ctx context.Context, log stream.Log) error {
	err := log.CreateTopic(ctx, topicChanges, &stream.TopicOptions{Partitions: partitions, Compact: true})
	if err != nil {
		return err
	}
	return log.CreateTopic(ctx, topicMessages, &stream.TopicOptions{Partitions: partitions})
}

func partitionOf(t topicID) int {
	return stream.PartitionOf(binary.BigEndian.AppendUint32(nil, uint32(t)), partitions)
}

// changeRecord says that somebody subscribes, or with a tombstone that somebody
// does not any more. Its key is the subscription, the topic first.
func changeRecord(s subscription, op byte) stream.Record {
	key := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(s.topic)), uint32(s.user))
	if op == '-' {
		return stream.Record{Key: key}
	}
	return stream.Record{Key: key, Value: []byte{op}}
}

// changeOf reads such a record.
func changeOf(r *stream.Record) (s subscription, subscribed bool) {
	s = subscription{userID(binary.BigEndian.Uint32(r.Key[4:])), topicID(binary.BigEndian.Uint32(r.Key))}
	return s, r.Value != nil
}
