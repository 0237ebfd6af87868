package house

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// What tells of the machine a file was written on: home and work folders, and
// hosts that packages were fetched from. The expressions are written so that
// they do not match themselves.
var places = []*regexp.Regexp{
	regexp.MustCompile(`(^|[^A-Za-z0-9_.~-])/(work|root|home/[a-z]+|Users/[A-Za-z]+)/[A-Za-z.]`),
	regexp.MustCompile(`https?:/{2}[A-Za-z0-9.-]*(proxy|registry|mirror)[A-Za-z0-9.-]*`),
	regexp.MustCompile(`\b(GOPROXY|GONOSUMDB|GOSUMDB)=[h]ttps?:`),
}

// TestNoPlaces reads every text file of the repository.
func TestNoPlaces(t *testing.T) {
	read := 0
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == ".git" || name == ".bin" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.IndexByte(text[:min(len(text), 8000)], 0) >= 0 {
			return nil // not text
		}
		read++
		for _, re := range places {
			if m := re.Find(text); m != nil {
				line := 1 + bytes.Count(text[:re.FindIndex(text)[0]], []byte("\n"))
				t.Errorf("%s:%d: %q names a place on one machine or network", path, line, m)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if read < 20 {
		t.Fatalf("read only %d files: is %s the root?", read, top)
	}
}
