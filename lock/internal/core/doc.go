// Package core is the lock service's state: sessions, queues and tokens as a
// pure state machine. It reads no clock and no random source, so every replica
// that applies the same commands in the same order holds the same state.
//
//	queue "ledger"   head                         wait
//	                  │                            │
//	                  ▼                            ▼
//	                [C1 granted, token 7] ⇄ … ⇄ [C2 waits] ⇄ [C3 waits]
//	                  ⇅ session C1's list          ⇅ session C2's list
//
// A key's requests form one doubly linked list in the order in which they were
// logged. Grants are given strictly from the front, so the holders are always a
// prefix of the list, and a release looks at one neighbour: the entry that frees
// a lock grants it to the next in line. The same requests are linked per
// session, so that the end of a session costs as much as it had requests.
//
// # Tokens
//
// A grant's token is the position of its log entry or, where an earlier grant
// has that already (an entry carries many commands), the token after the last:
// it rises with every exclusive grant over all keys. Readers that hold a key
// together share one token, that of the first of them, since none of them makes
// another stale.
//
// # Repetition
//
// A client numbers its requests, and every command may arrive twice or late. An
// active request answers with its present state. A finished one is remembered
// among the last 128 of its session; what is older than those, by its number,
// answers [StatusGone] and never enters a queue again.
//
// # Snapshots
//
// Sessions and requests live in pages that are copied when they are first
// written after a snapshot, so taking one copies only the table of pages: 8 KB
// for a hundred thousand requests.
package core
