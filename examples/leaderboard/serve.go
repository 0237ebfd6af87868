package main

import (
	"context"
	"errors"
	"io"
)

func playLive() error { return errors.New("todo") }

func servePage(context.Context, string, string, io.Writer) error { return errors.New("todo") }
