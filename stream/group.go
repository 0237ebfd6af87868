package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// GroupOptions configures [NewGroup]. Nil, and a zero field, mean the default.
type GroupOptions struct {
	// SessionTimeout is how long a member may work on what it read before it
	// reads or commits again. One that takes longer is taken for dead: its
	// partitions go to others, and its commits are [ErrStale]. Negative: for
	// ever. Default 30 seconds.
	SessionTimeout time.Duration
	// FromEnd makes a partition for which nothing was committed begin at its
	// end instead of at its first record.
	FromEnd bool
}

// A Group divides the partitions of topics among the members that are in this
// process. Each partition has one owner, and with each change of the owner its
// epoch rises, in the log itself and before the new owner begins:
//
//	member a  claim(p, epoch 7) ─ read ─ frozen ────────────────── commit(7)  ErrStale
//	member b  ······················ timeout ─ claim(p, epoch 8) ─ commit(8)  stored
//
// So what was not committed is read again by the next owner, and nothing is
// committed twice: with results in the same transaction ([Claim.Commit]) each
// record counts exactly once. A Group is safe for concurrent use by multiple
// goroutines. It has one of its own, which Close ends.
type Group struct {
	log    Log
	name   string
	opts   GroupOptions
	parts  []Partition
	kick   chan struct{}
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	members map[string]*Member
	owners  map[Partition]*Claim // granted, or being granted
	epoch   int64                // the last one given
	failed  error                // why the last attempt to grant failed
}

// A Member is one that takes part in a [Group].
type Member struct {
	g      *Group
	id     string
	claims chan *Claim // granted

	// Guarded by Group.mu.
	gone  error // why it is no member any more
	left  chan struct{}
	owned map[Partition]*Claim
}

// A Claim is a member's right to a partition. Its methods are for the handler
// that got it, and not safe for concurrent use.
type Claim struct {
	// Partition is what is claimed.
	Partition Partition
	// Epoch is what commits carry.
	Epoch int64

	m      *Member
	next   int64
	ctx    context.Context // ends when the partition is wanted back
	cancel context.CancelCauseFunc

	// Guarded by Group.mu.
	busy    int       // calls under way: the member is not to be blamed for them
	seen    time.Time // end of the last call
	revoked bool
	granted bool
}

// errRevoked is the cause that ends a claim's context.
var errRevoked = errors.New("stream: partition goes to another member")

// NewGroup returns the group called name over all partitions of topics. One
// process at a time may coordinate a group.
func NewGroup(ctx context.Context, l Log, name string, topics []string, o *GroupOptions) (*Group, error) {
	if err := checkName("group", name); err != nil {
		return nil, err
	}
	g := &Group{
		log: l, name: name, kick: make(chan struct{}, 1), done: make(chan struct{}),
		members: map[string]*Member{}, owners: map[Partition]*Claim{},
	}
	if o != nil {
		g.opts = *o
	}
	if g.opts.SessionTimeout == 0 {
		g.opts.SessionTimeout = 30 * time.Second
	}
	for _, t := range topics {
		opts, err := l.Topic(ctx, t)
		if err != nil {
			return nil, err
		}
		for n := range opts.Partitions {
			g.parts = append(g.parts, Partition{t, n})
		}
	}
	slices.SortFunc(g.parts, Partition.Compare)
	g.parts = slices.Compact(g.parts)
	at, err := l.Committed(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, o := range at {
		g.epoch = max(g.epoch, o.Epoch)
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	go g.run()
	return g, nil
}

// Close ends the group: all members' Run return [ErrClosed]. It may be repeated.
func (g *Group) Close() error {
	g.cancel()
	<-g.done
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.sortedMembers() {
		g.dismissLocked(m, ErrClosed)
	}
	return nil
}

// Members returns who owns which partitions now.
func (g *Group) Members() map[string][]Partition {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := map[string][]Partition{}
	for id, m := range g.members {
		out[id] = sortedPartitions(m.owned)
	}
	return out
}

// Err returns why partitions could not be given out at the last attempt, or nil.
func (g *Group) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed
}

// Join makes a member, whose id must be free. It owns partitions while it runs
// [Member.Run].
func (g *Group) Join(ctx context.Context, id string) (*Member, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkName("member", id); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx.Err() != nil {
		return nil, ErrClosed
	}
	if g.members[id] != nil {
		return nil, fmt.Errorf("%w: member %q is in the group", ErrInvalid, id)
	}
	m := &Member{
		g: g, id: id, claims: make(chan *Claim, len(g.parts)), left: make(chan struct{}),
		owned: map[Partition]*Claim{},
	}
	g.members[id] = m
	signal(g.kick)
	return m, nil
}

// Leave makes m give its partitions back as soon as its handlers have returned,
// and ends Run. It does not wait for that.
func (m *Member) Leave() {
	m.g.mu.Lock()
	defer m.g.mu.Unlock()
	m.leaveLocked(ErrClosed)
}

func (m *Member) leaveLocked(why error) {
	if m.gone != nil {
		return
	}
	m.gone = why
	close(m.left)
	delete(m.g.members, m.id)
	for _, c := range m.owned {
		if !c.granted {
			m.g.freeLocked(c)
			continue
		}
		c.revokeLocked() // the handler frees it
	}
	signal(m.g.kick)
}

// dismissLocked takes everything from a member at once, without waiting for its
// handlers: their epochs are about to be overtaken.
func (g *Group) dismissLocked(m *Member, why error) {
	m.leaveLocked(why)
	for _, c := range m.owned {
		g.freeLocked(c)
	}
}

func (c *Claim) revokeLocked() {
	if !c.revoked {
		c.revoked = true
		c.cancel(errRevoked)
	}
}

// freeLocked makes the partition of a claim free for others.
func (g *Group) freeLocked(c *Claim) {
	c.revokeLocked()
	if c.m.owned[c.Partition] == c {
		delete(c.m.owned, c.Partition)
	}
	if g.owners[c.Partition] == c {
		delete(g.owners, c.Partition)
	}
	signal(g.kick)
}

// Run calls handle in a goroutine of its own for each partition that m gets, and
// returns when m leaves, is taken for dead ([ErrStale]), the group is closed, ctx
// ends, or a handler returns while its partition is still m's. The handler's
// context ends when the partition is wanted back; it should then commit what it
// has done, with a context that has not ended ([context.WithoutCancel]), and
// return: only after that the next owner begins.
func (m *Member) Run(ctx context.Context, handle func(context.Context, *Claim) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var handlers sync.WaitGroup
	defer func() {
		cancel(nil)
		handlers.Wait()
		m.g.mu.Lock()
		defer m.g.mu.Unlock()
		for _, c := range m.owned { // granted, and never begun
			m.g.freeLocked(c)
		}
	}()
	ended := make(chan error, len(m.g.parts)+1)
	for {
		select {
		case c := <-m.claims:
			handlers.Go(func() {
				hctx, stop := context.WithCancelCause(ctx)
				defer stop(nil)
				defer context.AfterFunc(c.ctx, func() { stop(context.Cause(c.ctx)) })()
				err := handle(hctx, c)
				m.g.mu.Lock()
				revoked := c.revoked
				m.g.freeLocked(c)
				m.g.mu.Unlock()
				if !revoked {
					ended <- err
				}
			})
			continue
		case <-m.left:
			m.g.mu.Lock()
			defer m.g.mu.Unlock()
			return m.gone
		case <-ctx.Done():
			m.Leave()
			cancel(ctx.Err())
			return ctx.Err()
		case err := <-ended:
			m.Leave()
			return err
		}
	}
}

// Next returns the offset at which the next Read begins.
func (c *Claim) Next() int64 { return c.next }

// SetNext moves the claim to an offset, for the next Read and Commit.
func (c *Claim) SetNext(offset int64) { c.next = offset }

// enter and leave frame a call.
func (c *Claim) enter() error {
	g := c.m.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.m.gone != nil && c.m.owned[c.Partition] != c {
		return c.m.gone
	}
	c.busy++
	return nil
}

func (c *Claim) leave() {
	g := c.m.g
	g.mu.Lock()
	defer g.mu.Unlock()
	c.busy--
	c.seen = time.Now()
}

// Read reads what follows the claim's offset, as [Log.Read] does, and moves the
// claim behind it.
func (c *Claim) Read(ctx context.Context, b *Batch) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	if err := c.m.g.log.Read(ctx, c.Partition, c.next, b); err != nil {
		return err
	}
	c.next = b.Next
	return nil
}

// Commit stores that all before the claim's offset is done. With a tx its records
// are appended in the same step, and its Offsets, of other partitions, stored
// too; that needs a [Transactor]. [ErrStale] means that the partition has another
// owner, and that nothing was changed.
func (c *Claim) Commit(ctx context.Context, tx *Tx) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	g := c.m.g
	offsets := map[Partition]Offset{}
	if tx != nil {
		maps.Copy(offsets, tx.Offsets)
	}
	offsets[c.Partition] = Offset{Next: c.next, Epoch: c.Epoch}
	if tx == nil || len(tx.Appends) == 0 {
		return g.log.Commit(ctx, g.name, offsets)
	}
	l, ok := g.log.(Transactor)
	if !ok {
		return fmt.Errorf("%w: this log has no transactions", ErrInvalid)
	}
	_, err := l.Transact(ctx, &Tx{Group: g.name, Offsets: offsets, Appends: tx.Appends})
	return err
}

// run is the coordinator: it takes partitions from members that have too many
// or are dead, and gives out free ones.
func (g *Group) run() {
	defer close(g.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait := g.expire()
		if retry := g.balance(); retry > 0 {
			wait = min(wait, retry)
		}
		timer.Reset(wait)
		select {
		case <-g.ctx.Done():
			return
		case <-g.kick:
		case <-timer.C:
		}
	}
}

// expire dismisses members that are taken for dead, and returns when to look
// again.
func (g *Group) expire() time.Duration {
	wait := time.Hour
	if g.opts.SessionTimeout < 0 {
		return wait
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for _, c := range g.owners {
		if c.busy > 0 || !c.granted {
			wait = min(wait, g.opts.SessionTimeout)
			continue
		}
		left := g.opts.SessionTimeout - now.Sub(c.seen)
		if left <= 0 {
			g.dismissLocked(c.m, fmt.Errorf("%w: member %q did not answer for %v", ErrStale, c.m.id, g.opts.SessionTimeout))
			// One that had left, and whose handler never returned:
			g.freeLocked(c)
			continue
		}
		wait = min(wait, left)
	}
	return wait
}

func (g *Group) sortedMembers() []*Member {
	return slices.SortedFunc(maps.Values(g.members), func(a, b *Member) int { return cmp.Compare(a.id, b.id) })
}

// balance moves partitions so that no member has two more than another. It keeps
// owners where it can. It returns when to try again after a failure.
func (g *Group) balance() time.Duration {
	g.mu.Lock()
	members := g.sortedMembers()
	if len(members) == 0 {
		g.mu.Unlock()
		return 0
	}
	// The first `extra` of those that have most may have one more.
	slices.SortStableFunc(members, func(a, b *Member) int { return cmp.Compare(len(b.owned), len(a.owned)) })
	quota, extra := len(g.parts)/len(members), len(g.parts)%len(members)
	var free []Partition
	for _, p := range g.parts {
		if g.owners[p] == nil {
			free = append(free, p)
		}
	}
	var grants []*Claim
	for i, m := range members {
		may := quota
		if i < extra {
			may++
		}
		have := 0
		for _, p := range sortedPartitions(m.owned) {
			if have++; have > may {
				m.owned[p].revokeLocked() // freed when its handler returns
			}
		}
		for have = len(m.owned); have < may && len(free) > 0; have++ {
			g.epoch++
			c := &Claim{Partition: free[0], Epoch: g.epoch, m: m, seen: time.Now()}
			c.ctx, c.cancel = context.WithCancelCause(g.ctx)
			free = free[1:]
			g.owners[c.Partition], m.owned[c.Partition] = c, c
			grants = append(grants, c)
		}
	}
	g.mu.Unlock()
	if len(grants) == 0 {
		return 0
	}
	err := g.grant(grants)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed = err
	for _, c := range grants {
		if c.m.owned[c.Partition] != c {
			continue // it left meanwhile
		}
		if err != nil {
			g.freeLocked(c)
			continue
		}
		c.granted, c.seen = true, time.Now()
		c.m.claims <- c // has room for all partitions
	}
	if err != nil {
		return time.Second
	}
	return 0
}

// grant raises the epochs of claims in the log, and then finds where they begin.
// In this order: a commit of the former owner comes before the new epoch, and is
// found, or after it, and is refused.
func (g *Group) grant(claims []*Claim) error {
	fence := map[Partition]Offset{}
	for _, c := range claims {
		fence[c.Partition] = Offset{Next: Keep, Epoch: c.Epoch}
	}
	if err := g.log.Commit(g.ctx, g.name, fence); err != nil {
		return err
	}
	at, err := g.log.Committed(g.ctx, g.name)
	if err != nil {
		return err
	}
	for _, c := range claims {
		first, next, err := g.log.Bounds(g.ctx, c.Partition)
		if err != nil {
			return err
		}
		switch o := at[c.Partition]; {
		case o.Next != Keep:
			c.next = max(o.Next, first) // what retention took meanwhile is gone
		case g.opts.FromEnd:
			c.next = next
		default:
			c.next = first
		}
	}
	return nil
}
