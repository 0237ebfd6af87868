package replica

import "testing"

// TestUnservedTurnEnds: who waits for an elected node to become ready is woken
// when it loses its leadership before that; it would wait for its deadline.
func TestUnservedTurnEnds(t *testing.T) {
	n := &Node{turns: make(chan struct{})}
	waits := n.turns
	n.setServing(0) // as at the end of each leadership
	select {
	case <-waits:
	default:
		t.Fatal("nobody is told")
	}
}
