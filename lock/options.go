package lock

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ashlar-go/ashlar/lock/internal/core"
)

// Options configures [Dial]. Nil, and a zero field, mean the default.
type Options struct {
	// TTL is the lease: how long the servers keep this client's locks after
	// they last heard of it. The client renews it three times as often. It is
	// also how long others wait after a holder dies. 1 s to 24 h, default 10 s.
	TTL time.Duration

	// Drift is the part of the TTL by which clocks may run apart during one
	// lease: the client gives up that much earlier than the servers. At least 0
	// and below 0.5; 0 means the default, 0.05.
	Drift float64

	// Label tells people who this is, in [Info] and [HeldError]. Up to 256
	// bytes. Default: program, process number and host.
	Label string

	// TLS is used to reach the servers. Nil: plain TCP.
	TLS *tls.Config

	// RequestTimeout bounds one try at one server, after which the next is
	// tried. Default: a third of the TTL, at most 3 s.
	RequestTimeout time.Duration

	// Logger hears of lost leases and reconnections. Default: none.
	Logger *slog.Logger

	// Clock returns the time since some fixed moment. It must go on while the
	// machine sleeps: the default reads the boot-time clock where there is one.
	// Simulations replace it.
	Clock func() time.Duration

	// Dial opens a connection to a server, below TLS. Default: TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.TTL == 0 {
		c.TTL = 10 * time.Second
	}
	if c.Drift == 0 {
		c.Drift = 0.05
	}
	if c.Label == "" {
		host, _ := os.Hostname()
		c.Label = fmt.Sprintf("%s/%d@%s", filepath.Base(os.Args[0]), os.Getpid(), host)
		c.Label = strings.ToValidUTF8(c.Label[:min(len(c.Label), maxLabel)], "")
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = min(c.TTL/3, 3*time.Second)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = bootTime
	}
	switch {
	case c.TTL < time.Second || c.TTL > 24*time.Hour:
		return c, fmt.Errorf("%w: TTL %v is not in [1s, 24h]", ErrInvalid, c.TTL)
	case !(c.Drift > 0 && c.Drift < 0.5):
		return c, fmt.Errorf("%w: Drift %v is not in (0, 0.5)", ErrInvalid, c.Drift)
	case len(c.Label) > maxLabel || !utf8.ValidString(c.Label):
		return c, fmt.Errorf("%w: Label of %d bytes, above %d, or not UTF-8", ErrInvalid, len(c.Label), maxLabel)
	case c.RequestTimeout < 0:
		return c, fmt.Errorf("%w: RequestTimeout %v is negative", ErrInvalid, c.RequestTimeout)
	}
	if c.Dial == nil {
		var d net.Dialer
		c.Dial = func(ctx context.Context, address string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
	}
	return c, nil
}

const (
	maxKey   = core.MaxKey
	maxLabel = core.MaxLabel
	maxValue = core.MaxValue
)

func checkKey(key string) error {
	if key == "" || len(key) > maxKey || !utf8.ValidString(key) {
		return fmt.Errorf("%w: key %.40q of %d bytes: want 1 to %d bytes of UTF-8", ErrInvalid, key, len(key), maxKey)
	}
	return nil
}

func contextErr(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	return nil
}
