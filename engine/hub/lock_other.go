//go:build !unix

package hub

import (
	"context"
	"os"
)

// lockFile does nothing: this system has no flock. Two processes may fetch a file at
// the same time, but each checks its hash.
func lockFile(context.Context, string) (func(), error) { return func() {}, nil }

// inode returns 0: this system has no inodes.
func inode(os.FileInfo) uint64 { return 0 }
