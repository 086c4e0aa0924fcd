package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"
)

// release is the version of the source tree; `go install` of a tag overrides it.
const release = "0.1.0"

// revision is the commit, if the Makefile or the Containerfile passes it to the
// linker; else the go command records it in a build from a clone.
var revision string

// version is the release and, if the build knows it, the revision.
func version() string {
	v := release
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if m := info.Main.Version; m != "" && m != "(devel)" {
		v = m
	}
	rev := revision
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case revision != "":
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			rev = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if rev == "" || strings.Contains(v, rev) { // a pseudo-version contains it
		return v
	}
	return v + " " + rev + dirty
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print version, revision and platform",
		Action: func(c *cli.Context) error {
			fmt.Fprintf(c.App.Writer, "attnscope %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}
