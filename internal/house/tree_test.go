package house

import (
	"bufio"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	top    = "../.." // the root of the repository
	module = "github.com/ashlar-go/ashlar"
)

// A pkg is a package of the root module, in the build for linux/amd64.
type pkg struct {
	path    string // below the module, such as "lock/node"; "." for the root
	name    string // "main" for commands
	imports []string
	files   []*ast.File
	tests   []*ast.File
	fset    *token.FileSet
}

// command and internal tell what a package is for its users.
func (p *pkg) command() bool  { return p.name == "main" }
func (p *pkg) internal() bool { return slices.Contains(strings.Split(p.path, "/"), "internal") }

// rootPackages returns the packages of the root module.
func rootPackages(t *testing.T) []*pkg {
	t.Helper()
	var out []*pkg
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if path != top {
			if strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return filepath.SkipDir // another module
			}
		}
		if p := load(t, path); p != nil {
			out = append(out, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 3 {
		t.Fatalf("found only %d packages: is %s the root?", len(out), top)
	}
	return out
}

// load parses the package in a folder; nil if there is none.
func load(t *testing.T, dir string) *pkg {
	t.Helper()
	rel, err := filepath.Rel(top, dir)
	if err != nil {
		t.Fatal(err)
	}
	p := &pkg{path: filepath.ToSlash(rel), fset: token.NewFileSet()}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if e.IsDir() || filepath.Ext(name) != ".go" {
			continue
		}
		f, err := parser.ParseFile(p.fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "_test.go") {
			p.tests = append(p.tests, f)
			continue
		}
		if !builds(t, dir, e.Name()) {
			continue
		}
		p.name = f.Name.Name
		p.files = append(p.files, f)
		p.imports = append(p.imports, imports(t, f)...)
	}
	if len(p.files) == 0 {
		return nil
	}
	slices.Sort(p.imports)
	p.imports = slices.Compact(p.imports)
	return p
}

func imports(t *testing.T, f *ast.File) []string {
	t.Helper()
	var out []string
	for _, imp := range f.Imports {
		path, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, path)
	}
	return out
}

// builds tells whether a file is part of a build for linux/amd64.
func builds(t *testing.T, dir, name string) bool {
	t.Helper()
	linux := build.Default
	linux.GOOS, linux.GOARCH, linux.CgoEnabled = "linux", "amd64", false
	ok, err := linux.MatchFile(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// standard tells whether an import path belongs to the standard library.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// requirements returns the versions in the root's go.mod, by module path.
func requirements(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join(top, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "//")
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) == 2 && strings.HasPrefix(fields[1], "v") {
			out[fields[0]] = fields[1]
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// moduleOf returns the required module that holds a package.
func moduleOf(required map[string]string, path string) string {
	best := ""
	for mod := range required {
		if (path == mod || strings.HasPrefix(path, mod+"/")) && len(mod) > len(best) {
			best = mod
		}
	}
	return best
}

// cacheDir returns the folder of the module cache, as the go command finds it.
func cacheDir() string {
	setting := func(name string) string {
		if v := os.Getenv(name); v != "" {
			return v
		}
		file := os.Getenv("GOENV")
		if file == "" {
			config, err := os.UserConfigDir()
			if err != nil {
				return ""
			}
			file = filepath.Join(config, "go", "env")
		}
		text, _ := os.ReadFile(file) // usually there is none
		for line := range strings.Lines(string(text)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
				return v
			}
		}
		return ""
	}
	if dir := setting("GOMODCACHE"); dir != "" {
		return dir
	}
	gopath := setting("GOPATH")
	if gopath == "" {
		gopath = build.Default.GOPATH
	}
	return filepath.Join(filepath.SplitList(gopath)[0], "pkg", "mod")
}

// escapeModule writes upper-case letters as the module cache does.
func escapeModule(path string) string {
	var b strings.Builder
	for _, r := range path {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('!')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
