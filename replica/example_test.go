package replica_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/ashlar-go/ashlar/replica"
)

// A tally is a number that every member of the cluster keeps: a command adds to it.
type tally struct{ sum atomic.Int64 }

func (t *tally) Apply(batch []replica.Command, answers []any) {
	for i, c := range batch {
		n, _ := binary.Varint(c.Data)
		answers[i] = t.sum.Add(n)
	}
}

func (t *tally) Snapshot() (replica.Snapshot, error) { return fixed(t.sum.Load()), nil }

func (t *tally) Restore(r io.Reader) error {
	var n int64
	err := binary.Read(r, binary.LittleEndian, &n)
	t.sum.Store(n)
	return err
}

func (t *tally) Digest() uint64 { return uint64(t.sum.Load()) }

// fixed is the number when the snapshot was taken.
type fixed int64

func (n fixed) WriteTo(w io.Writer) (int64, error) {
	return 8, binary.Write(w, binary.LittleEndian, int64(n))
}

func (fixed) Release() {}

// One node founds a cluster of its own, counts, is closed, and continues on the same
// directory with a machine that starts from nothing.
func Example() {
	dir, err := os.MkdirTemp("", "tally")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	leads := make(chan bool, 1)
	opts := &replica.Options{
		ID: "one", Listen: "127.0.0.1:7946", Bootstrap: []replica.Member{{ID: "one", Address: "127.0.0.1:7946"}},
		Leadership: func(ctx context.Context, term uint64) { leads <- true },
	}

	node, err := replica.Open(dir, &tally{}, opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	<-leads
	for _, n := range []int64{40, 2} {
		sum, err := node.Apply(ctx, binary.AppendVarint(nil, n))
		fmt.Println("add", n, "makes", sum, err)
	}
	node.Close()

	t := &tally{}
	node, err = replica.Open(dir, t, opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	<-leads
	err = node.Read(ctx)
	fmt.Println("after a restart", t.sum.Load(), err)
	// Output:
	// add 40 makes 40 <nil>
	// add 2 makes 42 <nil>
	// after a restart 42 <nil>
}
