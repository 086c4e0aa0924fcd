//go:build !unix

package filelock

import "os"

// Lock does nothing: this system has no flock.
func Lock(*os.File) error { return nil }
