//go:build !unix

package hub

import "context"

// lockFile does nothing: this system has no flock. Two processes may fetch a file at
// the same time, but each checks its hash.
func lockFile(context.Context, string) (func(), error) { return func() {}, nil }
