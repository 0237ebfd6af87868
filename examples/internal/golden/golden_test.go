package golden

import (
	"os"
	"strings"
	"testing"
)

// A recorder is a test that only notes that it failed.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

func TestCheck(t *testing.T) {
	t.Chdir(t.TempDir())
	const text = "# A\n\n<!-- output -->\n```text\none 1\n```\n<!-- end of output -->\n\nMore.\n"
	if err := os.WriteFile("README.md", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	same := func(s string) string { return s }
	digits := func(s string) string { return strings.NewReplacer("1", "#", "2", "#").Replace(s) }
	for _, c := range []struct {
		out    string
		mask   func(string) string
		failed bool
	}{{"one 1\n", same, false}, {"one 2\n", same, true}, {"one 2\n", digits, false}, {"two 1\n", digits, true}} {
		r := &recorder{TB: t}
		if Check(r, c.out, c.mask); r.failed != c.failed {
			t.Errorf("%q: failed is %v", c.out, r.failed)
		}
	}
	*Update = true
	defer func() { *Update = false }()
	Check(t, "one 2\n", same)
	if got, err := os.ReadFile("README.md"); err != nil || string(got) != strings.Replace(text, "one 1", "one 2", 1) {
		t.Errorf("%s, %v", got, err)
	}
}
