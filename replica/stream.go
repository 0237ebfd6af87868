package replica

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Every connection between members starts with a preface, sent by the side
// that dials. A connection that starts otherwise belongs to the application's
// protocol. Part of the wire format: never change.
//
//	offset  size  field
//	0       4     "ASHR"
//	4       1     version, 1
//	5       1     kind: 1 Raft, 2 control
//	6       16    cluster id; zero only in a control connection of a joiner
const (
	prefaceMagic = "ASHR"
	prefaceSize  = 22
	kindRaft     = 1
	kindControl  = 2

	alpnPeer = "ashlar-raft/1" // TLS: peers must show a certificate

	helloTimeout   = 5 * time.Second  // for handshake and preface
	controlTimeout = 30 * time.Second // for a question and its answer
)

type clusterID [16]byte

// newClusterID derives the id of a cluster from its founding members, so that
// every founder finds the same one.
func newClusterID(name string, founders []Member) clusterID {
	var lines []string
	for _, m := range founders {
		lines = append(lines, fmt.Sprintf("%q %q", m.ID, m.Address))
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(fmt.Sprintf("%q\n%s", name, strings.Join(lines, "\n"))))
	return clusterID(sum[:16])
}

// A switchboard accepts on the node's one port and hands each connection to
// the engine, the control protocol or the application. It is the engine's
// StreamLayer.
type switchboard struct {
	ln        net.Listener
	advertise string
	tls       *tls.Config
	log       *slog.Logger
	control   func(*bufio.ReadWriter)

	raftConns chan net.Conn
	appConns  chan net.Conn
	closed    chan struct{}
	closeOnce sync.Once

	mu      sync.Mutex
	cluster clusterID
	open    map[net.Conn]struct{} // all connections but the application's
}

func newSwitchboard(ln net.Listener, advertise string, conf *tls.Config, log *slog.Logger) *switchboard {
	s := &switchboard{
		ln: ln, advertise: advertise, log: log,
		raftConns: make(chan net.Conn), appConns: make(chan net.Conn),
		closed: make(chan struct{}), open: map[net.Conn]struct{}{},
	}
	if conf != nil {
		s.tls = conf.Clone()
		// A server answers for itself: peers must be verified, others as the
		// application wishes.
		own := conf.Clone()
		own.NextProtos = []string{alpnPeer, "http/1.1"}
		strict := own.Clone()
		strict.ClientAuth = tls.RequireAndVerifyClientCert
		own.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			if slices.Contains(h.SupportedProtos, alpnPeer) {
				return strict, nil
			}
			return nil, nil
		}
		s.ln = tls.NewListener(ln, own)
	}
	return s
}

func (s *switchboard) setCluster(id clusterID) {
	s.mu.Lock()
	s.cluster = id
	s.mu.Unlock()
}

func (s *switchboard) clusterID() clusterID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cluster
}

// run accepts until the listener is closed.
func (s *switchboard) run() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			select {
			case <-s.closed:
				return
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.log.Warn("accept", "err", err)
			select { // out of file descriptors, say: breathe
			case <-time.After(20 * time.Millisecond):
			case <-s.closed:
				return
			}
			continue
		}
		go s.sort(c)
	}
}

func (s *switchboard) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return false
	}
	s.open[c] = struct{}{}
	return true
}

func (s *switchboard) untrack(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// sort reads a connection's first bytes and passes it on.
func (s *switchboard) sort(c net.Conn) {
	if !s.track(c) {
		c.Close()
		return
	}
	to, conn, err := s.hello(c)
	if to != nil {
		if to == s.raftConns {
			conn = &peerConn{conn, s, c}
		} else {
			s.untrack(c)
		}
		select {
		case to <- conn:
			return
		case <-s.closed:
		}
		s.untrack(c)
	} else if err != nil {
		s.log.Warn("connection refused", "from", c.RemoteAddr(), "err", err)
		s.untrack(c)
	} else {
		c.SetDeadline(time.Now().Add(controlTimeout))
		r := bufio.NewReader(io.LimitReader(conn, maxControl))
		s.control(bufio.NewReadWriter(r, bufio.NewWriter(conn)))
		s.untrack(c)
	}
	c.Close()
}

// hello returns where the connection goes; nil and no error: control.
func (s *switchboard) hello(c net.Conn) (chan net.Conn, net.Conn, error) {
	c.SetDeadline(time.Now().Add(helloTimeout))
	peer := s.tls == nil
	if t, ok := c.(*tls.Conn); ok {
		if err := t.Handshake(); err != nil {
			return nil, nil, err
		}
		peer = t.ConnectionState().NegotiatedProtocol == alpnPeer
	}
	var pre [prefaceSize]byte
	if _, err := io.ReadFull(c, pre[:4]); err != nil {
		return nil, nil, err
	}
	if string(pre[:4]) != prefaceMagic {
		c.SetDeadline(time.Time{})
		return s.appConns, &headConn{Conn: c, head: pre[:4]}, nil
	}
	if !peer {
		return nil, nil, errors.New("a member's connection without a member's certificate")
	}
	if _, err := io.ReadFull(c, pre[4:]); err != nil {
		return nil, nil, err
	}
	id, own := clusterID(pre[6:]), s.clusterID()
	switch {
	case pre[4] != 1:
		return nil, nil, fmt.Errorf("%w: preface version %d", ErrIncompatible, pre[4])
	case pre[5] == kindRaft && (id != own || own == clusterID{}):
		return nil, nil, fmt.Errorf("%w: cluster %x, this is %x", ErrIncompatible, id, own)
	case pre[5] == kindRaft:
		c.SetDeadline(time.Time{})
		return s.raftConns, c, nil
	case pre[5] == kindControl && (id == own || id == clusterID{}):
		return nil, c, nil
	}
	return nil, nil, fmt.Errorf("%w: connection of kind %d for cluster %x", ErrIncompatible, pre[5], id)
}

// A peerConn is a connection of the engine's. The engine does not end all of its
// own when it shuts down, so the switchboard does.
type peerConn struct {
	net.Conn
	s *switchboard
	c net.Conn // as it is tracked
}

func (p *peerConn) Close() error {
	p.s.untrack(p.c)
	return p.Conn.Close()
}

// headConn gives back the bytes that were read to tell the protocol.
type headConn struct {
	net.Conn
	head []byte
}

func (c *headConn) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// Accept, Addr and Dial make the switchboard the engine's StreamLayer.
func (s *switchboard) Accept() (net.Conn, error) {
	select {
	case c := <-s.raftConns:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *switchboard) Addr() net.Addr { return tcpAddr(s.advertise) }

type tcpAddr string

func (tcpAddr) Network() string  { return "tcp" }
func (a tcpAddr) String() string { return string(a) }

func (s *switchboard) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, err := s.dial(ctx, string(to), kindRaft, s.clusterID())
	if err != nil {
		return nil, err
	}
	if !s.track(c) {
		c.Close()
		return nil, net.ErrClosed
	}
	return &peerConn{c, s, c}, nil
}

func (s *switchboard) dial(ctx context.Context, to string, kind byte, cluster clusterID) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, err
	}
	if s.tls != nil {
		conf := s.tls.Clone()
		conf.NextProtos = []string{alpnPeer}
		if conf.ServerName == "" && !conf.InsecureSkipVerify {
			conf.ServerName, _, _ = net.SplitHostPort(to)
		}
		t := tls.Client(c, conf)
		if err := t.HandshakeContext(ctx); err != nil {
			c.Close()
			return nil, err
		}
		c = t
	}
	pre := append(make([]byte, 0, prefaceSize), prefaceMagic...)
	pre = append(pre, 1, kind)
	pre = append(pre, cluster[:]...)
	if deadline, ok := ctx.Deadline(); ok {
		c.SetDeadline(deadline)
	}
	if _, err := c.Write(pre); err != nil {
		c.Close()
		return nil, err
	}
	c.SetDeadline(time.Time{})
	return c, nil
}

// Close ends the listener and what has not been handed on.
func (s *switchboard) Close() error {
	s.closeOnce.Do(func() {
		close(s.closed)
		s.ln.Close()
		s.mu.Lock()
		for c := range s.open {
			c.Close()
		}
		s.open = nil
		s.mu.Unlock()
	})
	return nil
}

// appListener is the application's view of the port. Closing it ends its own
// Accept; the port stays the node's.
type appListener struct {
	s      *switchboard
	closed chan struct{}
	once   sync.Once
}

func (l *appListener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.s.appConns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-l.s.closed:
		return nil, net.ErrClosed
	}
}

func (l *appListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *appListener) Addr() net.Addr { return l.s.ln.Addr() }

// A question and its answer on a control connection, one line of JSON each.
type question struct {
	Op      string `json:"op"` // "join", "leave" or "status"
	ID      string `json:"id,omitempty"`
	Address string `json:"address,omitempty"`
	Cluster string `json:"cluster,omitempty"` // the cluster's name
	New     bool   `json:"new,omitempty"`     // join: asked by the member itself, whose directory is new
}

type answer struct {
	Error     string `json:"error,omitempty"`
	Leader    string `json:"leader,omitempty"` // ask there instead
	ID        string `json:"id,omitempty"`
	ClusterID []byte `json:"cluster_id,omitempty"`
	LastIndex uint64 `json:"last_index,omitempty"`
}

// maxControl bounds a control message.
const maxControl = 4 << 10

// askMember sends one question to the member at an address.
func (s *switchboard) askMember(ctx context.Context, to string, cluster clusterID, q question) (answer, error) {
	var a answer
	c, err := s.dial(ctx, to, kindControl, cluster)
	if err != nil {
		return a, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := json.NewEncoder(c).Encode(q); err != nil {
		return a, err
	}
	if err := json.NewDecoder(io.LimitReader(c, maxControl)).Decode(&a); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return a, err
	}
	return a, nil
}
