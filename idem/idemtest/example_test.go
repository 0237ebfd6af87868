package idemtest_test

import (
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/idem"
	"github.com/ashlar-go/ashlar/idem/idemtest"
)

// In a test file of your own storage, here of the one in memory, whose clock the
// suite may move.
func Example() {
	TestMyBackend := func(t *testing.T) {
		idemtest.Run(t, func(t *testing.T) (idem.Backend, func(time.Duration)) {
			now := time.Now()
			return idem.NewMem(func() time.Time { return now }), func(d time.Duration) { now = now.Add(d) }
		})
	}
	_ = TestMyBackend
}
