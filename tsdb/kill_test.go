package tsdb

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKill kills a real process with SIGKILL while it appends, seals and merges,
// again and again on one directory, and looks for what it had acknowledged.
func TestKill(t *testing.T) {
	if dir := os.Getenv("ASHLAR_TSDB_KILLED"); dir != "" {
		killedProcess(dir)
		return
	}
	rounds := 6
	if full {
		rounds = 250
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	rnd := rand.New(rand.NewPCG(4, 4))
	acked := int64(0)
	for round := range rounds {
		cmd := exec.Command(exe, "-test.run=^TestKill$", "-test.v")
		cmd.Env = append(os.Environ(), "ASHLAR_TSDB_KILLED="+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		stop := 1 + rnd.IntN(60)
		begin := acked
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if n, ok := strings.CutPrefix(lines.Text(), "acked "); ok {
				acked, err = strconv.ParseInt(n, 10, 64)
				require.NoError(t, err)
				if stop--; stop == 0 {
					require.NoError(t, cmd.Process.Kill())
				}
			}
		}
		_ = cmd.Wait()
		require.Greater(t, acked, begin, "the process made progress")
		db, err := Open(dir, &Options{Manual: true, ChunkRange: time.Minute, Now: killClock})
		require.NoError(t, err)
		require.Empty(t, db.OpenReport().Damage)
		got := read(t, db, All)
		for id, c := range got {
			for i := range c.t { // sample n of every series has value n
				require.Equal(t, float64((c.t[i]-start)/250), c.v[i], id)
				require.True(t, i == 0 || c.t[i] == c.t[i-1]+250, "a gap before %d", c.t[i])
			}
			require.GreaterOrEqual(t, int64(len(c.t)), acked, "round %d: acknowledged samples are missing", round)
		}
		require.Len(t, got, 5)
		require.NoError(t, db.Close())
	}
	t.Logf("%d kills, %d batches acknowledged", rounds, acked)
}

func killClock() time.Time { return at(start + 24*3600_000) }

func killedProcess(dir string) {
	ctx := context.Background()
	db, err := Open(dir, &Options{ChunkRange: time.Minute, HeadBytes: 16 << 10, Now: killClock})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	n := int64(0) // where the last life stopped
	for s := range db.Query(ctx, All) {
		m := int64(0)
		for b := range s.Blocks() {
			m += int64(len(b.T))
		}
		n = max(n, m)
	}
	for ; ; n++ {
		var b Batch
		for i := range 5 {
			ref, err := db.Series(fmt.Sprint("s", i%2), Pairs("id", fmt.Sprint(i)))
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			b.Refs, b.T, b.V = append(b.Refs, ref), append(b.T, start+n*250), append(b.V, float64(n))
		}
		if _, err := db.Append(ctx, b); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("acked", n+1)
	}
}
