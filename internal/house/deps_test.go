package house

import (
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// raftModules is what hosting a machine on Raft compiles, at most.
const raftModules = `github.com/hashicorp/raft github.com/hashicorp/raft-boltdb/v2 github.com/hashicorp/go-hclog
	github.com/hashicorp/go-metrics github.com/hashicorp/go-msgpack/v2 github.com/hashicorp/go-immutable-radix
	github.com/hashicorp/golang-lru github.com/armon/go-metrics github.com/boltdb/bolt github.com/fatih/color
	github.com/mattn/go-colorable github.com/mattn/go-isatty go.etcd.io/bbolt golang.org/x/sys`

// lockClient is what the client and the guard compile.
const lockClient = "internal/wal internal/vfs internal/frame lock/internal/wire lock/internal/core github.com/cespare/xxhash/v2 "

// allowed lists for each package which other packages of this module and which
// modules of others a program compiles that imports it. To add a line is a
// decision; see the floors in docs/ARCHITECTURE.md.
var allowed = map[string]string{
	".":                   "",
	"blob":                "internal/vfs",
	"blob/blobtest":       "blob internal/vfs",
	"bloom":               "github.com/cespare/xxhash/v2",
	"cms":                 "github.com/cespare/xxhash/v2",
	"geohash":             "internal/minheap",
	"graph":               "geohash internal/minheap internal/vfs",
	"graph/digraph":       "graph geohash internal/minheap internal/vfs",
	"graph/shard":         "graph geohash internal/minheap internal/vfs",
	"hll":                 "github.com/cespare/xxhash/v2",
	"idem":                "bloom github.com/cespare/xxhash/v2 go.etcd.io/bbolt golang.org/x/sys",
	"idem/idemtest":       "idem bloom github.com/cespare/xxhash/v2 go.etcd.io/bbolt golang.org/x/sys",
	"internal/frame":      "",
	"internal/house":      "",
	"internal/minheap":    "",
	"internal/vfs":        "",
	"internal/wal":        "internal/vfs internal/frame",
	"lock":                lockClient,
	"lock/internal/core":  "github.com/cespare/xxhash/v2",
	"lock/internal/wire":  "lock/internal/core github.com/cespare/xxhash/v2",
	"lock/node":           "lock replica " + lockClient + raftModules,
	"lock/lockd":          "lock/node lock replica " + lockClient + raftModules,
	"ratelimit":           "",
	"ratelimit/httplimit": "ratelimit",
	"ring":                "github.com/cespare/xxhash/v2",
	"stream":              "internal/vfs internal/frame github.com/cespare/xxhash/v2",
	"stream/flow":         "stream internal/vfs internal/frame github.com/cespare/xxhash/v2",
	"stream/streamtest":   "stream internal/vfs internal/frame github.com/cespare/xxhash/v2",
	"trie":                "",
	"trie/norm":           "trie golang.org/x/text",
	"tsdb":                "blob internal/wal internal/vfs internal/frame",
	"replica":             "internal/wal internal/vfs internal/frame " + raftModules,
}

// TestDependencies fails when a package compiles more than it is allowed to.
func TestDependencies(t *testing.T) {
	own := map[string]*pkg{}
	for _, p := range rootPackages(t) {
		own[p.path] = p
	}
	third := newThird(t)
	for _, path := range slices.Sorted(maps.Keys(own)) {
		list, ok := allowed[path]
		if !ok {
			t.Errorf("package %s is new: give it a line in the table of allowed dependencies", path)
			continue
		}
		may := strings.Fields(list)
		for dep, by := range closure(own, third, path) {
			if !slices.Contains(may, dep) {
				t.Errorf("package %s compiles %s (imported by %s), which its line in the table does not allow", path, dep, by)
			}
		}
	}
	for path := range allowed {
		if own[path] == nil {
			t.Errorf("the table of allowed dependencies has a line for %s, which is no package", path)
		}
	}
}

// TestNeverRaft is apart from the table, so that a careless line there cannot
// break the promise: who uses these packages never compiles Raft.
func TestNeverRaft(t *testing.T) {
	own := map[string]*pkg{}
	for _, p := range rootPackages(t) {
		own[p.path] = p
	}
	third := newThird(t)
	hosts := []string{"replica", "lock/node", "lock/lockd"} // and what stands on them
	for path := range own {
		if slices.Contains(hosts, path) {
			continue
		}
		for dep, by := range closure(own, third, path) {
			if strings.Contains(dep, "/raft") || dep == "replica" {
				t.Errorf("package %s compiles %s (imported by %s)", path, dep, by)
			}
		}
	}
}

// closure returns what a package compiles besides the standard library: packages
// of this module by their path in it, others by their module; each with who
// imports it.
func closure(own map[string]*pkg, third *third, path string) map[string]string {
	out := map[string]string{}
	seen := map[string]bool{}
	var visit func(by, imp string)
	visit = func(by, imp string) {
		if seen[imp] || standard(imp) {
			return
		}
		seen[imp] = true
		if rel, ok := strings.CutPrefix(imp, module+"/"); ok {
			out[rel] = by
			if p := own[rel]; p != nil {
				for _, next := range p.imports {
					visit(imp, next)
				}
			}
			return
		}
		mod := moduleOf(third.required, imp)
		if mod == "" {
			mod = imp // not in go.mod: the build says so too
		}
		if _, ok := out[mod]; !ok {
			out[mod] = by
		}
		for _, next := range third.imports(imp, mod) {
			visit(imp, next)
		}
	}
	for _, imp := range own[path].imports {
		visit(path, imp)
	}
	return out
}

// third finds what other modules import, in the module cache.
type third struct {
	t        *testing.T
	required map[string]string
	cache    string
	known    map[string][]string
}

func newThird(t *testing.T) *third {
	return &third{t: t, required: requirements(t), cache: cacheDir(), known: map[string][]string{}}
}

func (th *third) imports(path, mod string) []string {
	if list, ok := th.known[path]; ok {
		return list
	}
	dir := filepath.Join(th.cache, filepath.FromSlash(escapeModule(mod))+"@"+th.required[mod],
		filepath.FromSlash(strings.TrimPrefix(path, mod)))
	entries, err := os.ReadDir(dir)
	if err != nil {
		th.t.Logf("not followed, since it is not downloaded: %s", path)
	}
	var list []string
	for _, e := range entries {
		name := e.Name()
		if filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || !builds(th.t, dir, name) {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.ImportsOnly)
		if err != nil {
			th.t.Fatal(err)
		}
		list = append(list, imports(th.t, f)...)
	}
	th.known[path] = list
	return list
}
