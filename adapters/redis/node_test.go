package redis_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/ashlar-go/ashlar/adapters/redis"
	viagoredis "github.com/ashlar-go/ashlar/adapters/redis/goredis"
	. "github.com/ashlar-go/ashlar/ratelimit"
)

// A nodeTask is what a node, a process of its own, is to do. It writes down each admission
// with a system call, so that none is lost when it is killed.
type nodeTask struct {
	Addr     string
	File     string // of admissions
	Seed     uint64
	Requests int // by each of its goroutines
	Keys     uint64
	Mode     redis.Mode
	Rate     Rate
	Burst    int
	Pending  int
}

// A nodeReport is what is there of it afterwards.
type nodeReport struct {
	Decisions int
	Failures  int
	Near      redis.NearStats
}

const (
	nodeGoroutines = 64
	noteSize       = 20 // key, and from when to when it was decided on
)

// node runs a task. It begins when a line comes in.
func node(task string) {
	if err := runNode(task); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

func runNode(text string) error {
	var task nodeTask
	if err := json.Unmarshal([]byte(text), &task); err != nil {
		return err
	}
	c := goredis.NewClient(&goredis.Options{Addr: task.Addr, DisableIdentity: true})
	defer func() { _ = c.Close() }()
	l, err := redis.New(viagoredis.New(c), GCRA{Rate: task.Rate, Burst: task.Burst}, &redis.Options{Flights: 1})
	if err != nil {
		return err
	}
	near, err := redis.NewNear(l, &redis.NearOptions{Mode: task.Mode, Lease: 10 * time.Second, MaxPending: task.Pending})
	if err != nil {
		return err
	}
	notes, err := os.OpenFile(task.File, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = notes.Close() }()
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		return err
	}
	var report nodeReport
	var failures, decisions atomic.Int64
	var wg sync.WaitGroup
	for g := range nodeGoroutines {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(task.Seed, uint64(g)))
			zipf := rand.NewZipf(rng, 1.1, 1, task.Keys-1)
			note := make([]byte, 0, noteSize)
			for range task.Requests {
				key := zipf.Uint64()
				from := time.Now().UnixNano()
				d, err := near.Check(ctx, "user:"+strconv.FormatUint(key, 10), 1)
				if decisions.Add(1); err != nil {
					failures.Add(1)
				} else if d.OK {
					note = binary.LittleEndian.AppendUint32(note[:0], uint32(key))
					note = binary.LittleEndian.AppendUint64(note, uint64(from))
					note = binary.LittleEndian.AppendUint64(note, uint64(time.Now().UnixNano()))
					if _, err := notes.Write(note); err != nil {
						panic(err)
					}
				}
			}
		})
	}
	wg.Wait()
	// The network may lose the last answer: then this node is one more that died without
	// telling, which the bound allows for.
	if err := near.Close(); err != nil && !errors.Is(err, redis.ErrTimeout) {
		return err
	}
	report.Decisions, report.Failures, report.Near = int(decisions.Load()), int(failures.Load()), near.Stats()
	return json.NewEncoder(os.Stdout).Encode(report)
}

// Four processes share limits through a network that is slow, loses answers and breaks; one
// is killed on its way. No key gets more than its policy's bound in any window, and Redis
// is asked far less often than requests come.
func TestKilledNode(t *testing.T) {
	for mode, goal := range map[redis.Mode]int{redis.Lease: 50, redis.WriteBack: 10} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			s := start(t)
			const nodes = 4
			task := nodeTask{
				Requests: 1000, Keys: 1000, Mode: mode,
				Rate: Per(1000, time.Second), Burst: 1000, Pending: 32,
			}
			if full {
				task.Requests *= 10
			}
			dir := t.TempDir()
			p := newProxy(t, s.addr)
			p.delay.Store(int64(2 * time.Millisecond))
			p.lose.Store(100)
			var cmds []*exec.Cmd
			var outs []*json.Decoder
			var begin []func()
			for i := range nodes {
				task.Addr, task.File, task.Seed = p.addr, fmt.Sprint(dir, "/", i), uint64(i)
				text, err := json.Marshal(task)
				if err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), "ASHLAR_REDIS_NODE="+string(text), "GOMAXPROCS=2")
				cmd.Stderr = os.Stderr
				in, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
				cmds, outs = append(cmds, cmd), append(outs, json.NewDecoder(out))
				begin = append(begin, func() { _, _ = in.Write([]byte("\n")) })
			}
			for _, f := range begin {
				f()
			}
			eventually(t, func() bool {
				info, err := os.Stat(fmt.Sprint(dir, "/3"))
				return err == nil && info.Size() > 2000*noteSize
			})
			if err := cmds[3].Process.Kill(); err != nil {
				t.Fatal(err)
			}
			p.cut()
			var total nodeReport
			for _, out := range outs[:3] {
				var r nodeReport
				if err := out.Decode(&r); err != nil {
					t.Fatal(err)
				}
				total.Decisions += r.Decisions
				total.Failures += r.Failures
				total.Near.Calls += r.Near.Calls
				total.Near.Far += r.Near.Far
				total.Near.Refused += r.Near.Refused
			}
			type pass struct{ from, to int64 }
			passes := map[uint32][]pass{}
			all := 0
			for i := range nodes {
				b, err := os.ReadFile(fmt.Sprint(dir, "/", i))
				if err != nil {
					t.Fatal(err)
				}
				for ; len(b) >= noteSize; b = b[noteSize:] {
					key := binary.LittleEndian.Uint32(b)
					passes[key] = append(passes[key], pass{int64(binary.LittleEndian.Uint64(b[4:])), int64(binary.LittleEndian.Uint64(b[12:]))})
					all++
				}
			}
			bound := task.Burst
			if mode == redis.WriteBack {
				bound += (nodes + 1) * task.Pending
			}
			most, over := 0, 0
			for key, list := range passes {
				if len(list) <= task.Burst {
					continue
				}
				slices.SortFunc(list, func(a, b pass) int { return int(a.to - b.to) })
				// Those that surely passed within a window, from each 16th on.
				for i := 0; i < len(list); i += 16 {
					n := 0
					for _, p := range list[i:] {
						if p.from < list[i].from {
							continue
						}
						n++
						extra := n - bound - int((p.to-list[i].from)*int64(task.Rate.Count)/int64(task.Rate.Period))
						over = max(over, extra)
					}
				}
				if extra := over; extra > 0 {
					t.Errorf("key %d: %d too many", key, extra)
				}
				most = max(most, len(list))
			}
			calls := evals(t, s)
			t.Logf("%d decisions by three nodes, %d pass with the fourth's, %d of one key; %d refused; %d questions in %d scripts; %d failures, %d answers lost",
				total.Decisions, all, most, total.Near.Refused, total.Near.Far, calls, total.Failures, p.lost.Load())
			if total.Decisions/calls < goal {
				t.Errorf("%d scripts for %d decisions, want a %dth at most", calls, total.Decisions, goal)
			}
			if most < task.Burst || p.lost.Load() == 0 {
				t.Errorf("nothing was at stake: at most %d pass with a key, %d answers lost", most, p.lost.Load())
			}
		})
	}
}

// evals returns how many scripts a server has run.
func evals(t testing.TB, s *server) int {
	t.Helper()
	info, err := raw(t, s.addr).Info(ctx, "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range regexp.MustCompile(`cmdstat_eval(?:sha)?:calls=(\d+)`).FindAllStringSubmatch(info, -1) {
		calls, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		n += calls
	}
	if n == 0 {
		t.Fatal("no scripts")
	}
	return n
}
