package lock

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// A program's name may be anything: the default label is valid all the same.
func TestDefaultLabel(t *testing.T) {
	old := os.Args[0]
	defer func() { os.Args[0] = old }()
	for _, name := range []string{"short", "x" + strings.Repeat("é", 200), "not \xff UTF-8"} {
		os.Args[0] = name
		o, err := (*Options)(nil).withDefaults()
		require.NoError(t, err, "%q", name)
		require.True(t, utf8.ValidString(o.Label) && len(o.Label) <= maxLabel, "%q", o.Label)
	}
}
