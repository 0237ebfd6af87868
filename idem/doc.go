// Package idem makes a request that may come twice take effect once: a store of
// idempotency keys.
//
// A client that gets no answer sends its request again, under the same key. Was
// the work done or not? The server can only tell if it wrote the key down before
// it began, and the answer under the key when it was through:
//
//	a, err := store.Begin(ctx, key, hash) // the row is on the disk when it returns
//	if err != nil {
//		return nil, err // ErrRunning: the first is still at work; ErrMismatch: another request
//	}
//	if result, done := a.Result(); done {
//		return result, nil // said again, not done again
//	}
//	result := charge(card) // this attempt's to do
//	return result, a.Complete(ctx, result)
//
// [Store.Do] is all of that around a function, and waits for a duplicate that is at
// work.
//
// # Attempts
//
// A key is unknown, begun, completed, failed or given up. Begin makes an unknown
// one begun and returns an [Attempt] that is to do the work, with a lease: as long
// as it runs, others with the key get [ErrRunning]. Complete and Fail store the
// result, which from then on is the answer to everybody, and Release gives up, so
// that the next one starts at once.
//
// A process that dies between Begin and Complete leaves a begun key behind. When
// its lease is over, the next Begin takes the key over: its attempt has a greater
// token, and [Attempt.Taken] says since when the work may have been done, half done
// or not. What to do then only the work's owner knows: ask the card company about
// the charge with this key, or do the work in one transaction with its completion,
// so that there is no half ([Bolt.Complete]). The one that was overtaken, should it
// still be alive, gets [ErrStale] from Complete. [Store.Unfinished] lists keys in
// that state.
//
// The token is also a fencing token: pass it on with whatever the work writes, so
// that a storage that remembers the greatest it has seen refuses the overtaken
// attempt's writes (package lock has a Guard for that).
//
// # Keys and requests
//
// The same key with another request is a mistake of the client's that must not be
// answered with the first one's result: Begin compares a hash of the request and
// returns [ErrMismatch]. A key is remembered for a time after its completion
// ([Options.Keep]); then it is as good as new, so it has to be longer than any
// client goes on trying.
//
// # In front
//
// Most keys are new. [Store.Known] asks a Bloom filter of the last periods' keys
// first and only then the storage: "no" is certain and costs no read. The filter is
// right only if all keys of the storage come through this Store, which holds for
// [Open]; with a storage that several processes share, each key must be routed to
// one of them (package ring) before [Options.Sole] may be set.
//
// # Storages
//
// [Open] keeps keys in one bbolt file; calls that come together share a
// transaction and its sync. [OpenBolt] does so in a database of yours, [NewMem] in
// memory, and a [Backend] of your own is checked by idem/idemtest.
//
// # References
//
// The HTTP header is described in the draft draft-ietf-httpapi-idempotency-key-header;
// leases with tokens that grow are from C. Gray and D. Cheriton, Leases, SOSP 1989,
// and the fencing of them as in package lock.
package idem
