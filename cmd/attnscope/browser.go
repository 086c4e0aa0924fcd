package main

import (
	"html/template"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// redirect is the page that leads the browser to the viewer.
var redirect = template.Must(template.New("redirect").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={{.}}">
<title>attnscope view</title>
</head>
<body><p><a href="{{.}}" rel="noreferrer">Open the viewer</a></p></body>
</html>
`))

// redirectFor is how long the file with the redirect stays: a browser that has to be
// started first may read it late.
const redirectFor = time.Minute

// openBrowser shows an address in the user's browser, if there is a screen. The
// arguments of a program can be read by all users of the machine, so the browser is given
// the path of a file that leads to the address, which only this user can read. remove
// removes that file; it is removed after redirectFor in any case.
func openBrowser(address string) (remove func()) {
	name := opener()
	if name == nil {
		return func() {}
	}
	path, remove, err := writeRedirect(address)
	if err != nil {
		return func() {}
	}
	cmd := exec.Command(name[0], append(name[1:], path)...)
	if cmd.Start() == nil {
		go func() { _ = cmd.Wait() }()
		time.AfterFunc(redirectFor, remove)
	}
	return remove
}

// opener returns the command that opens a file in the user's browser, or nil if there is
// no screen.
func opener() []string {
	switch {
	case runtime.GOOS == "darwin":
		return []string{"open"}
	case runtime.GOOS == "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler"}
	case os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "":
		return nil
	}
	return []string{"xdg-open"}
}

// writeRedirect writes the redirect to an address into a folder of its own, which only
// this user can read. remove removes both.
func writeRedirect(address string) (path string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "attnscope-view-") // with mode 0700
	if err != nil {
		return "", nil, err
	}
	remove = sync.OnceFunc(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "view.html")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = redirect.Execute(f, template.URL(address))
		if closed := f.Close(); err == nil {
			err = closed
		}
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	return path, remove, nil
}
