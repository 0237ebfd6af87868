package redis_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/adapters/redis"
	. "github.com/ashlar-go/ashlar/ratelimit"
)

// Nobody can choose a key that is called in Redis as another, long one is.
func TestNamesDiffer(t *testing.T) {
	s, prefix := common(t)
	l := newLimiter(t, viaGoRedis(t, s.addr), GCRA{Rate: Per(1, time.Hour)}, redis.Options{Prefix: prefix})
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "#" + hex.EncodeToString(sum[:])
	}
	for _, long := range []string{strings.Repeat("x", 300), "{user 7}" + strings.Repeat("x", 300), strings.Repeat("x", 300) + "{" + strings.Repeat("y", 300) + "}"} {
		taken := map[string]string{}
		for _, key := range []string{long, hash(long), "{user 7}" + hash(long), hash(hash(long)), "a" + hash(long), hash(long) + "0", hash(long)[1:]} {
			name := l.Name(key)
			if other, ok := taken[name]; ok {
				t.Fatalf("%q and %q are both %q", key, other, name)
			}
			taken[name] = key
			if strings.HasPrefix(key, "{user 7}") && redis.Slot(name) != redis.Slot("{user 7}") {
				t.Fatalf("%q is in another slot than its tag", name)
			}
		}
	}
	long := strings.Repeat("x", 300)
	for _, key := range []string{hash(long), long} {
		if d := check(t, l, key, 1); !d.OK {
			t.Fatalf("%.70q: %+v, it is the first", key, d)
		}
	}
}
