package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/stream"
	"github.com/ashlar-go/ashlar/stream/flow"
)

// The program starts itself again as the process that is killed; this variable
// tells it so.
const roleVariable = "ASHLAR_EXAMPLE_METRICS_ROLE"

const (
	brokerMemory = "memory" // forgets with the process
	brokerDisk   = "disk"   // a log in a directory
)

// live are the jobs that run while lines come in. The visits are a consumer that
// comes later.
var live = []string{jobTumbling, jobHopping, jobSliding}

// play is the life of such a process: a collector with its jobs, over HTTP.
func play(role string) int {
	if err := playBroker(role, os.Getenv("DIR"), os.Getenv("N")); err != nil {
		fmt.Fprintln(os.Stderr, "broker:", err)
		return 1
	}
	return 0
}

func playBroker(role, dir, size string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b := &broker{}
	if role == brokerMemory {
		out, err := stream.OpenLocal(dir, nil)
		if err != nil {
			return err
		}
		b.log = forgetful{stream.NewMem(), out}
	} else if b.log, err = openLog(ctx, os.Getenv("LOG"), dir); err != nil {
		return err
	}
	defer b.log.Close()
	users, _ := populate(n)
	if err := b.start(ctx, users.changes); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	server := &http.Server{Handler: b.handler(ctx)}
	go func() { // the parent holds our standard input open: when it ends, so do we
		_, _ = io.Copy(io.Discard, os.Stdin)
		server.Close()
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return b.stop()
}

// A broker is the log with the collector in front and the jobs behind.
type broker struct {
	log   stream.Transactor
	users *flow.Table
	now   func() time.Time // nil: the story's clock

	mu      sync.Mutex // over what follows
	collect *collector
	failure error // of the first job that failed

	cancel context.CancelFunc // ends the jobs
	jobs   sync.WaitGroup
}

// start begins where the log's last broker stopped, however it ended.
func (b *broker) start(ctx context.Context, changes []change) (err error) {
	err = patiently(ctx, func(ctx context.Context) error {
		if b.collect, err = newCollector(ctx, b.log); err != nil {
			return err
		}
		if err := publish(ctx, b.log, changes); err != nil {
			return err
		}
		b.users, err = loadUsers(ctx, b.log)
		return err
	})
	if err != nil {
		return err
	}
	ctx, b.cancel = context.WithCancel(ctx)
	for _, name := range live {
		j, err := newJob(b.log, name, b.users)
		if err != nil {
			return err
		}
		if b.now != nil {
			j.Now = b.now
		}
		b.jobs.Go(func() {
			if err := patiently(ctx, j.Run); err != nil && ctx.Err() == nil {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.failure = errors.Join(b.failure, err)
			}
		})
	}
	return nil
}

// take takes in a batch of lines.
func (b *broker) take(ctx context.Context, number int, lines []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.collect.take(ctx, number, lines)
}

// taken returns what was taken in.
func (b *broker) taken() taken {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.collect.counts
	t.Reasons = maps.Clone(t.Reasons)
	return t
}

// failed returns why a job has ended, or nil.
func (b *broker) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failure
}

// stop ends the jobs. What they have not done they would do after the next start.
func (b *broker) stop() error {
	b.cancel()
	b.jobs.Wait()
	return b.failed()
}

// finish fires all windows, since no more lines will come, and returns how many
// events a consumer would find that starts now, at the beginning.
func (b *broker) finish(ctx context.Context) (found int, err error) {
	if err := b.stop(); err != nil {
		return 0, err
	}
	if err := runToEnd(ctx, b.log, b.users, live...); err != nil {
		return 0, err
	}
	err = everywhere(ctx, b.log, topicEvents, func(int, *stream.Record) error { found++; return nil })
	return found, err
}

// runToEnd lets jobs work on all that is there, and fire their last windows.
func runToEnd(ctx context.Context, l stream.Transactor, users *flow.Table, jobs ...string) error {
	for _, name := range jobs {
		j, err := newJob(l, name, users)
		if err != nil {
			return err
		}
		if err := patiently(ctx, j.RunToEnd); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// patiently does something again if the log did not answer in time, a few times:
// one on other machines may not until the transaction of a killed process is over.
// A job goes on where it was.
func patiently(ctx context.Context, f func(context.Context) error) (err error) {
	for range 5 {
		if err = f(ctx); !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// A forgetful log is in memory, but for the windows: what jobs put out goes to the
// disk before it counts as committed. That is the naive variant at its best: a
// window that has fired is safe.
type forgetful struct {
	*stream.Mem
	out *stream.Local
}

// Transact implements [stream.Transactor].
func (f forgetful) Transact(ctx context.Context, tx *stream.Tx) ([]int64, error) {
	for _, a := range tx.Appends {
		switch job := strings.TrimSuffix(a.Partition.Topic, ".side"); job {
		case jobTumbling, jobHopping, jobSliding:
			if err := f.out.CreateTopic(ctx, a.Partition.Topic, &stream.TopicOptions{Partitions: partitions}); err != nil {
				return nil, err
			}
			if _, err := f.out.Append(ctx, a.Partition, a.Records); err != nil {
				return nil, err
			}
		}
	}
	return f.Mem.Transact(ctx, tx)
}

// Close implements [stream.Log].
func (f forgetful) Close() error { return errors.Join(f.Mem.Close(), f.out.Close()) }

func (b *broker) handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(v) // the client may be gone
	}
	// The answer is an acknowledgement: the batch is in the log.
	mux.HandleFunc("POST /lines", func(w http.ResponseWriter, r *http.Request) {
		number, err := strconv.Atoi(r.URL.Query().Get("batch"))
		if err == nil {
			var body []byte
			if body, err = io.ReadAll(r.Body); err == nil {
				err = b.take(ctx, number, strings.Split(string(body), "\n"))
			}
		}
		answer(w, number, err)
	})
	// No more lines will come: the jobs finish. Whoever comes now finds what the
	// log still has.
	mux.HandleFunc("POST /finish", func(w http.ResponseWriter, _ *http.Request) {
		n, err := b.finish(ctx)
		answer(w, n, err)
	})
	return mux
}

// A process is the child that the story kills.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	url   string
}

func startBroker(role, dir, logURL string, n int) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleVariable+"="+role, "DIR="+dir, "LOG="+logURL, fmt.Sprint("N=", n))
	cmd.Stderr = os.Stderr
	p := &process{cmd: cmd}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("the child process did not start: %w", err)
	}
	p.url = "http://" + strings.TrimSpace(address)
	return p, nil
}

// kill ends the process with SIGKILL: it can close and flush nothing.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	_ = p.cmd.Wait()
	p.stdin.Close()
}

// close lets the process end by itself.
func (p *process) close() error {
	p.stdin.Close()
	return p.cmd.Wait()
}

func (p *process) post(ctx context.Context, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", p.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, bytes.TrimSpace(answer))
	}
	return answer, err
}

// A crash is the report of a run in which the broker was killed.
type crash struct {
	acknowledged int           // lines
	kills        int           // of the process
	again        time.Duration // the longest time from a kill to a broker that is up again
	replayable   int           // events that a consumer finds that comes afterwards
}

// survive sends all batches to a broker that is killed now and then.
func survive(ctx context.Context, role, dir, logURL string, n int, all [][]string) (c crash, err error) {
	p, err := startBroker(role, dir, logURL, n)
	if err != nil {
		return c, err
	}
	defer func() { p.kill() }()
	for i, lines := range all {
		body := []byte(strings.Join(lines, "\n"))
		for try := 1; ; try++ { // a client that got no acknowledgement sends again
			if _, err = p.post(ctx, "/lines?batch="+strconv.Itoa(i), body); err == nil {
				break
			}
			if try == 3 || ctx.Err() != nil {
				return c, err
			}
		}
		c.acknowledged += len(lines)
		switch i {
		case len(all) / 4, len(all) / 2, len(all) * 3 / 4:
			killed := time.Now()
			p.kill()
			c.kills++
			if p, err = startBroker(role, dir, logURL, n); err != nil {
				return c, err
			}
			c.again = max(c.again, time.Since(killed))
			if role == brokerMemory {
				continue // the client has its answer: it has no reason to send again
			}
			// As if the answer had been lost with the process: it sends again.
			if _, err := p.post(ctx, "/lines?batch="+strconv.Itoa(i), body); err != nil {
				return c, err
			}
		}
	}
	answer, err := p.post(ctx, "/finish", nil)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(answer, &c.replayable); err != nil {
		return c, err
	}
	return c, p.close()
}
