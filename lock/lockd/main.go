// Lockd is a lock server as a program; see package node. Three of them on one
// machine, to try:
//
//	M=a=127.0.0.1:7001,b=127.0.0.1:7002,c=127.0.0.1:7003
//	lockd -dir /tmp/a -id a -bootstrap $M &
//	lockd -dir /tmp/b -id b -bootstrap $M &
//	lockd -dir /tmp/c -id c -bootstrap $M &
//
// A further server joins with -join 127.0.0.1:7001 -listen 127.0.0.1:7004 instead
// of -bootstrap. A server must keep its address: started with neither -bootstrap
// nor -listen it takes another port each time, where the others do not find it.
// To take one out for good: curl -X DELETE 127.0.0.1:7001/v1/cluster/members/ID.
//
// The program ends on SIGINT and SIGTERM, and with status 1 if its disk fails or
// stalls, or its state differs from the others'.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/lock/node"
	"github.com/ashlar-go/ashlar/replica"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lockd:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("lockd", flag.ContinueOnError)
	var (
		dir       = fs.String("dir", "", "directory for log and snapshots (required)")
		id        = fs.String("id", "", "this server's name, for ever (required with -bootstrap)")
		listen    = fs.String("listen", "", "address to listen on; default: this server's in -bootstrap, else 127.0.0.1:0, another port at each start")
		advertise = fs.String("advertise", "", "address for others, if it is not -listen")
		bootstrap = fs.String("bootstrap", "", "found a cluster: `id=host:port,…` of all first members")
		join      = fs.String("join", "", "join a cluster: `host:port,…` of some members")
		cluster   = fs.String("cluster", "", "name of the cluster")
		heartbeat = fs.Duration("heartbeat", time.Second, "how long a follower waits for its leader")
		store     = fs.String("store", "wal", "how the log is kept: wal or bolt")
		cert      = fs.String("cert", "", "TLS certificate `file` (PEM); with -key and -ca turns on mutual TLS")
		key       = fs.String("key", "", "TLS key `file`")
		ca        = fs.String("ca", "", "`file` of the certificate authority for members")
		insecure  = fs.Bool("insecure", false, "allow plain TCP beyond loopback")
		verbose   = fs.Bool("v", false, "log more")
	)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if *dir == "" {
		return errors.New("-dir is required")
	}
	if *join != "" && *listen == "" {
		return errors.New("-join needs -listen: the cluster remembers a member by its address")
	}
	level := slog.LevelWarn
	if *verbose {
		level = slog.LevelInfo
	}
	o := node.Options{
		ID: *id, Cluster: *cluster, Listen: *listen, Advertise: *advertise, Insecure: *insecure,
		HeartbeatTimeout: *heartbeat,
		Logger:           slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	}
	switch *store {
	case "wal":
	case "bolt":
		o.Store = replica.StoreBolt
	default:
		return fmt.Errorf("-store %q: want wal or bolt", *store)
	}
	if *join != "" {
		o.Join = strings.Split(*join, ",")
	}
	for _, m := range strings.Split(*bootstrap, ",") {
		if m == "" {
			continue
		}
		name, addr, ok := strings.Cut(m, "=")
		if !ok {
			return fmt.Errorf("-bootstrap: %q is not id=host:port", m)
		}
		o.Bootstrap = append(o.Bootstrap, replica.Member{ID: name, Address: addr})
		if name == *id && o.Listen == "" {
			o.Listen = addr
		}
	}
	if *cert != "" || *key != "" || *ca != "" {
		c, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			return err
		}
		pem, err := os.ReadFile(*ca)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return fmt.Errorf("-ca: no certificate in %s", *ca)
		}
		o.TLS = &tls.Config{Certificates: []tls.Certificate{c}, RootCAs: pool, ClientCAs: pool, MinVersion: tls.VersionTLS13}
	}
	n, err := node.Open(*dir, &o)
	if err != nil {
		return err
	}
	fmt.Printf("lockd: %s listens on %s\n", n.Replica().ID(), n.Address())
	select {
	case <-ctx.Done():
		return n.Close()
	case <-n.Done():
		err := n.Replica().Err()
		n.Close()
		return err
	}
}
