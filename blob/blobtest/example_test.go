package blobtest_test

import (
	"testing"

	"github.com/ashlar-go/ashlar/blob"
	"github.com/ashlar-go/ashlar/blob/blobtest"
)

// A test of a store of your own is this one call.
func ExampleRun() {
	_ = func(t *testing.T) { // func TestMyStore(t *testing.T)
		blobtest.Run(t, func(t *testing.T) blob.Store { return blob.NewMem() })
	}
}
