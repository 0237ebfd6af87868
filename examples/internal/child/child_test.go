package child

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	Main(Roles{
		"echo": func() error {
			for s := bufio.NewScanner(os.Stdin); s.Scan(); {
				fmt.Println(os.Getenv("PREFIX") + s.Text())
			}
			return nil
		},
		"wait": func() error {
			fmt.Println("up")
			select {}
		},
	})
	os.Exit(m.Run())
}

func TestProcess(t *testing.T) {
	p, err := Start("the echo", "echo", "PREFIX=> ")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"one", "two"} {
		if _, err := fmt.Fprintln(p.Stdin, word); err != nil {
			t.Fatal(err)
		}
		if line, err := p.Line(); err != nil || line != "> "+word {
			t.Errorf("%q, %v", line, err)
		}
	}
	p.Reap()
	p.Reap()
	if !p.Cmd.ProcessState.Success() {
		t.Error(p.Cmd.ProcessState)
	}
	if p, err = Start("the one that waits", "wait"); err != nil {
		t.Fatal(err)
	}
	if line, err := p.Line(); err != nil || line != "up" {
		t.Errorf("%q, %v", line, err)
	}
	if err := p.Kill(); err != nil || p.Cmd.ProcessState.Success() {
		t.Errorf("%v, %v", err, p.Cmd.ProcessState)
	}
	if _, err := p.Line(); err == nil || !strings.Contains(err.Error(), "the one that waits has ended") {
		t.Error(err)
	}
}
