// Package node is a lock server: a member of a cluster that keeps the queues of
// package lock on package replica, and answers over HTTP.
//
// [Open] starts one, as a library; the command
// github.com/ashlar-go/ashlar/lock/lockd is the same as a program. Three or
// five of them make a cluster, which works as long as a majority of them runs
// and can talk to each other.
//
//	client ── POST request ──▶ leader ── one log entry ──▶ majority on disk
//	client ◀── event: granted ── leader ◀── applied: the queue's next holder
//
// A hand-over costs one commit: the entry that releases a lock also grants it
// to the next in the queue, and exactly one client is told.
//
// # Leases
//
// A session lives as long as its client is heard of. Renewals are not logged:
// the leader answers one only after a majority has confirmed, after the renewal
// arrived, that it still leads, and then moves the session's deadline in memory.
// A new leader gives every session a whole TTL from its election on. A session
// ends through a log entry that names the leader's term and the session's last
// activity, and is void if either has changed meanwhile.
//
// # HTTP API
//
// This is what every language can speak; package lock's client does the same over
// one connection that it upgrades to small binary frames, which costs servers
// and clients less than half of the work. Bodies are JSON. Every request may be
// repeated, and a repetition gets the first answer: the client names its session,
// by 32 hexadecimal digits chosen at random, and numbers the session's requests
// from 1.
//
//	POST   /v1/sessions {session, ttl_ms, label}      201 open a session
//	PUT    /v1/sessions/{id}                          200 renew its lease · 404 unknown
//	DELETE /v1/sessions/{id}                          200 end it: all its locks pass on
//	GET    /v1/sessions/{id}/events                   events: granted · lost · end
//
//	POST   /v1/locks/{key}/requests {session, req, kind, weight, limit, try, value}
//	                                                  200 granted {token} · 202 queued {ahead}
//	                                                  409 held, held_by_self, conflict · 410 gone
//	                                                  404 no_session · 429 too_many
//	GET    /v1/locks/{key}/requests/{req}?session=&wait=30s
//	                                                  200 granted · 204 still queued · 410 over
//	GET    /v1/locks/{key}/requests/{req}/events?session=
//	                                                  events of this request: granted · lost
//	DELETE /v1/locks/{key}/requests/{req}?session=&token=
//	                                                  200 released · 409 not_held: nothing happened
//	                                                  without token: cancel, whatever its state
//	GET    /v1/locks/{key}?consistency=linearizable   200 holders and queue (or =stale, anywhere)
//
//	GET    /v1/stream                                 101 upgrade to the frames of package lock
//
//	GET    /v1/cluster                                200 members, leader, counters
//	POST   /v1/cluster/members {id, address}          200 take a member in
//	DELETE /v1/cluster/members/{id}                   200 remove one
//	                                                  403 with TLS: it needs a client certificate
//
// A server that does not lead answers 421 and names the leader in the header
// Leader; one that cannot reach a majority answers 503 with Retry-After. The
// key is one path segment, percent-encoded. Kinds are exclusive (the default),
// shared and permit.
//
// Who can reach the port can take any lock and give back any other's: sessions
// are shown to all who ask for a lock's holder, and their ids are no secrets. Keep
// the port among machines that trust each other, or ask clients for certificates
// (ClientAuth in Options.TLS).
//
// On an event stream the server first repeats the grants that stand, so that a
// client that lost its connection misses none; Last-Event-ID is not needed. A
// comment follows every 2 s.
package node
