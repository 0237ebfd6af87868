package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/geohash"
)

// roles are the processes that the story needs. This program starts itself again as them.
var roles = child.Roles{"positions": playPositions}

// interval is how often a driver tells where it is; positions that are three intervals old
// are forgotten.
const interval = time.Second

// A report is where a driver is: 16 bytes, little-endian.
type report struct {
	driver   uint32
	lat, lon int32 // 1e-7 degree
	number   uint32
}

func (r report) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, r.driver)
	b = binary.LittleEndian.AppendUint32(b, uint32(r.lat))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.lon))
	return binary.LittleEndian.AppendUint32(b, r.number)
}

func parseReport(b []byte) (report, error) {
	if len(b) != 16 {
		return report{}, fmt.Errorf("a report of %d bytes, want 16", len(b))
	}
	return report{
		driver: binary.LittleEndian.Uint32(b), lat: int32(binary.LittleEndian.Uint32(b[4:])),
		lon: int32(binary.LittleEndian.Uint32(b[8:])), number: binary.LittleEndian.Uint32(b[12:]),
	}, nil
}

// A server knows where the drivers are. It keeps that in memory and nowhere else: what it
// loses, the drivers tell again.
type server struct {
	index   *geohash.Index[uint32]
	reports atomic.Int64
	open    atomic.Int64
}

func newServer() *server {
	return &server{index: geohash.NewIndex[uint32](&geohash.IndexOptions{TTL: 3 * interval})}
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /drive", s.drive)
	mux.HandleFunc("POST /position", s.position)
	mux.HandleFunc("GET /near", s.near)
	mux.HandleFunc("GET /stats", s.stats)
	return mux
}

// drive takes reports from one driver, on a connection that stays.
func (s *server) drive(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	s.open.Add(1)
	defer s.open.Add(-1)
	for {
		_, b, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if err := s.take(b); err != nil {
			c.Close(websocket.StatusUnsupportedData, err.Error())
			return
		}
	}
}

func (s *server) take(b []byte) error {
	r, err := parseReport(b)
	if err != nil {
		return err
	}
	if err := s.index.Put(r.driver, float64(r.lat)/1e7, float64(r.lon)/1e7); err != nil {
		return err
	}
	s.reports.Add(1)
	return nil
}

// position takes one report as a request of its own.
func (s *server) position(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64))
	if err == nil {
		err = s.take(b)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// near tells which drivers are near a place.
func (s *server) near(w http.ResponseWriter, r *http.Request) {
	lat, err1 := strconv.ParseFloat(r.FormValue("lat"), 64)
	lon, err2 := strconv.ParseFloat(r.FormValue("lon"), 64)
	k, err3 := strconv.Atoi(r.FormValue("k"))
	err := errors.Join(err1, err2, err3)
	var found []geohash.Found[uint32]
	if err == nil {
		found, err = s.index.Nearest(nil, lat, lon, min(k, 100), nil)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(found)
}

// A tally is what a server tells about itself.
type tally struct {
	Drivers int   `json:"drivers"` // whose place it knows
	Open    int64 `json:"open"`    // connections
	Reports int64 `json:"reports"`
}

func (s *server) stats(w http.ResponseWriter, _ *http.Request) {
	s.index.Expire()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(tally{s.index.Len(), s.open.Load(), s.reports.Load()})
}

// playPositions is a server in a process of its own. It prints its address, and ends with
// its standard input.
func playPositions() error {
	l, err := net.Listen("tcp", os.Getenv("LISTEN"))
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = l.Close()
	}()
	if err := http.Serve(l, newServer().handler()); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// A remote is a server in another process.
type remote struct {
	*child.Process
	address string
}

func startServer(address string) (*remote, error) {
	p, err := child.Start("position server", "positions", "LISTEN="+address)
	if err != nil {
		return nil, err
	}
	r := &remote{Process: p}
	if r.address, err = p.Line(); err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return r, nil
}

func (r *remote) ask(ctx context.Context, path string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+r.address+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return fmt.Errorf("%s: %s: %s", path, resp.Status, text)
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}
