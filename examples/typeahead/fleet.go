package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/child"
	"github.com/ashlar-go/ashlar/trie"
)

const nodes = 3

// A fleet is the nodes as their parent knows them. It decides which partition is where,
// and sends each node the images and the table. It is not safe for concurrent use.
type fleet struct {
	members    []*member
	generation int
	routers    uint64 // images of routers that were made
	where      map[uint64][]string
	load       map[string]float64 // by node, of what is placed there
	sent       int                // bytes of images
}

// A member is a node.
type member struct {
	*child.Process
	address string
	conn    net.Conn
	in      *bufio.Reader
	has     map[uint64]bool // images
}

// routerID keeps IDs of routers apart from those of partitions.
const routerID = 1 << 63

func startFleet() (f *fleet, err error) {
	f = &fleet{where: map[uint64][]string{}, load: map[string]float64{}}
	defer func() {
		if err != nil {
			f.stop()
		}
	}()
	for i := range nodes {
		p, err := child.Start(fmt.Sprint("node-", i+1), "node")
		if err != nil {
			return f, err
		}
		m := &member{Process: p, has: map[uint64]bool{}}
		f.members = append(f.members, m)
		if m.address, err = m.Line(); err != nil {
			return f, err
		}
		if m.conn, err = net.Dial("tcp", m.address); err != nil {
			return f, err
		}
		m.in = bufio.NewReader(m.conn)
	}
	return f, nil
}

func (f *fleet) stop() {
	for _, m := range f.members {
		if m.conn != nil {
			m.conn.Close()
		}
		_ = m.Kill() // it has ended, one way or another
	}
}

func (f *fleet) addresses() (list []string) {
	for _, m := range f.members {
		list = append(list, m.address)
	}
	return list
}

func (f *fleet) name(address string) string {
	for _, m := range f.members {
		if m.address == address {
			return m.Name
		}
	}
	return address
}

// request sends a line, and bytes behind it, and returns the line that comes back.
func (m *member) request(line string, body []byte) (string, error) {
	m.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := m.conn.Write(append([]byte(line+"\n"), body...)); err != nil {
		return "", err
	}
	answer, err := m.in.ReadString('\n')
	if err == nil && strings.HasPrefix(answer, "error\t") {
		err = fmt.Errorf("%s: %s", m.Name, strings.TrimSpace(answer[6:]))
	}
	return answer, err
}

// publish brings the nodes to the partitions as they are now: first the images that are
// new, to the nodes that shall have them, then the table to all. A partition that was
// not changed stays where it is; what is new goes to where the load is least.
func (f *fleet) publish(p *trie.Partitioned) error {
	parts := p.Partitions()
	router, _ := p.Router()
	f.generation++
	f.routers++
	l := layout{Generation: f.generation, Router: routerID + f.routers}

	// Loads by node: a copy has its part of the partition's.
	f.load = map[string]float64{}
	for _, m := range f.members {
		f.load[m.address] = 0
	}
	where := map[uint64][]string{}
	for _, x := range parts {
		if at := f.where[x.ID]; len(at) == min(x.Copies, nodes) {
			where[x.ID] = at
			f.weigh(x, at)
		}
	}
	fresh := slices.DeleteFunc(slices.Clone(parts), func(x trie.Partition) bool { return where[x.ID] != nil })
	slices.SortStableFunc(fresh, func(a, b trie.Partition) int { return int(b.Load - a.Load) }) // the hottest first
	for _, x := range fresh {
		at := slices.Clone(f.where[x.ID])
		for len(at) > min(x.Copies, nodes) {
			at = at[:len(at)-1]
		}
		for len(at) < min(x.Copies, nodes) {
			at = append(at, f.idlest(at))
		}
		where[x.ID] = at
		f.weigh(x, at)
	}
	f.where = where
	for _, x := range parts {
		l.Parts = append(l.Parts, place{x.ID, x.From, where[x.ID]})
		for _, m := range f.members {
			if slices.Contains(where[x.ID], m.address) {
				if err := f.give(m, x.ID, x.Image); err != nil {
					return err
				}
			}
		}
	}
	table, err := json.Marshal(l)
	if err != nil {
		return err
	}
	for _, m := range f.members {
		if err := f.give(m, l.Router, router); err != nil {
			return err
		}
	}
	for _, m := range f.members {
		if _, err := m.request(fmt.Sprintf("table\t%d", len(table)), table); err != nil {
			return err
		}
		for id := range m.has { // as the node does
			if id != l.Router && !slices.Contains(where[id], m.address) {
				delete(m.has, id)
			}
		}
	}
	return nil
}

// weigh adds a partition's load to the nodes that have it. Even an idle one counts a
// little, so that partitions without load are spread as well.
func (f *fleet) weigh(x trie.Partition, at []string) {
	for _, address := range at {
		f.load[address] += (x.Load + 1) / float64(len(at))
	}
}

// idlest returns the node with the least load that is not among those given.
func (f *fleet) idlest(but []string) (best string) {
	for _, m := range f.members {
		if !slices.Contains(but, m.address) && (best == "" || f.load[m.address] < f.load[best]) {
			best = m.address
		}
	}
	return best
}

// give sends an image to a node that does not have it.
func (f *fleet) give(m *member, id uint64, image *trie.Image) error {
	if m.has[id] {
		return nil
	}
	b := image.Bytes()
	if _, err := m.request(fmt.Sprintf("image\t%d\t%d", id, len(b)), b); err != nil {
		return err
	}
	m.has[id] = true
	f.sent += len(b)
	return nil
}

// collect asks all nodes what they were asked for, and tells the partitions. It returns
// how many questions each node had.
func (f *fleet) collect(p *trie.Partitioned) (byNode []uint64, asked map[string]uint64, err error) {
	asked = map[string]uint64{}
	for _, m := range f.members {
		line, err := m.request("loads", nil)
		if err != nil {
			return nil, nil, err
		}
		var l load
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			return nil, nil, err
		}
		byNode = append(byNode, l.Total)
		for prefix, n := range l.Asked {
			asked[prefix] += n
		}
	}
	if p != nil {
		for prefix, n := range asked {
			p.Record(prefix, n)
		}
	}
	return byNode, asked, nil
}
