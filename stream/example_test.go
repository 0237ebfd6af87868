package stream_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/ashlar-go/ashlar/stream"
)

// A log is written, closed, opened again and read from an offset.
func Example() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "stream")
	defer os.RemoveAll(dir)

	l, err := stream.OpenLocal(dir, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	l.CreateTopic(ctx, "clicks", &stream.TopicOptions{Partitions: 4})
	p := stream.Partition{Topic: "clicks", Number: stream.PartitionOf([]byte("ann"), 4)}
	for _, page := range []string{"home", "cart", "pay"} {
		off, err := l.Append(ctx, p, []stream.Record{{Key: []byte("ann"), Value: []byte(page)}})
		fmt.Println("appended at", off, err) // durable
	}
	l.Close()

	l, _ = stream.OpenLocal(dir, nil)
	defer l.Close()
	_, next, _ := l.Bounds(ctx, p)
	for r, err := range stream.Scan(ctx, l, p, 1, next) {
		fmt.Println(r.Offset, string(r.Value), err)
	}
	// Output:
	// appended at 0 <nil>
	// appended at 1 <nil>
	// appended at 2 <nil>
	// 1 cart <nil>
	// 2 pay <nil>
}

// A member of a group adds up numbers. Each sum is stored together with the
// offset up to which it was made.
func ExampleGroup() {
	ctx, cancel := context.WithCancel(context.Background())
	l := stream.NewMem()
	defer l.Close()
	l.CreateTopic(ctx, "numbers", nil)
	l.CreateTopic(ctx, "sums", nil)
	numbers, sums := stream.Partition{Topic: "numbers"}, stream.Partition{Topic: "sums"}
	for i := range 5 {
		l.Append(ctx, numbers, []stream.Record{{Value: []byte(strconv.Itoa(i))}})
	}

	g, _ := stream.NewGroup(ctx, l, "adders", []string{"numbers"}, nil)
	defer g.Close()
	m, _ := g.Join(ctx, "ann")
	err := m.Run(ctx, func(ctx context.Context, c *stream.Claim) error {
		var b stream.Batch
		for {
			if err := c.Read(ctx, &b); err != nil {
				return err
			}
			sum := 0
			for _, r := range b.Records {
				n, _ := strconv.Atoi(string(r.Value))
				sum += n
			}
			out := stream.Append{Partition: sums, Records: []stream.Record{{Value: []byte(strconv.Itoa(sum))}}}
			if err := c.Commit(ctx, &stream.Tx{Appends: []stream.Append{out}}); err != nil {
				return err
			}
			fmt.Println("up to", c.Next(), "the sum is", sum)
			cancel()
		}
	})
	fmt.Println(errors.Is(err, context.Canceled))
	// Output:
	// up to 5 the sum is 10
	// true
}
