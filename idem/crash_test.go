package idem_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ashlar-go/ashlar/idem"
)

// TestMain is also the process that is killed: see TestKill.
func TestMain(m *testing.M) {
	if dir := os.Getenv("IDEM_TEST_WORKER"); dir != "" {
		worker(dir)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// worker does work under keys 0, 1, 2, … from where it finds them, several at the
// same time, until it is killed, and says what is acknowledged to it. Even keys are
// done in one transaction with their completion, odd ones are not.
func worker(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	db, err := bbolt.Open(filepath.Join(dir, "db"), 0o600, &bbolt.Options{Timeout: 10 * time.Second})
	fail(err)
	b, err := idem.OpenBolt(db, nil)
	fail(err)
	s, err := idem.New(b, &idem.Options{Lease: time.Millisecond, Sole: true, Expect: 1000})
	fail(err)
	// What the one before left unfinished goes first.
	old, err := s.Unfinished(ctx, 1000)
	fail(err)
	keys := make(chan string)
	go func() {
		for _, rec := range old {
			keys <- rec.Key
		}
		for i := 0; ; i++ {
			keys <- fmt.Sprint(i)
		}
	}()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for key := range keys {
				a, err := s.Wait(ctx, key, nil)
				fail(err)
				if _, done := a.Result(); done {
					continue
				}
				fmt.Println("begun", key, a.Token())
				count := func(tx *bbolt.Tx) error {
					bucket, err := tx.CreateBucketIfNotExists([]byte("work"))
					if err != nil {
						return err
					}
					n := make([]byte, 8)
					copy(n, bucket.Get([]byte(key)))
					return bucket.Put([]byte(key), binary.LittleEndian.AppendUint64(nil, binary.LittleEndian.Uint64(n)+1))
				}
				result := []byte("result of " + key)
				if strings.HasSuffix(key, "0") || strings.HasSuffix(key, "2") || strings.HasSuffix(key, "4") {
					fail(db.Update(func(tx *bbolt.Tx) error {
						if err := count(tx); err != nil {
							return err
						}
						return b.Complete(tx, a, result)
					}))
				} else {
					fail(db.Update(count))
					fail(a.Complete(ctx, result))
				}
				fmt.Println("completed", key)
			}
		})
	}
	wg.Wait()
}

// A process is killed again and again in the middle of its work. What it was told
// is there afterwards; what it began is not done a second time without anybody
// knowing; and work in one transaction with its completion is done exactly once.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	begun, completed := map[string]int{}, map[string]bool{}
	kills := 6
	for range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "IDEM_TEST_WORKER="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, stop := bufio.NewScanner(out), 20+rng.IntN(100)
		for n := 0; lines.Scan(); n++ {
			f := strings.Fields(lines.Text())
			switch f[0] {
			case "begun":
				begun[f[1]]++
			case "completed":
				completed[f[1]] = true
			default:
				t.Fatal(lines.Text())
			}
			if n == stop {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
	}
	db := openDB(t, filepath.Join(dir, "db"))
	b, err := idem.OpenBolt(db, nil)
	if err != nil {
		t.Fatal(err)
	}
	twice := 0
	for key := range begun {
		rec, err := b.Get(ctx, key)
		if err != nil {
			t.Fatalf("%s was begun, and then: %v", key, err)
		}
		if completed[key] && (rec.State != idem.Completed || string(rec.Result) != "result of "+key) {
			t.Fatalf("%s was completed, and then: %+v", key, rec)
		}
		var done uint64
		_ = db.View(func(tx *bbolt.Tx) error {
			if v := tx.Bucket([]byte("work")).Get([]byte(key)); v != nil {
				done = binary.LittleEndian.Uint64(v)
			}
			return nil
		})
		if last := key[len(key)-1]; last == '0' || last == '2' || last == '4' {
			if want := uint64(0); rec.State == idem.Completed {
				if want = 1; done != want {
					t.Fatalf("%s is done %d times", key, done)
				}
			} else if done != want {
				t.Fatalf("%s is done %d times and %v", key, done, rec.State)
			}
			continue
		}
		if done > 1 {
			twice++
		}
		if done > rec.Token {
			t.Fatalf("%s is done %d times in %d attempts", key, done, rec.Token)
		}
	}
	if len(completed) < kills {
		t.Fatalf("only %d are completed", len(completed))
	}
	t.Logf("%d kills: %d begun, %d completed, %d done twice for want of a transaction", kills, len(begun), len(completed), twice)
}
