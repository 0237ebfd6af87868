package replica

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestJoinWithoutMemory: a voter that has lost its disk does not know any more
// what it has voted for and acknowledged. It must not take its old place.
func TestJoinWithoutMemory(t *testing.T) {
	c := newCluster(t, 2, Options{})
	ctx := background(t)
	c.leader()
	ln := listen(t)
	o := Options{
		ID: "later", Listener: ln, HeartbeatTimeout: c.opts.HeartbeatTimeout,
		Join: []string{c.nodes[0].Address(), c.nodes[1].Address()},
	}
	n, err := Open(filepath.Join(t.TempDir(), "n"), &journal{}, &o)
	require.NoError(t, err)
	eventually(t, "it votes", func() bool {
		ms, err := c.nodes[0].Members()
		return err == nil && len(ms) == 3 && ms[2].Voter
	})
	// To ask for it from elsewhere is harmless.
	require.NoError(t, c.leader().Join(ctx, Member{ID: "later", Address: n.Address()}))
	o.Listen, o.Listener = n.Address(), nil
	require.NoError(t, n.Close())
	c.leader()

	n, err = Open(filepath.Join(t.TempDir(), "empty"), &journal{}, &o)
	if err == nil {
		n.Close()
	}
	require.ErrorContains(t, err, "remove it first")

	require.NoError(t, c.leader().Leave(ctx, "later"))
	n, err = Open(filepath.Join(t.TempDir(), "new"), &journal{}, &o)
	require.NoError(t, err)
	require.NoError(t, n.Close())
}
