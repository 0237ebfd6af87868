package kafka_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/ashlar-go/ashlar/adapters/kafka"
	"github.com/ashlar-go/ashlar/stream"
)

// Words are moved from one topic to another, each of them once: where reading
// goes on is committed together with what was made of it.
func Example() {
	cluster, err := kfake.NewCluster() // a cluster in this process, to try things out
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cluster.Close()
	ctx := context.Background()
	log, err := kafka.Dial(ctx, cluster.ListenAddrs(), &kafka.Options{Prefix: "shop."})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	if err := run(ctx, log); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 0 HELLO
	// 1 KAFKA
}

func run(ctx context.Context, log stream.Transactor) error {
	for _, topic := range []string{"words", "loud"} {
		if err := log.CreateTopic(ctx, topic, nil); err != nil {
			return err
		}
	}
	words, loud := stream.Partition{Topic: "words"}, stream.Partition{Topic: "loud"}
	first, err := log.Append(ctx, words, []stream.Record{{Value: []byte("hello")}, {Value: []byte("kafka")}})
	if err != nil {
		return err
	}
	var batch stream.Batch
	if err := log.Read(ctx, words, first, &batch); err != nil {
		return err
	}
	tx := &stream.Tx{Group: "shouters", Offsets: map[stream.Partition]stream.Offset{words: {Next: batch.Next}}}
	for _, r := range batch.Records {
		out := stream.Record{Value: bytes.ToUpper(r.Value)}
		tx.Appends = append(tx.Appends, stream.Append{Partition: loud, Records: []stream.Record{out}})
	}
	if _, err := log.Transact(ctx, tx); err != nil {
		return err
	}
	from, to, err := log.Bounds(ctx, loud)
	if err != nil {
		return err
	}
	for r, err := range stream.Scan(ctx, log, loud, from, to) {
		if err != nil {
			return err
		}
		fmt.Println(r.Offset, string(r.Value))
	}
	return nil
}
