package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The list must be true: a system is ready when its folder holds a program, a
// test and a README, and no folder is missing from the list.
func TestListIsTrue(t *testing.T) {
	if len(systems) != 20 {
		t.Errorf("%d systems, want 20", len(systems))
	}
	for _, s := range systems {
		_, err := os.Stat(filepath.Join(s.name, "main.go"))
		if s.ready != (err == nil) {
			t.Errorf("%s: ready is %v, its program: %v", s.name, s.ready, err)
		}
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != "internal" && !slices.ContainsFunc(systems, func(s system) bool { return s.name == e.Name() }) {
			t.Errorf("the folder %s is not in the list", e.Name())
		}
	}
}

// Both READMEs tell of every system, with the same status.
func TestReadmesAgree(t *testing.T) {
	for _, name := range []string{"README.md", filepath.Join("..", "README.md")} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range systems {
			row := ""
			for line := range strings.Lines(string(text)) {
				if strings.HasPrefix(line, "| [`"+s.name+"`]") || strings.HasPrefix(line, "| `"+s.name+"` |") {
					row = line
				}
			}
			want := "planned"
			if s.ready {
				want = "ready"
			}
			if !strings.Contains(row, "| "+want+" |") {
				t.Errorf("%s: the row of %s is %q, want it to say %s", name, s.name, strings.TrimSpace(row), want)
			}
		}
	}
}

// The program in the README is the one that its test runs, and so is the output.
func TestReadmeProgram(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(filepath.Join("internal", "quickstart", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(program), "func main() {\n")
	body, _, _ = strings.Cut(body, "\n}\n")
	if body == "" || !strings.Contains(string(readme), "func main() {\n"+body+"\n}\n") {
		t.Error("README.md does not hold the program of internal/quickstart as it is")
	}
	test, err := os.ReadFile(filepath.Join("internal", "quickstart", "main_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, output, _ := strings.Cut(string(test), "// Output:\n")
	output, _, _ = strings.Cut(output, "}")
	if output = strings.ReplaceAll(output, "\t// ", ""); output == "" || !strings.Contains(string(readme), output) {
		t.Errorf("README.md does not hold the program's output:\n%s", output)
	}
}
