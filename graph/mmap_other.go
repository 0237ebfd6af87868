//go:build !unix

package graph

import "os"

// mapFile reads the file.
func mapFile(path string) (b []byte, unmap func() error, err error) {
	b, err = os.ReadFile(path)
	return b, func() error { return nil }, err
}
