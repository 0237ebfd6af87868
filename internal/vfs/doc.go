// Package vfs is the small file system that Ashlar's storage stands on: the
// real one, and one in memory that can lose power.
//
// [FS] and [File] hold exactly the calls a crash-safe store needs, with the
// two that decide durability spelled out: [File.Datasync] for the content and
// size of a file, [FS.SyncDir] for the names in a directory. [OS] passes them
// to the operating system. [Sim] records every change instead, and
// [Sim.Crash] answers with a file system as a power cut could have left it:
//
//	sim := vfs.NewSim()
//	sim.CutAt(17)                 // the 17th call fails, and all after it
//	run(sim)                      // the code under test
//	after := sim.Crash(seed)      // one possible disk, chosen by the seed
//	check(after)                  // must open, must hold what was synced
//
// # What the simulated power cut may do
//
// Data. A file is a row of sectors of 512 bytes. Since the last successful
// sync of the file each sector has passed through some states; after the cut
// it holds any one of them, independently of every other sector. So a write
// may be kept, lost or torn at a sector boundary, and a later write may be
// kept while an earlier one is lost, but the bytes of one sector never mix.
// The size is one of the sizes since the last sync; bytes that no kept write
// covers are zero.
//
// Names. Create, rename, link and remove are lost or kept one by one until
// [FS.SyncDir] of their directory, with one rule: an operation is kept only
// when every earlier one that touches one of its names is kept. A rename is
// atomic. Syncing a file does not keep its name (POSIX promises no more,
// though ext4 does more). [FS.MkdirAll] is durable when it returns, here as
// in [OS].
//
// Errors. A call that a hook makes fail has no effect, but for [ShortWrite].
// A failed sync does what Linux does: the pages count as clean although they
// may not be on the disk, so a later sync that succeeds does not save them,
// while reads go on showing them (the "fsyncgate" of 2018).
//
// It does not do: bytes mixed within a sector, damage to data that was synced
// (see [Sim.Flip] for that), stale content of other files in unwritten space.
//
// # References
//
// Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014), for
// what file systems keep and reorder; Rebello et al., "Can Applications
// Recover from fsync Failures?" (USENIX ATC 2020), for failed syncs.
package vfs
