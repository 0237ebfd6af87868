package replica

import "io"

// A Machine is the state that is replicated. The node calls Apply, Snapshot
// and Restore from one goroutine, never two at a time; a machine that is also
// read by others guards itself.
type Machine interface {
	// Apply executes the commands in order and puts the answer to batch[i] in
	// answers[i], for the caller of [Node.Apply] on the leader; elsewhere the
	// answers are dropped. It must be deterministic. The commands' bytes must
	// not be kept or changed. A [Halt] as an answer stops the node.
	Apply(batch []Command, answers []any)

	// Snapshot fixes the present state. It should take constant time: no
	// command is applied meanwhile.
	Snapshot() (Snapshot, error)

	// Restore replaces the state by a snapshot's. On an error the node stops.
	Restore(r io.Reader) error

	// Digest returns a hash of the state, the same on every replica after the
	// same commands, or 0 to opt out of audits. It is called between batches
	// and should take constant time.
	Digest() uint64
}

// A Halt is a machine's answer to a command that it cannot execute though others
// may: one written by a later version, in a cluster that is being upgraded. To
// refuse it and go on would make this replica differ from those that understand
// it. The node stops instead, with Err in [Node.Err]; started anew with a version
// that understands the command, it continues where it was.
type Halt struct{ Err error }

// A Command is one command as the machine sees it.
type Command struct {
	// Index is the position of the entry in the replicated log and Term the
	// term in which it was appended. One entry carries up to 1,024 commands,
	// all with its index, in the order of the slice.
	Index, Term uint64

	// Data is what was given to [Node.Apply].
	Data []byte
}

// A Snapshot is a state on its way to disk or to another member.
type Snapshot interface {
	// WriteTo writes the state as it was when the snapshot was taken, while
	// further commands are applied.
	WriteTo(w io.Writer) (int64, error)

	// Release is called once, when the snapshot is no longer needed.
	Release()
}
