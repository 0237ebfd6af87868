package nats_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/ashlar-go/ashlar/adapters/nats"
	"github.com/ashlar-go/ashlar/stream"
)

// Words are moved from one topic to another, each of them once: where reading
// goes on is committed together with what was made of it.
func Example() {
	url, stop, err := start() // a server in this process, to try things out
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	ctx := context.Background()
	log, err := nats.Dial(ctx, url, &nats.Options{Prefix: "shop"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	if err := run(ctx, log); err != nil {
		fmt.Println(err)
	}
	// Output:
	// HELLO
	// NATS
}

func run(ctx context.Context, log stream.Transactor) error {
	for _, topic := range []string{"words", "loud"} {
		if err := log.CreateTopic(ctx, topic, nil); err != nil {
			return err
		}
	}
	words, loud := stream.Partition{Topic: "words"}, stream.Partition{Topic: "loud"}
	first, err := log.Append(ctx, words, []stream.Record{{Value: []byte("hello")}, {Value: []byte("nats")}})
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
		fmt.Println(string(r.Value))
	}
	return nil
}

func start() (url string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "nats")
	if err != nil {
		return "", nil, err
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: dir,
	})
	if err != nil {
		return "", nil, err
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		return "", nil, fmt.Errorf("the server does not start")
	}
	return s.ClientURL(), func() {
		s.Shutdown()
		s.WaitForShutdown()
		os.RemoveAll(dir)
	}, nil
}
