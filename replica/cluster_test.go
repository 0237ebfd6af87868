package replica

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// An authority signs certificates for members.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a := &authority{t: t, key: key}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	return a
}

// config returns what a member with its own certificate uses.
func (a *authority) config() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	a.n++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(a.n + 1), Subject: pkix.Name{CommonName: "member"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	require.NoError(a.t, err)
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: pool, ClientCAs: pool}
}

// TestMutualTLS runs a cluster whose members each have a certificate. One with a
// stranger's certificate, one with none, and one without TLS are refused; a client
// of the application's protocol needs none.
func TestMutualTLS(t *testing.T) {
	ca := newAuthority(t)
	c := newCluster(t, 3, Options{}, func(i int, o *Options) { o.TLS = ca.config() })
	ctx := background(t)
	l := c.put(ctx, "x")
	eventually(t, "all have it", func() bool {
		return len(c.machines[0].all())*len(c.machines[1].all())*len(c.machines[2].all()) > 0
	})

	stranger := newAuthority(t).config()
	trusting := stranger.Clone()
	trusting.RootCAs = ca.config().RootCAs // believes us, is not believed
	bare := &tls.Config{RootCAs: ca.config().RootCAs}
	for name, conf := range map[string]*tls.Config{"stranger": stranger, "trusting stranger": trusting, "no certificate": bare, "no TLS": nil} {
		s := newSwitchboard(listen(t), "127.0.0.1:1", conf, l.log)
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := s.askMember(short, l.Address(), clusterID{}, question{Op: "status"})
		cancel()
		require.Error(t, err, name)
		s.Close()
	}
	_, err := Open(t.TempDir(), &journal{}, &Options{
		Join: []string{l.Address()}, HeartbeatTimeout: 100 * time.Millisecond,
		TLS: ca.config(), Cluster: "other",
	})
	require.ErrorContains(t, err, "other cluster", "a member of the same authority is heard")

	// The application's own protocol, on the same port.
	ln := l.Listener()
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			fmt.Fprint(conn, "hello")
			conn.Close()
		}
	}()
	conn, err := tls.Dial("tcp", l.Address(), bare)
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "GET / please")
	got := make([]byte, 5)
	_, err = io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
}

// TestReadAfterMembershipChange: the entry that the commit index stands at need not
// be a command.
func TestReadAfterMembershipChange(t *testing.T) {
	c := newCluster(t, 1, Options{})
	ctx := background(t)
	l := c.leader()
	require.NoError(t, l.Read(ctx), "before the first command")
	require.NoError(t, l.Join(ctx, Member{ID: "later", Address: "127.0.0.1:1"}))
	require.NoError(t, l.Read(ctx))
	require.NoError(t, l.Leave(ctx, "later"))
	require.NoError(t, l.Read(ctx))
}

// TestUnknownOutcome: a leader that is cut off after it has taken a command cannot
// say what becomes of it. One command survives the change of leaders and one does
// not; the error is the same.
func TestUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, false)
		ctx := context.Background()
		id := w.leader()
		_, err := w.nodes[id].Apply(ctx, []byte("known"))
		require.NoError(t, err)
		w.isolate(id)
		_, err = w.nodes[id].Apply(ctx, []byte("lost"))
		require.ErrorIs(t, err, ErrUnknown)
		require.NotErrorIs(t, err, ErrNotLeader)
		_, err = w.nodes[id].Apply(ctx, []byte("refused"))
		require.ErrorIs(t, err, ErrNotLeader)
		require.NotErrorIs(t, err, ErrUnknown)
		next := w.leader()
		require.NotEqual(t, id, next)
		_, err = w.nodes[next].Apply(ctx, []byte("next"))
		require.NoError(t, err)
		w.heal(id)

		// A caller that gives up while its command is under way.
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		next = w.leader()
		w.isolate(next)
		_, err = w.nodes[next].Apply(short, []byte("given up"))
		cancel()
		require.ErrorIs(t, err, ErrUnknown)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		w.heal(next)
		w.acked, w.refused["refused"] = []string{"known", "next"}, true
		w.refused["lost"] = true // by this order of events
		w.check()
	})
}

// TestWithdrawnCommand: a command whose caller gives up before it is taken is never
// applied, and the caller is told so.
func TestWithdrawnCommand(t *testing.T) {
	closed := make(chan struct{})
	var p pending
	c := newCoalescer(1, func([]byte) raft.ApplyFuture { panic("nobody runs") }, &p, closed)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := c.do(ctx, []byte("x"))
		done <- err
	}()
	eventually(t, "it waits", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.queue) == 1
	})
	cancel()
	err := <-done
	require.Equal(t, context.Canceled, err)
	require.Empty(t, c.take())
	close(closed)
	_, err = c.do(context.Background(), nil)
	require.Equal(t, ErrClosed, err)
}

// TestBatches: entries stay within their bounds, in order.
func TestBatches(t *testing.T) {
	c := newCoalescer(1, nil, &pending{}, nil)
	want := 0
	for i := range 3000 {
		size := 10
		if i >= 2000 {
			size = 100 << 10
		}
		c.queue = append(c.queue, &request{data: append(make([]byte, size), fmt.Sprint(i)...)})
	}
	c.queue = append(c.queue, &request{data: make([]byte, 1<<20)})
	for batch := c.take(); batch != nil; batch = c.take() {
		require.LessOrEqual(t, len(batch), maxBatch)
		cmds, err := appendCommands(nil, &raft.Log{Index: 9, Term: 2, Data: encodeBatch(batch)})
		require.NoError(t, err)
		bytes := 0
		for i, cmd := range cmds {
			bytes += len(cmd.Data)
			require.Equal(t, batch[i].data, cmd.Data)
			if want < 3000 {
				require.True(t, strings.HasSuffix(string(cmd.Data), fmt.Sprint(want)))
			}
			want++
		}
		require.True(t, bytes <= maxBatchBytes || len(batch) == 1, "%d bytes in %d commands", bytes, len(batch))
	}
	require.Equal(t, 3001, want)
}

// TestNothingIsLeft: after Close no goroutine of the node runs, also when Open
// failed.
func TestNothingIsLeft(t *testing.T) {
	ours := func() []string {
		buf := make([]byte, 4<<20)
		var found []string
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "ashlar/replica.(") || strings.Contains(g, "hashicorp/raft.(") || strings.Contains(g, "ashlar/internal/") {
				if !strings.Contains(g, "testing.tRunner") && !strings.Contains(g, "emitLogStoreMetrics") {
					found = append(found, g)
				}
			}
		}
		return found
	}
	eventually(t, "other tests have ended", func() bool { return len(ours()) == 0 })
	for _, store := range []Store{StoreWAL, StoreBolt} {
		c := newCluster(t, 3, Options{Store: store})
		for range 20 {
			c.put(background(t), "x")
		}
		for _, n := range c.nodes {
			require.NoError(t, n.Close())
		}
		_, err := Open(c.dirs[0], &journal{}, &Options{ID: "another", Store: store})
		require.ErrorIs(t, err, ErrIncompatible)
	}
	_, err := Open(filepath.Join(t.TempDir(), "x"), &journal{}, nil)
	require.Error(t, err)
	var left []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		if left = ours(); len(left) == 0 {
			return
		}
	}
	t.Fatalf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
}

// TestGoldenEntries: what the log and the wire hold is part of the format.
func TestGoldenEntries(t *testing.T) {
	require.Equal(t, []byte("\x01\x02\x03abc\x00"), encodeBatch([]*request{{data: []byte("abc")}, {}}))
	require.Equal(t, []byte("\x02\x07\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00"), appendAudit(auditPoint{7, 9}))
	var head [entryHead]byte
	putEntryHead(&head, &raft.Log{Index: 1, Term: 2, Type: raft.LogBarrier, Extensions: []byte("e"), AppendedAt: time.Unix(3, 4)})
	require.Equal(t, []byte("\x01\x04\x01\x00\x04\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00"+
		"\x03\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00"), head[:])
}

// FuzzCommands decodes anything as a log entry: an error, or commands that encode
// to the same bytes, in memory that the input accounts for.
func FuzzCommands(f *testing.F) {
	f.Add([]byte("\x01\x02\x03abc\x00"))
	f.Add([]byte("\x01\xff\xff\xff\xff\x0f"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		cmds, err := appendCommands(nil, &raft.Log{Index: 3, Term: 4, Data: b})
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		var batch []*request
		for _, c := range cmds {
			batch = append(batch, &request{data: c.Data})
		}
		again, err := appendCommands(nil, &raft.Log{Index: 3, Term: 4, Data: encodeBatch(batch)})
		if err != nil || !slices.EqualFunc(cmds, again, func(a, b Command) bool { return bytes.Equal(a.Data, b.Data) }) {
			t.Fatalf("%x decodes to %v, then to %v, %v", b, cmds, again, err)
		}
	})
}
