package flow

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/stream"
)

const killParts, killEvents = 3, 4000

// nthClick is event i of the source, the same for every process.
func nthClick(i int) (stream.Partition, stream.Record) {
	rng := rand.New(rand.NewPCG(uint64(i), 9))
	at := i/4 - rng.IntN(8)
	if rng.IntN(20) == 0 {
		at -= rng.IntN(100)
	}
	r := click(fmt.Sprint("user", rng.IntN(10)), at, i)
	if rng.IntN(50) == 0 {
		r.Value = nil // cannot be decoded
	}
	return stream.Partition{Topic: "clicks", Number: stream.PartitionOf(r.Key, killParts)}, r
}

// appended returns how many events the source has.
func appended(l stream.Log) (n int, err error) {
	for p := range killParts {
		_, next, err := l.Bounds(ctx, stream.Partition{Topic: "clicks", Number: p})
		if err != nil {
			return 0, err
		}
		n += int(next)
	}
	return n, nil
}

// victim appends the events that are missing, one after the other, while its job
// works on what is there, in transactions of one record or of many.
func victim(dir string) {
	check := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	l, err := stream.OpenLocal(dir, &stream.Options{SegmentSize: 256 << 10})
	check(err)
	check(l.CreateTopic(ctx, "clicks", &stream.TopicOptions{Partitions: killParts}))
	from, err := appended(l)
	check(err)
	for _, s := range killSpecs() {
		job := testJob(l, s.spec)
		job.Name, job.Sink, job.Batch = s.name, "panes of "+s.name, s.batch
		go func() { check(job.Run(ctx)) }()
	}
	for i := from; i < killEvents; i++ {
		p, r := nthClick(i)
		_, err := l.Append(ctx, p, []stream.Record{r})
		check(err)
		fmt.Println("appended", i)
	}
	fmt.Println("all")
	select {} // until the end comes
}

type killSpec struct {
	name  string
	spec  Spec
	batch int
}

func killSpecs() []killSpec {
	return []killSpec{
		{"tumbling", Tumbling(10 * time.Second), 1},
		{"hopping", Hopping(20*time.Second, 5*time.Second), 100},
		{"session", Session(3 * time.Second), 7},
	}
}

// TestKilledJobs kills a process with jobs in it for real, again and again. In the end
// their panes, their side outputs and the order of both are, byte for byte, those of
// jobs that nothing happened to.
func TestKilledJobs(t *testing.T) {
	if dir := os.Getenv("ASHLAR_FLOW_KILL"); dir != "" {
		victim(dir)
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(5, 6))
	kills, most := 0, scaled(10, 200)
	for all := false; !all; kills++ {
		cmd := exec.Command(exe, "-test.run=^TestKilledJobs$")
		cmd.Env = append(os.Environ(), "ASHLAR_FLOW_KILL="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		limit := 1 + rng.IntN(2*killEvents/most)
		for n := 0; n < limit && lines.Scan(); n++ {
			if all = lines.Text() == "all"; all {
				break
			}
			if !strings.HasPrefix(lines.Text(), "appended ") {
				t.Fatalf("kill %d: %q, %s", kills, lines.Text(), stderr.String())
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it still said
			all = all || lines.Text() == "all"
		}
		_ = cmd.Wait() // killed
	}
	if kills < most/2 {
		t.Fatalf("only %d kills", kills)
	}

	l, err := stream.OpenLocal(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if n, err := appended(l); err != nil || n != killEvents {
		t.Fatalf("%d events, %v", n, err)
	}
	calm := stream.NewMem()
	defer calm.Close()
	if err := calm.CreateTopic(ctx, "clicks", &stream.TopicOptions{Partitions: killParts}); err != nil {
		t.Fatal(err)
	}
	for i := range killEvents {
		p, r := nthClick(i)
		if _, err := calm.Append(ctx, p, []stream.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(content(t, l, "clicks"), content(t, calm, "clicks")) {
		t.Fatal("the source is another")
	}
	for _, s := range killSpecs() {
		for _, l := range []stream.Transactor{l, calm} {
			job := testJob(l, s.spec)
			job.Name, job.Sink, job.Batch = s.name, "panes of "+s.name, s.batch
			end, cancel := context.WithTimeout(ctx, time.Minute)
			err := job.RunToEnd(end)
			cancel()
			if err != nil {
				t.Fatal(s.name, err)
			}
		}
		for _, topic := range []string{"panes of " + s.name, s.name + ".side"} {
			got, want := content(t, l, topic), content(t, calm, topic)
			if len(want) == 0 || !slices.Equal(got, want) {
				t.Errorf("%s: %d records after %d kills, %d without", topic, len(got), kills, len(want))
			}
		}
	}
	t.Logf("%d kills, %d events", kills, killEvents)
}
