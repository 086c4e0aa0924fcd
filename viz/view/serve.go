package view

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"path"
	"time"
)

//go:embed web
var web embed.FS

// Listen listens on a loopback address such as 127.0.0.1:0. Port 0 takes any free
// port. Any other address is an error, since dumps may be private.
func Listen(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: want a loopback address and a port, such as 127.0.0.1:0", address)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf(
			"address %q: not on the loopback interface; from another machine use a tunnel: "+
				"ssh -L 8080:127.0.0.1:8080", address)
	}
	return net.Listen("tcp", address)
}

// URL returns the address of the page behind a listener, token included.
func (s *Server) URL(l net.Listener) string {
	return fmt.Sprintf("http://%s/%s/", l.Addr(), s.token)
}

// Serve answers requests until ctx ends, then waits up to two seconds for those that
// are being answered. The error is nil if ctx ended.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		end, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := srv.Shutdown(end); errors.Is(err, context.DeadlineExceeded) {
			return srv.Close()
		}
		return nil
	}
}

// Handler returns the handler of the whole server: the page, its scripts and the
// data, all behind the token.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	s.routes(mux)
	mux.HandleFunc("/", serveAsset)
	return s.guard(mux)
}

// serveAsset serves the embedded files, each by its exact name.
func serveAsset(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path[1:]
	if name == "" {
		name = "index.html"
	}
	if !fs.ValidPath(name) || path.Base(name) != name {
		http.NotFound(w, r)
		return
	}
	data, err := web.ReadFile("web/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	w.Write(data)
}
