package replica

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

func (c *clusterID) parse(s string) error {
	if s == "" {
		return nil
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(c) {
		return ErrCorrupt
	}
	copy(c[:], b)
	return nil
}

func randomID() string { return strings.ToLower(rand.Text()[:16]) }

// found brings a new directory into a cluster: a founded one or one that is
// joined.
func (n *Node) found(ident *identity, used bool, conf *raft.Config, snaps raft.SnapshotStore) error {
	o := &n.opts
	founding := newClusterID(o.Cluster, o.Bootstrap)
	if n.dir != nil && used != ident.Used {
		if !used {
			return fmt.Errorf("%w: %s: the log is empty and was not; remove this member and join as a new one", ErrCorrupt, n.dir.path)
		}
		ident.Used = true
		if err := n.dir.save(*ident); err != nil {
			return err
		}
	}
	switch {
	case used || ident.Cluster != clusterID{} && len(o.Bootstrap) == 0:
		// A known member; if its log is empty, the leader fills it.
	case len(o.Bootstrap) > 0:
		if (ident.Cluster != clusterID{}) && ident.Cluster != founding {
			return fmt.Errorf("%w: %s is of cluster %x, Bootstrap describes %x", ErrIncompatible, n.dir.path, ident.Cluster, founding)
		}
		for _, m := range o.Bootstrap {
			if m.ID == n.id && m.Address != n.address {
				return fmt.Errorf("replica: Bootstrap has this node at %s, it is at %s", m.Address, n.address)
			}
		}
		ident.Cluster = founding
		if n.dir != nil {
			if err := n.dir.save(*ident); err != nil {
				return err
			}
		}
		var c raft.Configuration
		for _, m := range o.Bootstrap {
			c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(m.ID), Address: raft.ServerAddress(m.Address)})
		}
		if err := raft.BootstrapCluster(conf, n.store, n.store, snaps, n.trans, c); err != nil {
			return fmt.Errorf("replica: bootstrap: %w", err)
		}
		ident.Used = true
		if n.dir != nil {
			if err := n.dir.save(*ident); err != nil {
				return err
			}
		}
	case len(o.Join) > 0:
		if n.net == nil {
			return errors.New("replica: Join needs a network")
		}
		// The id first: a second try after a crash must not join twice.
		if n.dir != nil {
			if err := n.dir.save(*ident); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), controlTimeout)
		defer cancel()
		id, err := n.askToJoin(ctx)
		if err != nil {
			return err
		}
		ident.Cluster = id
		if n.dir != nil {
			if err := n.dir.save(*ident); err != nil {
				return err
			}
		}
	case o.Transport != nil:
		// In a simulation somebody else adds the node.
	default:
		return errors.New("replica: a new directory needs Options.Bootstrap or Options.Join")
	}
	if n.net != nil {
		n.net.setCluster(ident.Cluster)
	}
	return nil
}

// askToJoin asks one member after the other, following their hints to the
// leader, until one has taken this node in.
func (n *Node) askToJoin(ctx context.Context) (clusterID, error) {
	q := question{Op: "join", ID: n.id, Address: n.address, Cluster: n.opts.Cluster, New: true}
	a, err := n.askLeader(ctx, n.opts.Join, clusterID{}, q)
	if err != nil {
		return clusterID{}, fmt.Errorf("replica: join: %w", err)
	}
	if len(a.ClusterID) != len(clusterID{}) {
		return clusterID{}, fmt.Errorf("%w: join answered with cluster id %x", ErrCorrupt, a.ClusterID)
	}
	return clusterID(a.ClusterID), nil
}

// askLeader puts a question to the leader, starting from any member.
func (n *Node) askLeader(ctx context.Context, members []string, cluster clusterID, q question) (answer, error) {
	last := errors.New("no member to ask")
	for {
		next := members
		for i := 0; i < len(next) && i < 16; i++ {
			a, err := n.net.askMember(ctx, next[i], cluster, q)
			switch {
			case err != nil:
				last = fmt.Errorf("%s: %w", next[i], err)
			case a.Leader != "":
				last = fmt.Errorf("%s: leader is at %s", next[i], a.Leader)
				next = append(next[:i+1:i+1], append([]string{a.Leader}, next[i+1:]...)...)
			case a.Error != "":
				last = fmt.Errorf("%s: %s", next[i], a.Error)
				if !strings.Contains(a.Error, ErrNotLeader.Error()) {
					return a, last
				}
			default:
				return a, nil
			}
		}
		select {
		case <-time.After(n.opts.HeartbeatTimeout / 4):
		case <-ctx.Done():
			return answer{}, fmt.Errorf("%w; last: %w", ctx.Err(), last)
		case <-n.closed:
			return answer{}, ErrClosed
		}
	}
}

// serveControl answers one question of another member.
func (n *Node) serveControl(rw *bufio.ReadWriter) {
	var q question
	if err := json.NewDecoder(rw).Decode(&q); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), controlTimeout)
	defer cancel()
	var a answer
	var err error
	switch {
	case q.Op != "status" && q.Cluster != n.opts.Cluster:
		err = fmt.Errorf("%w: this is cluster %q, not %q", ErrIncompatible, n.opts.Cluster, q.Cluster)
	case !n.up.Load():
		err = fmt.Errorf("%w: starting", ErrNotLeader)
	case q.Op == "join":
		if err = n.addMember(ctx, q.ID, q.Address, q.New); err == nil {
			id := n.net.clusterID()
			a.ClusterID = id[:]
		}
	case q.Op == "leave":
		err = n.removeMember(ctx, q.ID)
	case q.Op == "status":
		a.ID, a.LastIndex = n.id, n.raft.LastIndex()
	default:
		err = fmt.Errorf("replica: unknown question %q", q.Op)
	}
	if err != nil {
		a = answer{Error: err.Error()}
		var nl *NotLeaderError
		if errors.As(err, &nl) {
			a.Leader = nl.Address
		}
	}
	if json.NewEncoder(rw).Encode(a) == nil {
		rw.Flush()
	}
}

// addMember takes a node in without a vote; promote gives it one later. New says
// that the node knows nothing: one that has a vote has lost its disk then, and
// with it what it has voted for and acknowledged.
func (n *Node) addMember(ctx context.Context, id, address string, new bool) error {
	if id == "" || len(id) > 64 || address == "" || len(address) > 256 {
		return fmt.Errorf("replica: member %q at %q: id or address is empty or too long", id, address)
	}
	if _, err := n.Confirm(ctx); err != nil {
		return err
	}
	members, err := n.Members()
	if err != nil {
		return err
	}
	for _, m := range members {
		switch {
		case m.ID == id && m.Voter && new:
			return fmt.Errorf("%w: %q is a member with a vote and has lost its directory; remove it first", ErrIncompatible, id)
		case m.ID == id && m.Address == address:
			return nil // asked again
		case m.ID == id:
			return fmt.Errorf("%w: %q is a member at %s; remove it first", ErrIncompatible, id, m.Address)
		case m.Address == address:
			return fmt.Errorf("%w: %s belongs to member %q; remove it first", ErrIncompatible, address, m.ID)
		}
	}
	return n.engineError(n.await(n.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(address), 0, controlTimeout/2)))
}

func (n *Node) engineError(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(applyError(err), ErrNotLeader) {
		return n.notLeader()
	}
	return applyError(err)
}

// Members returns the members of the newest configuration that this node
// knows, in the configuration's order.
func (n *Node) Members() ([]Member, error) {
	f := n.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, err
	}
	var ms []Member
	for _, s := range f.Configuration().Servers {
		ms = append(ms, Member{ID: string(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	return ms, nil
}

// Join takes a new member in, as [Options.Join] does from the other side: at
// once without a vote, and with one as soon as it has caught up. Any member
// may be asked; it passes the request to the leader. Asking again is harmless.
// A known id at another address, or a known address under another id, is
// refused with [ErrIncompatible]: remove the old member first.
func (n *Node) Join(ctx context.Context, m Member) error {
	return n.change(ctx, question{Op: "join", ID: m.ID, Address: m.Address}, func() error {
		return n.addMember(ctx, m.ID, m.Address, false)
	})
}

// Leave removes a member, this one or another, for good: its directory can not
// come back. It is refused when those that remain and answer now would be no
// majority of those that remain. Removing what is not a member is no error.
func (n *Node) Leave(ctx context.Context, id string) error {
	return n.change(ctx, question{Op: "leave", ID: id}, func() error { return n.removeMember(ctx, id) })
}

func (n *Node) change(ctx context.Context, q question, here func() error) error {
	err := here()
	var nl *NotLeaderError
	if n.net == nil || !errors.As(err, &nl) {
		return err
	}
	ms, err := n.Members()
	if err != nil {
		return err
	}
	var others []string
	if nl.Address != "" {
		others = append(others, nl.Address)
	}
	for _, m := range ms {
		if m.ID != n.id && m.Address != nl.Address {
			others = append(others, m.Address)
		}
	}
	q.Cluster = n.opts.Cluster
	_, err = n.askLeader(ctx, others, n.net.clusterID(), q)
	return err
}

func (n *Node) removeMember(ctx context.Context, id string) error {
	if _, err := n.Confirm(ctx); err != nil {
		return err
	}
	members, err := n.Members()
	if err != nil {
		return err
	}
	found, voters, alive := false, 0, 0
	for _, m := range members {
		if m.ID == id {
			found = true
		} else if m.Voter {
			voters++
			if m.ID == n.id || n.answers(ctx, m) {
				alive++
			}
		}
	}
	if !found {
		return nil
	}
	if alive <= voters/2 {
		return fmt.Errorf("replica: removing %q would leave %d voters of which %d answer: no majority", id, voters, alive)
	}
	return n.engineError(n.await(n.raft.RemoveServer(raft.ServerID(id), 0, controlTimeout/2)))
}

func (n *Node) answers(ctx context.Context, m Member) bool {
	if n.net == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, n.opts.HeartbeatTimeout)
	defer cancel()
	a, err := n.net.askMember(ctx, m.Address, n.net.clusterID(), question{Op: "status"})
	return err == nil && a.ID == m.ID
}

// caughtUp is how far behind a new member may be to get its vote: what the
// leader sends in a few messages.
const caughtUp = 256

// promote gives members that have caught up their vote.
func (n *Node) promote(ctx context.Context) {
	t := time.NewTicker(n.opts.HeartbeatTimeout)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		f := n.raft.GetConfiguration()
		if f.Error() != nil {
			continue
		}
		for _, s := range f.Configuration().Servers {
			if s.Suffrage != raft.Nonvoter {
				continue
			}
			if n.net != nil {
				at, cancel := context.WithTimeout(ctx, n.opts.HeartbeatTimeout)
				a, err := n.net.askMember(at, string(s.Address), n.net.clusterID(), question{Op: "status"})
				cancel()
				if err != nil || a.ID != string(s.ID) || a.LastIndex+caughtUp < n.raft.LastIndex() {
					continue
				}
			}
			if err := n.await(n.raft.AddVoter(s.ID, s.Address, f.Index(), n.opts.HeartbeatTimeout)); err == nil {
				n.log.Info("member votes", "id", s.ID, "address", s.Address)
			}
			break // the configuration has changed: look again
		}
	}
}
