package view

import (
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// policy lets the page load its own scripts, styles and images and talk to its
// own server, nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard lets through what a browser page of this server asks for, and nothing
// that another site makes a browser ask: the Host must be a loopback name (so a
// name that is rebound to 127.0.0.1 is refused), the Origin, where there is one,
// this server's, and the path must begin with the token. Who lacks the token
// gets the same answer whatever is asked.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		site := r.Header.Get("Sec-Fetch-Site")
		switch {
		case !loopbackHost(r.Host), !sameOrigin(r), site != "" && site != "same-origin" && site != "none":
			http.Error(w, "refused: not asked from this viewer's own page", http.StatusForbidden)
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		token, rest, slash := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if !slash || r.URL.RawPath != "" || path.Clean("/"+rest) != "/"+rest || subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) != 1 {
			http.Error(w, "not found: use the whole address that attnscope view printed", http.StatusNotFound)
			return
		}
		inner := r.Clone(r.Context())
		inner.URL = &url.URL{Path: "/" + rest, RawQuery: r.URL.RawQuery}
		next.ServeHTTP(w, inner)
	})
}

// loopbackHost says that a Host header names this machine's loopback interface.
// The port is left open: a tunnel may change it.
func loopbackHost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}

// sameOrigin says that a request has no Origin, or that of the address it came to.
func sameOrigin(r *http.Request) bool {
	list := r.Header.Values("Origin")
	return len(list) == 0 || len(list) == 1 && list[0] == "http://"+r.Host
}
