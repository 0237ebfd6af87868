package main

import (
	"context"
	"io"
)

func servePage(ctx context.Context, addr string, f files, w io.Writer) error { return nil }
