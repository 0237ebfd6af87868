package kafka

import (
	"fmt"
	"hash/crc32"

	"github.com/ashlar-go/ashlar/stream"
)

// A note is what stands in the metadata of a committed offset, which Kafka keeps
// as a string beside it:
//
//	ashlar1 epoch=7 next=42 by=0123456789abcdef crc=89abcdef
//
// Next repeats the offset, but is -1 where only the epoch was set: the cluster
// then has offset 0. By is random for each transaction; whoever lost the answer
// to a commit finds out by it whether it was done. An offset without a note, or
// whose note tells another offset, was set by a tool: it has epoch 0.
type note struct {
	stream.Offset
	by string
}

const noteFormat = "ashlar1 epoch=%d next=%d by=%s crc="

func (n note) String() string {
	s := fmt.Sprintf(noteFormat, n.Epoch, n.Next, n.by)
	return fmt.Sprintf("%s%08x", s, crc32.Checksum([]byte(s), castagnoli))
}

// offset is what is committed in Kafka's own field.
func (n note) offset() int64 { return max(n.Next, 0) }

// readNote returns what was committed by offset and metadata. An error means that
// the metadata is a note, and damaged.
func readNote(offset int64, metadata string) (note, error) {
	foreign := note{Offset: stream.Offset{Next: offset}}
	if len(metadata) < 8 || metadata[:8] != "ashlar1 " {
		return foreign, nil
	}
	var n note
	var sum uint32
	_, err := fmt.Sscanf(metadata, noteFormat+"%08x", &n.Epoch, &n.Next, &n.by, &sum)
	if err != nil || n.String() != metadata || n.Epoch < 0 || n.Next < stream.Keep {
		return note{}, fmt.Errorf("%w: note %q of a committed offset", stream.ErrCorrupt, metadata)
	}
	if n.offset() != offset {
		return foreign, nil
	}
	return n, nil
}
