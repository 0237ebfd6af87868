package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/ashlar-go/ashlar/stream"
)

// One counter also runs as a process of its own, on a log of its own, and is killed
// in the middle of its work.
const (
	roleVariable = "ASHLAR_ACTIVEUSERS_ROLE"
	roleCounter  = "counter"
	dirVariable  = "ASHLAR_ACTIVEUSERS_DIR"
	stopVariable = "ASHLAR_ACTIVEUSERS_STOP" // checkpoints after which to wait for the end
	liveGroup    = "minutes"
)

// play is the main function of the processes that this program starts.
func play(role string) int {
	err := errors.New("no such role")
	if role == roleCounter {
		err = playCounter(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "activeusers:", role+":", err)
		return 1
	}
	return 0
}

// playCounter counts partition 0. In all lives but the last it comes to a place
// between two checkpoints, says how far it is, and waits to be killed there: what it
// knows beyond the checkpoint is in its memory only.
func playCounter(ctx context.Context) error {
	stop, err := strconv.Atoi(os.Getenv(stopVariable))
	if err != nil {
		return err
	}
	l, err := stream.OpenLocal(os.Getenv(dirVariable), nil)
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := openCounter(ctx, l, liveGroup, 0, nil)
	if err != nil {
		return err
	}
	c.onEvent = func(second int) error {
		if stop == 0 || c.checkpoints < stop || second < c.mark-10*60 {
			return nil
		}
		fmt.Println("processed", c.processed)
		_, err := io.Copy(io.Discard, os.Stdin) // ends if the parent does
		return errors.Join(errors.New("nobody killed this process"), err)
	}
	if err := c.run(ctx); err != nil {
		return err
	}
	fmt.Println("processed", c.processed)
	return nil
}

// life starts the process, and kills it if stop is not 0. It returns how many events
// it has processed.
func life(ctx context.Context, dir string, stop int) (processed int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), roleVariable+"="+roleCounter, dirVariable+"="+dir, fmt.Sprintf("%s=%d", stopVariable, stop))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	line, readErr := bufio.NewReader(out).ReadString('\n')
	if stop > 0 {
		err = cmd.Process.Kill() // SIGKILL: no deferred function runs, nothing is closed
	}
	exit := cmd.Wait()
	if stop == 0 {
		err = errors.Join(err, exit)
	}
	if err := errors.Join(readErr, err); err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "processed ")))
}

// digest is that of all sketches of a counter, in the order of minutes.
func (c *counter) digest() (sum string, bytes int, err error) {
	h := sha256.New()
	for m, s := range c.slots {
		if s.users == nil {
			continue
		}
		b, err := s.encode([]byte{byte(m >> 8), byte(m)})
		if err != nil {
			return "", 0, err
		}
		bytes += len(b)
		h.Write(b)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:6]), bytes, nil
}
