package replica

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// Nobody here hands leadership over: in hashicorp/raft v1.8.0 a transfer may
// leave the leader refusing writes until it is restarted (its issue 696), and no
// caller can tell in advance.
func TestNoLeadershipTransfer(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d source files, %v", len(files), err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(s.Sel.Name, "LeadershipTransfer") {
				t.Errorf("%s uses %s", name, s.Sel.Name)
			}
			return true
		})
	}
}
