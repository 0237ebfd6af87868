package streamtest_test

import (
	"testing"

	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/streamtest"
)

// The test of a log of your own.
func Example() {
	_ = func(t *testing.T) { // func TestMyLog(t *testing.T)
		streamtest.Run(t, func(*testing.T) stream.Log { return stream.NewMem() })
	}
	// Output:
}
