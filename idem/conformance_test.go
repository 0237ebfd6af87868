package idem_test

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ashlar-go/ashlar/idem"
	"github.com/ashlar-go/ashlar/idem/idemtest"
)

// A clock that is moved by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Unix(1_800_000_000, 0).UTC()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func openDB(t testing.TB, path string) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestBackends(t *testing.T) {
	t.Run("Mem", func(t *testing.T) {
		idemtest.Run(t, func(t *testing.T) (idem.Backend, func(time.Duration)) {
			c := newClock()
			return idem.NewMem(c.now), c.pass
		})
	})
	t.Run("Bolt", func(t *testing.T) {
		idemtest.Run(t, func(t *testing.T) (idem.Backend, func(time.Duration)) {
			c := newClock()
			b, err := idem.OpenBolt(openDB(t, filepath.Join(t.TempDir(), "db")), c.now)
			if err != nil {
				t.Fatal(err)
			}
			return b, c.pass
		})
	})
}
