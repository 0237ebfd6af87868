// Package lock takes exclusive locks in a cluster of lock servers, first come,
// first served, and tells the storage behind them whose writes to refuse. A lock
// without such a guard does not promise that two holders never write at the same
// time, and no lock service can: the holder may be paused between looking at its
// lease and writing, or its write may lie in a network's queue, until the lease
// is over and somebody else holds the lock. What the lock does promise is a
// fencing token with every grant, higher than all before it, and a [Guard] at
// the storage turns that into safety.
//
//	c, err := lock.Dial(ctx, []string{"10.0.0.1:7001", "10.0.0.2:7001", "10.0.0.3:7001"}, nil)
//	l, err := c.Lock(ctx, "invoices/42")
//	defer l.Unlock(ctx)
//	req, err := http.NewRequestWithContext(l.Context(), "PUT", store+"/invoices/42", body)
//	l.SetFence(req.Header) // X-Fence-Token: the store refuses it once a later holder was there
//
// This package is the client and the guard, and needs nothing but the standard
// library and this module's own log; the servers are in lock/node, and
// lock/lockd is one as a command. [Client.RLock] takes a lock shared,
// [Client.Acquire] is a counting semaphore, [Client.Campaign] elects a leader:
// all on the same queue.
//
//	C1 ── Lock ──▶ ┌─ lock servers, one replicated log ────────────────┐
//	C2 ── Lock ──▶ │ invoices/42:  C1, token 7, holds ◀── C2 ◀── C3    │
//	C3 ── Lock ──▶ └───────────────────────────────────────────────────┘
//	C1 ── write, token 7 ──▶ ┌─ store ─────────────────────────────────┐
//	                         │ Guard: invoices/42 has seen 7, refuse   │
//	                         │        what is lower                    │
//	                         └─────────────────────────────────────────┘
//
// # The queue
//
// Requests for a key form a linked list inside the replicated state. They are
// granted in the order in which they were logged. The log entry that releases a
// lock also grants it to the next in line, so a hand-over costs one commit, and
// exactly one waiter is told, on the connection that its client keeps open (over
// HTTP: by server-sent events or a long poll). Nobody asks again and again. A
// client that loses its connection, or whose server dies, finds its requests at
// the place where they were.
//
// # Lease and time
//
// A [Client] has one session, and its lease (Options.TTL) covers all its locks.
// The client renews it without anything being logged. When a server's lease for
// it runs out, the session ends and its locks pass on. The two sides count so
// that the client always gives up first, though no clock is compared with
// another: the client from the moment before it sent the last renewal that was
// answered, less Options.Drift; the servers from when they received it; a new
// leader from its election, anew. The client counts on the clock that goes on
// while the machine sleeps. Only the rate of clocks matters, and it may be off
// by Drift, 5 % unless changed.
//
// The end of a lease closes [Lock.Lost] and cancels [Lock.Context], as soon as
// the process runs.
//
// # Tokens
//
// [Lock.Token] comes from the position in the servers' log of the entry that
// granted the lock: it is higher than that of every earlier grant, of this key
// and of all others, and stays so over failures of servers and restarts of all.
// A timestamp is no such number: clocks differ, and the next leader's may be
// behind.
//
// Readers that hold a key together share one token, so that none makes another
// stale. The permits of a semaphore have one each: they bound how many are at
// work, and cannot be fenced by a maximum.
//
// The storage refuses tokens below the highest it has seen for the resource, and
// sees a holder's token before the holder first reads. Both halves matter. If
// only writes carried tokens, a stale write could come between the read and the
// write of the present holder, which would then overwrite it, or build on it.
//
// # The guard in a program
//
// [NewGuard] keeps the maxima in memory, and with a [FenceStore] also on disk:
//
//	fences, err := lock.OpenFenceLog(dir)
//	g, err := lock.NewGuard(&lock.GuardOptions{Store: fences})
//	err = g.Do(ctx, "invoices/42", token, func() error { … }) // ErrStale, or done
//
// What must be durable is the highest token, before the operation it came with
// begins: otherwise a restart forgets that a holder was there, and lets its
// predecessor in. [GuardOptions] tells when memory is enough.
//
// # The guard as HTTP middleware
//
// [Guard.Middleware] checks the header X-Fence-Token of every request, and keeps
// other tokens of the resource out while the handler runs. A stale one gets
// status 412, with the highest token in the JSON body; none at all, 428. Clients
// call [Lock.SetFence], on their reads too.
//
// # The guard in SQL
//
// A database needs no guard beside it, only a column and a condition. Enter
// before the first read, and look at the number of rows:
//
//	UPDATE invoice SET fence = $tok WHERE id = $id AND fence <= $tok   -- 1 row: go on; 0: stale
//	SELECT body FROM invoice WHERE id = $id
//	UPDATE invoice SET body = $new, fence = $tok WHERE id = $id AND fence <= $tok   -- 0 rows: stale
//
// The first statement is committed before the second is run, or both are in one
// transaction. The column is NOT NULL DEFAULT 0. To insert or replace:
//
//	INSERT INTO invoice (id, body, fence) VALUES ($id, $new, $tok)
//	ON CONFLICT (id) DO UPDATE SET body = excluded.body, fence = excluded.fence
//	WHERE invoice.fence <= excluded.fence
//
// A row that is deleted takes its fence along: mark it deleted instead. Where a
// lock covers many rows, give it a row in a table of its own, and begin every
// transaction under the lock with the first statement on that row: it stays
// locked to the end, so nobody enters in between.
//
// # The guard in an object store
//
// A store with conditional writes (If-Match: S3 and its like) can keep the fence
// in the object's metadata. Here the version (ETag) is what makes check and
// write one step:
//
//	GET invoices/42                                  → body, ETag a, fence f; f > tok: stale
//	PUT invoices/42, If-Match: a, fence tok, body    → ETag b (the same body: this is the entering)
//	PUT invoices/42, If-Match: b, fence tok, new     → done
//
// 412 on the first PUT: begin again with the GET. On the second: somebody has
// entered since, and the GET will tell that it is stale. A new object is made
// with If-None-Match: * instead. What was read counts only after the first PUT
// has succeeded, since only then can no older holder write any more. Here too an
// object must not be deleted, but replaced by an empty one with its fence.
//
// # Faults
//
// What happens to a client's locks, with three servers (five bear two failures):
//
//	a server is killed or cut off        nothing: places and locks are kept; if it led, no grants
//	                                     until another leads (about two heartbeat timeouts)
//	two servers are gone                 no grants; locks are lost when their leases end
//	the client crashes                   its locks pass on after one TTL at most
//	the client is paused beyond its TTL  its locks pass on; Lost closes when it runs again; what it
//	                                     writes meanwhile is refused by the guard, or by nobody
//	the client's network fails           the same
//	an answer is lost                    the request is repeated under its number, and answered alike
//	Lock's ctx ends while it is granted  the servers decide once: the grant is released again
//	all servers restart                  the state is on disk; leases begin anew
//	clocks jump                          nothing: no decision reads the time of day
//	clocks run apart by more than Drift  two holders may believe in the lock at one time; the guard
//	                                     lets one of them write
//
// # References
//
//   - C. Gray, D. Cheriton: Leases: An Efficient Fault-Tolerant Mechanism for
//     Distributed File Cache Consistency, SOSP 1989. Section 5: what clocks owe.
//   - M. Burrows: The Chubby Lock Service for Loosely-Coupled Distributed
//     Systems, OSDI 2006. Section 2.4: sequencers, which are fencing tokens;
//     2.8: sessions kept alive.
//   - D. Ongaro, J. Ousterhout: In Search of an Understandable Consensus
//     Algorithm, USENIX ATC 2014: the replicated log.
//   - M. Kleppmann: How to do distributed locking, 2016: the trace of a paused
//     holder, and why a majority vote over clocks does not help.
package lock
