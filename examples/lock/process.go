package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/lock/node"
	"github.com/ashlar-go/ashlar/replica"
)

// roles are the processes that the story needs. This program starts itself again as them.
var roles = child.Roles{
	"server":   func() error { return playServer(os.Getenv("DIR"), os.Getenv("ID"), os.Getenv("MEMBERS")) },
	"worker":   playWorker,
	"victim":   playVictim,
	"resident": playResident,
}

// playServer is a whole lock server: this is all it takes.
func playServer(dir, id, members string) error {
	var founders []replica.Member
	if err := json.Unmarshal([]byte(members), &founders); err != nil {
		return err
	}
	self := founders[slices.IndexFunc(founders, func(m replica.Member) bool { return m.ID == id })]
	n, err := node.Open(dir, &node.Options{
		ID: id, Listen: self.Address, Bootstrap: founders, HeartbeatTimeout: heartbeat,
	})
	if err != nil {
		return err
	}
	fmt.Println("up")
	// The parent holds our standard input open: when it ends, so do we.
	go func() {
		io.Copy(io.Discard, os.Stdin)
		n.Close()
	}()
	<-n.Done()
	if err := n.Replica().Err(); !errors.Is(err, replica.ErrClosed) {
		return err
	}
	return nil
}

// A process is a child of this program, which may be frozen.
type process struct{ *child.Process }

func startProcess(name, role string, env ...string) (*process, error) {
	p, err := child.Start(name, role, env...)
	return &process{p}, err
}

func splitNodes() []string { return strings.Split(os.Getenv("NODES"), ",") }
