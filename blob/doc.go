// Package blob keeps objects, named runs of bytes, behind the small interface
// that memory, a directory and any S3 server can all honour: whole objects are
// put and deleted, ranges are read, and a put may demand that the key is free
// or that the object is still the one that was read.
//
// [Store] is that interface. [NewMem] makes one for tests and caches,
// [OpenDir] one that survives power cuts. A program written against Store moves
// to S3 without a change: the interface has nothing that S3 lacks, and where S3
// servers differ (odd keys, ranges past the end) it promises only what all can.
// Package blobtest is the suite that every store has to pass.
//
// # Conditional puts
//
// [Store.PutIf] is a compare-and-swap on an object's version, which S3 calls
// ETag. It makes a shared object safe to edit without a lock:
//
//	read object ──► version v1 ──► edit ──► PutIf(v1) ──► stored as v2
//	                                            │
//	                                            └─ ErrConflict: somebody was
//	                                               faster; read again
//
// With [Absent] for the version only the first writer of a key succeeds. A
// version tells contents apart; it has no order, so it does not replace the
// fencing token of package lock: write the token into the object, and refuse
// in the editing step what carries a lower one.
//
// # Keys
//
// A key has 1 to [MaxKey] bytes of UTF-8 without control characters, in
// segments separated by '/'; no segment is empty, "." or "..". So "a/b" and
// "Grüße/1.txt" are keys; "/a", "a//b" and "a/" are none. Keys differ by their
// bytes: "A" and "a" are two keys on every file system. "a" and "a/b" can both
// exist in Mem and Dir; S3 servers that keep objects as plain files refuse it.
//
// # The directory store
//
// Each object is one file. A put writes it under tmp, syncs it, renames it into
// place and syncs the directory, so an object is there whole or not at all, and
// readers see it only once no power cut can take it back. That is two syncs for
// each put: use fewer and larger objects, or [Options].NoSync for what can be
// made again. A file carries a CRC-32C for every 64 KiB, checked on every read:
// damage is [ErrCorrupt], never wrong bytes.
//
// The names of the files are the keys, escaped to lower-case ASCII: keys that
// differ in case only, names that Windows reserves and any Unicode are safe,
// and "ls" is still readable. Objects of one prefix share a directory, so listing
// a prefix costs what it holds and not what the store holds. Listing opens each
// file to tell its version and size.
//
// One process opens a directory at a time. On Windows an object cannot be
// replaced or deleted while somebody reads it there: the put fails and changes
// nothing. The system's limit on the length of a path holds as well (1,024 bytes
// on darwin).
//
// When not to use it: for small values that change often use bbolt; for a log,
// package stream; for files that share much, cut them into chunks (package
// merkle/chunk is planned) and store each under its hash.
//
// # References
//
// Amazon S3 API, PutObject (If-Match, If-None-Match), GetObject (Range),
// ListObjectsV2 (StartAfter, byte order); RFC 9110 §13 on preconditions; Pillai
// et al., "All File Systems Are Not Created Equal" (OSDI 2014), on what a
// rename needs to be durable.
package blob
