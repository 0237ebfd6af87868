package main

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// A notification is a message of a topic. Topic and time are its identity: no two
// messages of one topic have the same time.
type notification struct {
	Topic topicID `json:"topic"`
	At    int64   `json:"at"` // microseconds since 1970
	// Prev is the time of the topic's message before this one, 0 if there is none:
	// who has not seen that one knows by it that something is missing.
	Prev int64  `json:"prev"`
	Text string `json:"text"`
}

// A store keeps all notifications by (topic, time): one file here, Cassandra in
// earnest, with the topic as partition and the time as clustering column. "What was
// said in this topic since?" is one range.
type store struct{ db *bbolt.DB }

var bucketNews = []byte("notifications") // topic, time → notification

func openStore(dir string) (*store, error) {
	db, err := bbolt.Open(filepath.Join(dir, "notifications.db"), 0o600, nil)
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucketNews)
		return err
	})
	return &store{db}, err
}

func (s *store) close() { s.db.Close() }

func newsKey(topic topicID, at int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, uint32(topic)), uint64(at))
}

// put stores notifications and sets each one's Prev. To do it again, after a crash,
// changes nothing.
func (s *store) put(list []notification) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketNews)
		for i := range list {
			n := &list[i]
			key := newsKey(n.Topic, n.At)
			c := b.Cursor()
			before, _ := c.Seek(key)
			if before == nil {
				before, _ = c.Last()
			} else {
				before, _ = c.Prev()
			}
			if n.Prev = 0; before != nil && topicID(binary.BigEndian.Uint32(before)) == n.Topic {
				n.Prev = int64(binary.BigEndian.Uint64(before[4:]))
			}
			value, err := json.Marshal(n)
			if err != nil {
				return err
			}
			if err := b.Put(key, value); err != nil {
				return err
			}
		}
		return nil
	})
}

// after returns the notifications of a topic with a later time, the oldest first.
func (s *store) after(topic topicID, at int64) (list []notification, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketNews).Cursor()
		for k, v := c.Seek(newsKey(topic, at+1)); k != nil && topicID(binary.BigEndian.Uint32(k)) == topic; k, v = c.Next() {
			var n notification
			if err := json.Unmarshal(v, &n); err != nil {
				return err
			}
			list = append(list, n)
		}
		return nil
	})
	return list, err
}

// latest returns the last notifications of a topic, the oldest first.
func (s *store) latest(topic topicID, most int) (list []notification, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketNews).Cursor()
		var v []byte
		k, _ := c.Seek(newsKey(topic+1, 0)) // where the next topic begins, or the end
		if k == nil {
			k, v = c.Last()
		} else {
			k, v = c.Prev()
		}
		for ; k != nil && topicID(binary.BigEndian.Uint32(k)) == topic && len(list) < most; k, v = c.Prev() {
			var n notification
			if err := json.Unmarshal(v, &n); err != nil {
				return err
			}
			list = append(list, n)
		}
		return nil
	})
	slices.Reverse(list)
	return list, err
}

// A cache answers polls of popular topics: the last notifications of each, as they
// were at most ttl ago. Redis in earnest. However many poll, the store is asked
// once in ttl.
type cache struct {
	store *store
	ttl   time.Duration
	polls atomic.Int64
	hits  atomic.Int64
	reads atomic.Int64 // of the store

	mu      sync.Mutex
	entries map[topicID]*entry
}

type entry struct {
	mu           sync.Mutex // held while the entry is filled: the others wait for it
	filled       time.Time
	list         []notification
	polls, reads int
}

const depth = 100 // notifications an entry holds

func newCache(s *store, ttl time.Duration) *cache {
	return &cache{store: s, ttl: ttl, entries: map[topicID]*entry{}}
}

// after is that of the store, from memory if possible.
func (c *cache) after(topic topicID, at int64) ([]notification, error) {
	c.polls.Add(1)
	c.mu.Lock()
	e := c.entries[topic]
	if e == nil {
		e = &entry{}
		c.entries[topic] = e
	}
	c.mu.Unlock()

	e.mu.Lock()
	e.polls++
	if time.Since(e.filled) >= c.ttl {
		began := time.Now()
		e.reads++
		c.reads.Add(1)
		list, err := c.store.latest(topic, depth)
		if err != nil {
			e.mu.Unlock()
			return nil, err
		}
		e.list, e.filled = list, began
	} else {
		c.hits.Add(1)
	}
	list := e.list
	e.mu.Unlock()
	if len(list) == depth && at < list[0].Prev {
		c.reads.Add(1)
		return c.store.after(topic, at) // away for longer than the cache reaches back
	}
	i, _ := slices.BinarySearchFunc(list, at+1, func(n notification, at int64) int { return cmp.Compare(n.At, at) })
	return list[i:], nil
}

// count tells how often a topic was asked for, and how often the store was for it.
func (c *cache) count(topic topicID) (polls, reads int) {
	c.mu.Lock()
	e := c.entries[topic]
	c.mu.Unlock()
	if e == nil {
		return 0, 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.polls, e.reads
}
