package lock_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/ashlar-go/ashlar/lock"
)

// A holder that was paused comes back with the token of an old grant.
func ExampleGuard() {
	ctx := context.Background()
	guard, _ := lock.NewGuard(nil)
	file := "v1"
	write := func(token uint64, text string) {
		err := guard.Do(ctx, "file", token, func() error {
			file = text
			return nil
		})
		fmt.Println(err)
	}
	guard.Check(ctx, "file", 7) // C1 has the lock, reads the file, and is paused
	guard.Check(ctx, "file", 8) // its lease is over: C2 has the lock, and reads the file
	write(7, file+", C1")       // C1 goes on
	write(8, file+", C2")
	fmt.Println(file)
	// Output:
	// lock: stale token: "file": token 7, 8 has been seen
	// <nil>
	// v1, C2
}

// A guarded store behind HTTP refuses a stale write with status 412, and one
// without a token with 428.
func ExampleGuard_Middleware() {
	guard, _ := lock.NewGuard(nil)
	files := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "written") })
	store := guard.Middleware(nil)(files)

	put := func(token string) {
		r := httptest.NewRequest("PUT", "/invoices/42", strings.NewReader("…"))
		if token != "" {
			r.Header.Set(lock.FenceHeader, token) // a client with a *Lock: l.SetFence(r.Header)
		}
		w := httptest.NewRecorder()
		store.ServeHTTP(w, r)
		fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
	}
	put("8")
	put("7")
	put("")
	// Output:
	// 200 written
	// 412 {"error":"lock: stale token: \"/invoices/42\": token 7, 8 has been seen","resource":"/invoices/42","got":7,"max":8}
	// 428 {"error":"lock: invalid argument: no X-Fence-Token header: lock first, and send the token along","resource":"/invoices/42"}
}

// What a guard has seen survives a restart in a FenceLog.
func ExampleOpenFenceLog() {
	dir, _ := os.MkdirTemp("", "fences-")
	defer os.RemoveAll(dir)
	ctx := context.Background()
	for _, token := range []uint64{8, 7} {
		fences, err := lock.OpenFenceLog(dir)
		if err != nil {
			fmt.Println(err)
			return
		}
		guard, _ := lock.NewGuard(&lock.GuardOptions{Store: fences})
		err = guard.Check(ctx, "file", token)
		fmt.Println(token, "stale:", errors.Is(err, lock.ErrStale))
		fences.Close()
	}
	// Output:
	// 8 stale: false
	// 7 stale: true
}

// A store without a disk of its own starts with a floor: it takes the lock for
// serving, whose token is higher than all that its predecessor can have seen.
func ExampleGuardOptions_floor() {
	var mine uint64 = 100 // l.Token() of that lock
	guard, _ := lock.NewGuard(&lock.GuardOptions{Floor: mine})
	for _, token := range []uint64{99, 101} {
		fmt.Println(guard.Check(context.Background(), "file", token))
	}
	// Output:
	// lock: stale token: "file": token 99, 100 has been seen
	// <nil>
}
