package lock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
)

// ErrStale is returned by a [Guard] for a token below the highest it has seen:
// somebody else has been granted the lock since. The error is a [*StaleError].
var ErrStale = errors.New("lock: stale token")

// A StaleError tells by how much a token is out of date. It unwraps to
// [ErrStale].
type StaleError struct {
	Resource string
	Got      uint64 // the token that was refused
	Max      uint64 // the one that it would have to reach
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("%v: %q: token %d, %d has been seen", ErrStale, e.Resource, e.Got, e.Max)
}

// Unwrap returns [ErrStale].
func (e *StaleError) Unwrap() error { return ErrStale }

// A Guard stands in front of what a lock protects, on the side of the storage.
// It remembers the highest fencing token that was used for each resource and
// refuses lower ones, so that a holder that was paused, or whose messages were
// late, can no longer do harm when it goes on. It is safe for concurrent use by
// multiple goroutines. Use [NewGuard].
//
// A holder must show its token before it first reads, not only when it writes,
// since a stale write may come in between:
//
//	                            max if seen     max if seen
//	                            before reading  only when writing
//	C1, token 7, reads          7               -
//	C2, token 8, reads          8               -
//	C1 writes what it made      refused         accepted, 7
//	C2 writes what it made      accepted, 8     accepted, 8: C1's write is gone
//
// [Guard.Check] is such a showing. Between a Check and the operation it was for
// a higher token may arrive, though, and its holder read; the operation then
// comes too late and nobody refuses it. [Guard.Enter] and [Guard.Do] therefore
// keep all other tokens of the resource out until the operation is done. Check
// is enough to announce a holder, and where the operation itself is conditional
// (the recipes in the package comment).
//
// All access to a resource must pass one guard. Where several processes serve
// the same data, the check belongs where the data is: see the recipes. A guard
// trusts the tokens it is shown, which must come from one cluster: whoever may
// write could also lock others out with one that is far too high.
type Guard struct {
	store FenceStore
	limit int
	log   *slog.Logger

	trimming sync.Mutex // taken before mu

	mu      sync.Mutex
	floor   uint64 // what a resource without a fence must reach
	fences  map[string]*fence
	entered uint64
	refused uint64
}

// A fence is one resource.
type fence struct {
	highest uint64 // the highest token that came
	saved   uint64 // the highest that the store is known to have

	inside int        // operations under way: -1 one that writes, n > 0 that read
	queue  []*entrant // operations that wait for those, in order
	users  int        // calls that refer to it: it is not forgotten meanwhile
}

type entrant struct {
	token uint64
	read  bool
	ready chan error // capacity 1; nil: it is inside
}

// A FenceStore keeps a guard's maxima where a restart does not lose them. It
// belongs to one guard. [FenceLog] is one in a directory.
type FenceStore interface {
	// Load returns what was saved: the floor, and the highest token of each
	// resource, in a map that the caller keeps. NewGuard calls it once.
	Load() (floor uint64, highest map[string]uint64, err error)
	// Save records that a resource has seen a token, durably before it returns.
	// A lower token than the one it has changes nothing. Calls may run together.
	Save(ctx context.Context, resource string, token uint64) error
	// Trim raises the floor, durably before it returns. Resources whose highest
	// token is not above it may then be forgotten.
	Trim(ctx context.Context, floor uint64) error
}

// GuardOptions configures [NewGuard]. Nil, and a zero field, mean the default.
type GuardOptions struct {
	// Store keeps the maxima. Default: none, and they are forgotten with the
	// process. That is right in two cases: the data is forgotten with it too,
	// or Floor is set anew at each start. Otherwise a restart opens a hole: the
	// first token that arrives is taken for the highest, however old it is.
	Store FenceStore

	// Floor is the lowest token that is let in at all. It can stand in for a
	// Store: before a process begins to serve, it takes a lock that stands for
	// serving, which its predecessor held, and makes that token its floor. All
	// tokens that the predecessor can have seen were granted before, so they are
	// lower. The price is that holders of that moment are refused and must lock
	// again.
	Floor uint64

	// MaxResources bounds how many resources are remembered, at about 150 bytes
	// each and their names. When there are more, those with the lowest tokens
	// are forgotten, and the highest of these tokens becomes the floor for all
	// resources that are not remembered. Nothing stale gets in by that; but one
	// that holds a lock since long before, and has not shown its token yet, is
	// refused and must lock again. Default 1,000,000.
	MaxResources int

	// Logger hears of refusals. Default: none.
	Logger *slog.Logger
}

// NewGuard returns a guard that starts from what its store holds.
func NewGuard(opts *GuardOptions) (*Guard, error) {
	var o GuardOptions
	if opts != nil {
		o = *opts
	}
	if o.MaxResources == 0 {
		o.MaxResources = 1_000_000
	}
	if o.MaxResources < 1 {
		return nil, fmt.Errorf("%w: MaxResources %d is negative", ErrInvalid, o.MaxResources)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Guard{store: o.Store, limit: o.MaxResources, log: o.Logger, floor: o.Floor, fences: map[string]*fence{}}
	if o.Store == nil {
		return g, nil
	}
	floor, highest, err := o.Store.Load()
	if err != nil {
		return nil, fmt.Errorf("lock: guard's store: %w", err)
	}
	g.floor = max(g.floor, floor)
	for resource, token := range highest {
		if token >= o.Floor {
			g.fences[resource] = &fence{highest: token, saved: token}
		}
	}
	return g, nil
}

// Check shows the guard a token with which a resource is about to be used, and
// returns nil if it is the highest so far. From then on lower ones are refused.
// It waits for operations of lower tokens that are under way. See [Guard] for
// when Check is not enough.
//
// A resource is named by 1 to 1,024 bytes of UTF-8; a token is at least 1.
// Errors: a [*StaleError]; [ErrInvalid]; ctx's; the store's. After an error the
// operation must not be done.
func (g *Guard) Check(ctx context.Context, resource string, token uint64) error {
	leave, err := g.enter(ctx, resource, token, false)
	if err != nil {
		return err
	}
	leave()
	return nil
}

// Enter is Check, and then keeps all other operations away from the resource
// until leave is called, which must happen; more calls of it do nothing. Inside,
// nothing should depend on a client's pace: have all the data that it sends, and
// only then enter. A second Enter or Check of the resource before leave waits
// for it, also with the same token.
func (g *Guard) Enter(ctx context.Context, resource string, token uint64) (leave func(), err error) {
	return g.enter(ctx, resource, token, false)
}

// EnterRead is Enter for an operation that only reads: others that do so may
// run beside it. That suits the holders of [Client.RLock] above all, who share
// one token.
func (g *Guard) EnterRead(ctx context.Context, resource string, token uint64) (leave func(), err error) {
	return g.enter(ctx, resource, token, true)
}

// Do runs f inside [Guard.Enter] and returns f's error; or Enter's, without
// running f.
func (g *Guard) Do(ctx context.Context, resource string, token uint64, f func() error) error {
	leave, err := g.enter(ctx, resource, token, false)
	if err != nil {
		return err
	}
	defer leave()
	return f()
}

// Highest returns the highest token that a resource has seen, or what it must
// reach if none is remembered.
func (g *Guard) Highest(resource string) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.fences[resource]; f != nil {
		return f.highest
	}
	return g.floor
}

// GuardStats is a snapshot of a guard's counters.
type GuardStats struct {
	Resources int    // remembered
	Floor     uint64 // what others must reach
	Entered   uint64 // operations and checks let in
	Refused   uint64 // refused as stale
}

// Stats returns the counters of this moment. It is cheap.
func (g *Guard) Stats() GuardStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return GuardStats{Resources: len(g.fences), Floor: g.floor, Entered: g.entered, Refused: g.refused}
}

func (g *Guard) enter(ctx context.Context, resource string, token uint64, read bool) (leave func(), err error) {
	leave, err = g.admit(ctx, resource, token, read)
	var stale *StaleError
	if errors.As(err, &stale) {
		g.log.Warn("stale token refused", "resource", resource, "token", token, "highest", stale.Max)
	}
	return leave, err
}

// admit lets an operation in: first its token is made the highest in memory, so
// that lower ones are refused from here on; then in the store, so that they are
// refused after a restart as well; then it waits for its turn.
func (g *Guard) admit(ctx context.Context, resource string, token uint64, read bool) (leave func(), err error) {
	if err := checkKey(resource); err != nil {
		return nil, err
	}
	if token == 0 {
		return nil, fmt.Errorf("%w: token 0 for %q", ErrInvalid, resource)
	}
	if err := contextErr(ctx); err != nil {
		return nil, err
	}
	f, save, err := g.arrive(ctx, resource, token)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			g.mu.Lock()
			f.users--
			g.mu.Unlock()
		}
	}()
	if save {
		if err := g.store.Save(ctx, resource, token); err != nil {
			// In memory it stays the highest: that errs on the safe side.
			return nil, fmt.Errorf("lock: guard's store: %w", err)
		}
		g.mu.Lock()
		f.saved = max(f.saved, token)
		g.mu.Unlock()
	}

	e := &entrant{token: token, read: read, ready: make(chan error, 1)}
	g.mu.Lock()
	f.queue = append(f.queue, e)
	g.admitLocked(resource, f)
	g.mu.Unlock()
	select {
	case err := <-e.ready:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		g.mu.Lock()
		if i := slices.Index(f.queue, e); i >= 0 {
			f.queue = slices.Delete(f.queue, i, i+1)
		} else if <-e.ready == nil { // let in at this very moment
			f.inside -= step(read)
		}
		g.admitLocked(resource, f)
		g.mu.Unlock()
		return nil, context.Cause(ctx)
	}
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		f.inside -= step(read)
		f.users--
		g.admitLocked(resource, f)
	}), nil
}

// arrive compares a token and makes it the highest in memory. On success the
// caller is one of the fence's users; save tells whether the store must hear of
// the token before it counts.
func (g *Guard) arrive(ctx context.Context, resource string, token uint64) (f *fence, save bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fences[resource] == nil && token >= g.floor && len(g.fences) >= g.limit {
		g.mu.Unlock()
		err := g.trim(ctx)
		g.mu.Lock()
		if err != nil {
			return nil, false, err
		}
		// If all are in use there will be one more than the limit for a while.
	}
	f = g.fences[resource]
	if f == nil {
		if token < g.floor {
			return nil, false, g.staleLocked(resource, token, g.floor)
		}
		f = &fence{}
		g.fences[resource] = f
	}
	if token < f.highest {
		return nil, false, g.staleLocked(resource, token, f.highest)
	}
	f.highest = token
	f.users++
	return f, g.store != nil && f.saved < token, nil
}

func (g *Guard) staleLocked(resource string, got, max uint64) error {
	g.refused++
	return &StaleError{Resource: resource, Got: got, Max: max}
}

// admitLocked lets in who may enter, in the order of arrival, and turns away who
// has become stale while waiting.
func (g *Guard) admitLocked(resource string, f *fence) {
	for len(f.queue) > 0 {
		e := f.queue[0]
		if e.token < f.highest {
			e.ready <- g.staleLocked(resource, e.token, f.highest)
		} else if f.inside == 0 || e.read && f.inside > 0 {
			f.inside += step(e.read)
			g.entered++
			e.ready <- nil
		} else {
			return
		}
		f.queue = slices.Delete(f.queue, 0, 1)
	}
}

// step is what one operation adds to fence.inside.
func step(read bool) int {
	if read {
		return 1
	}
	return -1
}

// trim forgets about an eighth of the resources, those with the lowest tokens,
// and raises the floor to the highest of these.
func (g *Guard) trim(ctx context.Context) error {
	g.trimming.Lock()
	defer g.trimming.Unlock()
	g.mu.Lock()
	if len(g.fences) < g.limit {
		g.mu.Unlock()
		return nil // somebody else did it
	}
	tokens := make([]uint64, 0, len(g.fences))
	for _, f := range g.fences {
		if f.users == 0 {
			tokens = append(tokens, f.highest)
		}
	}
	if len(tokens) == 0 {
		g.mu.Unlock()
		return nil
	}
	slices.Sort(tokens)
	floor := max(g.floor, tokens[len(tokens)/8])
	g.mu.Unlock()

	// The floor must be durable before what it replaces is gone.
	if g.store != nil {
		if err := g.store.Trim(ctx, floor); err != nil {
			return fmt.Errorf("lock: guard's store: %w", err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.floor = floor
	for resource, f := range g.fences {
		if f.users == 0 && f.highest <= floor {
			delete(g.fences, resource)
		}
	}
	return nil
}
