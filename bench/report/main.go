// Report turns the output of benchmarks into the tables of BENCHMARKS.md.
//
// From the folder bench:
//
//	GOWORK=off go run ./report                       # from what is in results/
//	GOWORK=off go run ./report -run lock,replica     # measure these against their peers first
//	GOWORK=off go run ./report -own blob             # measure a package of the root alone first
//	GOWORK=off go run ./report some.txt other.txt    # from these files
//
// A result file is what "go test -bench" prints, after lines "key: value" that
// tell how it came about (date, go, commit, command, note); -run writes them.
// Each package has its own section between two markers, and a run replaces only
// the sections of the packages that it has results for. A comparison that we
// lose is listed like the others, and marked.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "report:", err)
		}
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	out := flags.String("o", filepath.Join("..", "BENCHMARKS.md"), "the `file` whose sections are replaced")
	versus := flags.String("run", "", "comma-separated `subjects` (folders of bench) to measure first")
	own := flags.String("own", "", "comma-separated `packages` of the root whose own benchmarks to measure first")
	results := flags.String("results", "results", "the `folder` of result files")
	benchtime := flags.String("benchtime", "", "passed on to go test")
	note := flags.String("note", "", "a `remark` to keep with what -run measures, such as the load of the machine")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for _, subject := range list(*versus) {
		err := measure(filepath.Join(*results, strings.ReplaceAll(subject, "/", "-")+".txt"), *note, stdout, versusSession(".", subject, *benchtime))
		if err != nil {
			return fmt.Errorf("measuring %s: %w", subject, err)
		}
	}
	for _, pkg := range list(*own) {
		err := measure(filepath.Join(*results, strings.ReplaceAll(pkg, "/", "-")+"-own.txt"), *note, stdout, session{
			dir: "..", args: testArgs(".", *benchtime, pkg),
		})
		if err != nil {
			return fmt.Errorf("measuring %s: %w", pkg, err)
		}
	}
	files := flags.Args()
	if len(files) == 0 {
		var err error
		if files, err = filepath.Glob(filepath.Join(*results, "*.txt")); err != nil {
			return err
		}
	}
	if len(files) == 0 {
		return fmt.Errorf("no result files in %s: use -run", *results)
	}
	var all []Result
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		got, err := Parse(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, got...)
	}
	doc, err := os.ReadFile(*out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	text := string(doc)
	for _, section := range Sections(all) {
		section.Versions, err = peerVersions(".", section.Subject)
		if err != nil {
			return err
		}
		text = Replace(text, section)
		fmt.Fprintf(stdout, "%s: %s\n", section.Subject, section.Score())
	}
	return os.WriteFile(*out, []byte(text), 0o644)
}

// list splits a comma-separated flag.
func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}

// testArgs returns what go is given to run benchmarks of a package.
func testArgs(pattern, benchtime, pkg string) []string {
	args := []string{"test", "-run", "^$", "-bench", pattern, "-timeout", "0"}
	if benchtime != "" {
		args = append(args, "-benchtime", benchtime)
	}
	return append(args, "./"+pkg)
}

// versusSession measures a subject against its peers: from the folder bench,
// which is dir, or from its own if it is a module, since its peers do not build
// together with the others.
func versusSession(dir, subject, benchtime string) session {
	r := session{dir: dir, env: "GOWORK=off", args: testArgs("Vs", benchtime, subject), shown: "cd bench && GOWORK=off "}
	if own := filepath.Join(dir, filepath.FromSlash(subject)); isModule(own) {
		r.dir, r.args, r.shown = own, testArgs("Vs", benchtime, ""), "cd bench/"+subject+" && GOWORK=off "
	}
	return r
}

func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// A session is one run of the go command.
type session struct {
	dir   string
	env   string // one more variable, if any
	args  []string
	shown string // what a reader types in front, from the root
}

// measure keeps what a run prints, in a file. What the file held before is
// replaced only by a run that went through.
func measure(file, note string, stdout io.Writer, r session) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.Create(file + ".tmp")
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "date: %s\n", time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(w, "go: %s\n", runtime.Version())
	if head, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		fmt.Fprintf(w, "commit: %s\n", strings.TrimSpace(string(head)))
	}
	fmt.Fprintf(w, "command: %sgo %s\n", r.shown, strings.Join(r.args, " "))
	if note != "" {
		fmt.Fprintf(w, "note: %s\n", strings.Join(strings.Fields(note), " "))
	}
	cmd := exec.Command("go", r.args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "GOWORK=")
	if r.env != "" {
		cmd.Env = append(cmd.Env, r.env)
	}
	cmd.Stdout = io.MultiWriter(w, stdout)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	return errors.Join(w.Flush(), f.Close(), os.Rename(file+".tmp", file))
}

// Sections groups results by package, in alphabetical order of the subjects.
func Sections(all []Result) []Section {
	var out []Section
	for _, r := range all {
		i := slices.IndexFunc(out, func(s Section) bool { return s.Subject == r.Subject() })
		if i < 0 {
			i = len(out)
			out = append(out, Section{Subject: r.Subject()})
		}
		out[i].add(r)
	}
	slices.SortFunc(out, func(a, b Section) int { return strings.Compare(a.Subject, b.Subject) })
	return out
}
