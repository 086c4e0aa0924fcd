//go:build !unix

package cluster

import "os"

func lock(*os.File) error { return nil }
