//go:build linux

package node_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/replica"
)

// A wire is servers in network namespaces of their own, on a bridge in a hub
// namespace in which the test itself runs.
type wireNet struct {
	t    *testing.T
	name string
	n    int
}

func (w *wireNet) ns(i int) string   { return fmt.Sprintf("%s-%d", w.name, i) }
func (w *wireNet) host(i int) string { return fmt.Sprintf("10.77.0.%d", i+1) }

// ip runs one command of iproute2.
func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// build makes the namespaces and their wires.
func (w *wireNet) build() error {
	hub := w.name + "-hub"
	cmds := []string{
		"netns add " + hub,
		"-n " + hub + " link set lo up",
		"-n " + hub + " link add br0 type bridge",
		"-n " + hub + " addr add 10.77.0.254/24 dev br0",
		"-n " + hub + " link set br0 up",
	}
	for i := range w.n {
		cmds = append(cmds,
			"netns add "+w.ns(i),
			fmt.Sprintf("-n %s link add eth0 type veth peer name port%d netns %s", w.ns(i), i, hub),
			fmt.Sprintf("-n %s link set port%d master br0", hub, i),
			fmt.Sprintf("-n %s link set port%d up", hub, i),
			"-n "+w.ns(i)+" link set lo up",
			fmt.Sprintf("-n %s addr add %s/24 dev eth0", w.ns(i), w.host(i)),
			"-n "+w.ns(i)+" link set eth0 up",
		)
	}
	for _, c := range cmds {
		if err := ip(strings.Fields(c)...); err != nil {
			return err
		}
	}
	return nil
}

func (w *wireNet) destroy() {
	for i := range w.n {
		ip("netns", "del", w.ns(i)) //nolint:errcheck // it may not have come to be
	}
	ip("netns", "del", w.name+"-hub") //nolint:errcheck // the same
}

// link takes a server's wire down or up.
func (w *wireNet) link(i int, state string) {
	require.NoError(w.t, ip("link", "set", fmt.Sprint("port", i), state))
}

// drop has server i send nothing to server j any more; allow undoes it.
func (w *wireNet) drop(i, j int) {
	require.NoError(w.t, ip("-n", w.ns(i), "route", "add", "blackhole", w.host(j)))
}

func (w *wireNet) allow(i, j int) {
	require.NoError(w.t, ip("-n", w.ns(i), "route", "del", "blackhole", w.host(j)))
}

// TestNetwork (V6) runs real servers in network namespaces, under load, and
// breaks the network between them: the leader alone, the leader heard but deaf
// or the reverse, two that cannot talk to each other but both to the third, and
// wires that flap. What clients see stays linearizable, and the store never
// accepts a stale write. ASHLAR_NETWORK sets the number of breaks, 4 by default.
// It needs root and iproute2.
func TestNetwork(t *testing.T) {
	const inner = "ASHLAR_TEST_NETNS"
	if name := os.Getenv(inner); name != "" {
		networkBreaks(t, &wireNet{t, name, 3})
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("network namespaces need the command ip, of iproute2")
	}
	w := &wireNet{t, fmt.Sprint("ashlar", os.Getpid()), 3}
	defer w.destroy()
	if err := w.build(); err != nil {
		t.Skipf("this kernel makes no network namespaces with bridges: %v", err)
	}
	// This very test again, inside the hub.
	cmd := exec.Command("ip", "netns", "exec", w.name+"-hub", os.Args[0], "-test.run", "^TestNetwork$", "-test.v", "-test.timeout", "3h")
	cmd.Env = append(os.Environ(), inner+"="+w.name)
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "_test.go") || err != nil {
			t.Log(strings.TrimSpace(line))
		}
	}
	require.NoError(t, err)
}

func networkBreaks(t *testing.T, w *wireNet) {
	total := rounds(t, "ASHLAR_NETWORK", 4)
	j := openJournal(t, "network")
	for len(j.done) < total {
		f := &fleet{t: t, heartbeat: 300 * time.Millisecond, dir: t.TempDir(), procs: make([]*process, w.n)}
		for i := range w.n {
			f.members = append(f.members, replica.Member{ID: fmt.Sprint("n", i), Address: net.JoinHostPort(w.host(i), "7000")})
		}
		f.wrap = func(i int) []string { return []string{"ip", "netns", "exec", w.ns(i)} }
		for i := range w.n {
			f.start(i)
		}
		l := startLoad(t, f, 16, 4, 3*time.Second)
		var batch []map[string]float64
		for range min(20, total-len(j.done)) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			l.nextGrant(t, time.Now(), 30*time.Second)
			x := f.leader(ctx)
			cancel()
			y, z := (x+1)%3, (x+2)%3
			kind := rand.IntN(5)
			before := l.grants.Load()
			hold := 200*time.Millisecond + time.Duration(rand.IntN(2800))*time.Millisecond
			switch kind {
			case 0: // the leader alone
				w.link(x, "down")
				time.Sleep(hold) // how long the network is broken is what is tried here
				w.link(x, "up")
			case 1: // its messages to the others are lost
				w.drop(x, y)
				w.drop(x, z)
				time.Sleep(hold)
				w.allow(x, y)
				w.allow(x, z)
			case 2: // the others' messages to it are lost
				w.drop(y, x)
				w.drop(z, x)
				time.Sleep(hold)
				w.allow(y, x)
				w.allow(z, x)
			case 3: // a bridge: the leader and y know only z
				w.drop(x, y)
				w.drop(y, x)
				time.Sleep(hold)
				w.allow(x, y)
				w.allow(y, x)
			case 4: // flapping
				for range 4 {
					w.link(x, "down")
					time.Sleep(time.Duration(100+rand.IntN(400)) * time.Millisecond)
					w.link(x, "up")
					time.Sleep(time.Duration(100+rand.IntN(200)) * time.Millisecond)
				}
			}
			mended := time.Now()
			gap := l.nextGrant(t, mended, 30*time.Second).Sub(mended)
			batch = append(batch, map[string]float64{"kind": float64(kind), "gap_ms": float64(gap.Milliseconds()), "grants": float64(l.grants.Load() - before)})
		}
		l.finish(t)
		j.addAll(t, batch, l)
		f.kill()
	}
	t.Logf("%d breaks of the network: %.0f grants, %.0f leases lost, %.0f stale writes refused, 0 accepted; grants go on within %.0f ms of the mending at the latest",
		len(j.done), j.sum("acquired"), j.sum("lost"), j.sum("refused"), j.quantile("gap_ms", 1))
}
