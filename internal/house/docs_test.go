package house

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestExportedNamesAreExplained asks for a comment at every exported name and
// a package comment in every package. Error and Unwrap need none: their contract
// is that of package errors.
func TestExportedNamesAreExplained(t *testing.T) {
	for _, p := range rootPackages(t) {
		comments := 0
		for _, f := range p.files {
			if f.Doc != nil {
				comments++
			}
			if p.command() || p.internal() {
				continue
			}
			for _, decl := range f.Decls {
				for _, name := range unexplained(decl) {
					t.Errorf("%s: %s.%s has no comment", p.fset.Position(decl.Pos()), p.name, name)
				}
			}
		}
		if comments != 1 {
			t.Errorf("package %s has %d package comments, want 1", p.path, comments)
		}
	}
}

// unexplained returns the exported names of a declaration that lack a comment.
func unexplained(decl ast.Decl) (names []string) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		name := d.Name.Name
		if d.Doc != nil || !ast.IsExported(name) {
			return nil
		}
		if d.Recv != nil {
			recv := receiver(d.Recv.List[0].Type)
			if !ast.IsExported(recv) || name == "Error" || name == "Unwrap" {
				return nil
			}
			name = recv + "." + name
		}
		return []string{name}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if ast.IsExported(s.Name.Name) && s.Doc == nil && (d.Doc == nil || len(d.Specs) > 1) {
					names = append(names, s.Name.Name)
				}
			case *ast.ValueSpec: // a comment may stand at the line or over the block
				for _, id := range s.Names {
					if ast.IsExported(id.Name) && s.Doc == nil && s.Comment == nil && d.Doc == nil {
						names = append(names, id.Name)
					}
				}
			}
		}
	}
	return names
}

func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.IndexListExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}

// TestExamples asks for an Example in every package that users import, and for
// benchmarks in every one but those that only test.
func TestExamples(t *testing.T) {
	for _, p := range rootPackages(t) {
		if p.command() || p.internal() || p.path == "." {
			continue
		}
		has := func(prefix string) bool {
			return slices.ContainsFunc(p.tests, func(f *ast.File) bool {
				return slices.ContainsFunc(f.Decls, func(d ast.Decl) bool {
					fn, ok := d.(*ast.FuncDecl)
					return ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, prefix)
				})
			})
		}
		if !has("Example") {
			t.Errorf("package %s has no Example", p.path)
		}
		if !strings.HasSuffix(p.path, "test") && !has("Benchmark") {
			t.Errorf("package %s has no Benchmark", p.path)
		}
	}
}

// TestReadmeListsEveryPackage looks for a row of README's tables that begins
// with the package, or in the guide of the root's documentation.
func TestReadmeListsEveryPackage(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(top, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	guide, err := os.ReadFile(filepath.Join(top, "doc.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range rootPackages(t) {
		if p.internal() || p.path == "." {
			continue
		}
		if !strings.Contains(string(readme), "\n| [`"+p.path+"`]("+p.path+")") {
			t.Errorf("README.md has no row for package %s", p.path)
		}
		if !p.command() && !strings.Contains(string(guide), p.path) {
			t.Errorf("the package comment of the root does not name %s", p.path)
		}
	}
}

// TestReadmeNamesRealTests looks up each test that the README relies on.
func TestReadmeNamesRealTests(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(top, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	for _, p := range rootPackages(t) {
		for _, f := range p.tests {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok {
					tests[p.path+"."+fn.Name.Name] = true
				}
			}
		}
	}
	row := regexp.MustCompile("`([a-z/]+)`: ((?:`Test[A-Za-z]+`(?:, )?)+)")
	named := 0
	for _, m := range row.FindAllStringSubmatch(string(readme), -1) {
		for name := range strings.SplitSeq(m[2], ", ") {
			if name = strings.Trim(name, "`"); name == "" {
				continue
			}
			named++
			if !tests[m[1]+"."+name] {
				t.Errorf("README.md relies on %s in package %s, which does not exist", name, m[1])
			}
		}
	}
	if named < 4 {
		t.Errorf("found only %d tests named in README.md", named)
	}
}
