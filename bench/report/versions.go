package main

import (
	"bufio"
	"errors"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// peerVersions returns the modules that the tests of a subject import, as
// "path version", from the sources and the go.mod of the bench module in dir, or
// of the subject's own.
func peerVersions(dir, subject string) ([]string, error) {
	module := dir
	if own := filepath.Join(dir, filepath.FromSlash(subject)); isModule(own) {
		module = own
	}
	required, err := requirements(filepath.Join(module, "go.mod"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // run elsewhere, on files from somewhere
	}
	if err != nil {
		return nil, err
	}
	sources, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(subject), "*.go"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range sources {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return nil, err
		}
		for _, imp := range f.Imports {
			path, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return nil, err
			}
			// The longest module path that contains the package.
			best := ""
			for mod := range required {
				if (path == mod || strings.HasPrefix(path, mod+"/")) && len(mod) > len(best) {
					best = mod
				}
			}
			if best != "" && !strings.HasPrefix(best+"/", "github.com/ashlar-go/ashlar/") {
				put(&out, best+" "+required[best])
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// requirements reads the require lines of a go.mod, which is written by the go
// command and so has one form.
func requirements(name string) (map[string]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]string{}
	block := false
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "//")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[0] == "require" && fields[1] == "(":
			block = true
		case len(fields) == 1 && fields[0] == ")":
			block = false
		case len(fields) == 3 && fields[0] == "require":
			out[fields[1]] = fields[2]
		case block && len(fields) == 2:
			out[fields[0]] = fields[1]
		}
	}
	return out, lines.Err()
}
