package main

import (
	"context"
	"io"
)

func servePage(ctx context.Context, addr, logURL string, w io.Writer) error { return nil }
