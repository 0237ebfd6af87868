package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ashlar-go/ashlar/trie"
)

// A node is a suggestion server in a process of its own. It has the images of some
// partitions, the router's image, and the table that says which node has which. Clients
// keep a connection and send a line for each key:
//
//	?  prefix                       →  =  generation  term  weight  term  weight …
//	                                →  >  generation  address: ask there
//	image  id  size, and the bytes  →  ok
//	table  size, and its JSON       →  ok
//	loads                           →  JSON of what was asked for since the last time
//
// Fields are divided by tabs.
type node struct {
	self string
	view atomic.Pointer[view] // replaced in one step; readers take no lock

	mu     sync.Mutex
	images map[uint64]*trie.Image // by ID of the partition
	asked  map[string]uint64      // by prefix
	total  uint64
}

// A layout says where everything is. It goes to all nodes.
type layout struct {
	Generation int
	Router     uint64 // ID of its image
	Parts      []place
}

// A place is where a partition is: the terms from From on, up to the next one's.
type place struct {
	ID    uint64
	From  string
	Nodes []string // addresses: more than one if it is copied
}

// A view is a layout with the images that this node has.
type view struct {
	layout
	router *trie.Image
	images []*trie.Image // nil: not here
	turn   atomic.Uint32 // of copies
}

// owner returns the partition that has all terms with a prefix, and false if several may
// have some.
func (l *layout) owner(prefix string) (int, bool) {
	i := sort.Search(len(l.Parts)-1, func(i int) bool { return l.Parts[i+1].From > prefix })
	return i, i+1 >= len(l.Parts) || !strings.HasPrefix(l.Parts[i+1].From, prefix)
}

// playNode is a node in a process of its own: it starts by printing its address.
func playNode() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin) // the parent holds it open
		os.Exit(0)
	}()
	n := &node{self: l.Addr().String(), images: map[uint64]*trie.Image{}, asked: map[string]uint64{}}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go n.serve(c) // ends with the connection
	}
}

func (n *node) serve(c net.Conn) {
	defer c.Close()
	in, out := bufio.NewReader(c), bufio.NewWriter(c)
	var line []byte
	for {
		request, err := in.ReadString('\n')
		if err != nil {
			return
		}
		request = strings.TrimSuffix(request, "\n")
		verb, rest, _ := strings.Cut(request, "\t")
		if verb == "?" {
			line = n.answer(line[:0], rest)
		} else if line, err = n.manage(line[:0], in, verb, rest); err != nil {
			line = append(line[:0], "error\t"+err.Error()...)
		}
		if _, err := out.Write(append(line, '\n')); err != nil || out.Flush() != nil {
			return
		}
	}
}

// answer appends the answer to a prefix: from the view that there is now.
func (n *node) answer(dst []byte, prefix string) []byte {
	v := n.view.Load()
	if v == nil {
		return append(dst, "error\tno table yet"...)
	}
	image := v.router
	if i, ok := v.owner(prefix); ok {
		if image = v.images[i]; image == nil {
			at := v.Parts[i].Nodes
			return fmt.Appendf(dst, ">\t%d\t%s", v.Generation, at[int(v.turn.Add(1))%len(at)])
		}
	}
	n.count(prefix)
	dst = strconv.AppendInt(append(dst, "=\t"...), int64(v.Generation), 10)
	c := image.Cursor()
	c.StepString(prefix)
	var room [k]trie.Hit
	for _, h := range c.Top(room[:0]) {
		dst = image.AppendTerm(append(dst, '\t'), h)
		dst = strconv.AppendUint(append(dst, '\t'), image.Weight(h), 10)
	}
	return dst
}

const mostAsked = 50_000 // prefixes that are counted each

func (n *node) count(prefix string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.total++
	if _, ok := n.asked[prefix]; ok || len(n.asked) < mostAsked {
		n.asked[prefix]++
	}
}

// A load is what a node was asked for.
type load struct {
	Total uint64
	Asked map[string]uint64
}

func (n *node) manage(dst []byte, in *bufio.Reader, verb, rest string) ([]byte, error) {
	fields := strings.Split(rest, "\t")
	body := func(size string) ([]byte, error) {
		n, err := strconv.Atoi(size)
		if err != nil || n < 0 || n > 1<<30 {
			return nil, fmt.Errorf("size %q", size)
		}
		b := make([]byte, n)
		_, err = io.ReadFull(in, b)
		return b, err
	}
	switch verb {
	case "image":
		if len(fields) != 2 {
			return nil, errors.New("an image has an ID and a size")
		}
		id, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil {
			return nil, err
		}
		b, err := body(fields[1])
		if err != nil {
			return nil, err
		}
		m, err := trie.Load(b)
		if err != nil {
			return nil, err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.images[id] = m
		return append(dst, "ok"...), nil
	case "table":
		b, err := body(fields[0])
		if err != nil {
			return nil, err
		}
		v := &view{}
		if err := json.Unmarshal(b, &v.layout); err != nil {
			return nil, err
		}
		return append(dst, "ok"...), n.publish(v)
	case "loads":
		n.mu.Lock()
		defer n.mu.Unlock()
		b, err := json.Marshal(load{n.total, n.asked})
		n.total, n.asked = 0, map[string]uint64{}
		return append(dst, b...), err
	}
	return nil, fmt.Errorf("no such request: %q", verb)
}

// publish shows a table to those who ask, once all its images are here, and forgets the
// images that it does not need.
func (n *node) publish(v *view) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	needed := map[uint64]*trie.Image{v.Router: n.images[v.Router]}
	v.router = n.images[v.Router]
	v.images = make([]*trie.Image, len(v.Parts))
	missing := v.router == nil || len(v.Parts) == 0
	for i, p := range v.Parts {
		for _, at := range p.Nodes {
			if at == n.self {
				m := n.images[p.ID]
				v.images[i], needed[p.ID] = m, m
				missing = missing || m == nil
			}
		}
		missing = missing || len(p.Nodes) == 0
	}
	if missing {
		return fmt.Errorf("images of table %d are missing", v.Generation)
	}
	n.images = needed
	n.view.Store(v)
	return nil
}
