package replica

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

var errLater = errors.New("a command of a later version")

// oldMachine does not know the command "new".
type oldMachine struct{ journal }

func (m *oldMachine) Apply(batch []Command, answers []any) {
	for i, c := range batch {
		if string(c.Data) == "new" {
			answers[i] = Halt{errLater}
			return
		}
		m.journal.Apply(batch[i:i+1], answers[i:i+1])
	}
}

// A node stops at a command that its machine does not understand, reports nothing
// of it as done, and after an upgrade goes on where it was.
func TestHalt(t *testing.T) {
	dir := t.TempDir()
	ctx := background(t)
	open := func(m Machine) *Node {
		n, err := Open(dir, m, &Options{ID: "a", Listen: "127.0.0.1:0", Bootstrap: []Member{{ID: "a", Address: "127.0.0.1:1"}}, Advertise: "127.0.0.1:1"})
		require.NoError(t, err)
		t.Cleanup(func() { n.Close() })
		return n
	}
	ready := func(n *Node) { eventually(t, "it leads", func() bool { _, err := n.Confirm(ctx); return err == nil }) }
	n := open(&oldMachine{})
	ready(n)
	_, err := n.Apply(ctx, []byte("old"))
	require.NoError(t, err)
	_, err = n.Apply(ctx, []byte("new"))
	require.ErrorIs(t, err, ErrUnknown)
	<-n.Done()
	require.ErrorIs(t, n.Err(), errLater)

	n = open(&oldMachine{}) // the same version again: it gets no further
	<-n.Done()
	require.ErrorIs(t, n.Err(), errLater)

	m := &journal{}
	n = open(m)
	ready(n)
	require.NoError(t, n.Read(ctx))
	require.Equal(t, []string{"old", "new"}, m.all())
}
