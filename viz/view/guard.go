package view

import (
	"cmp"
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// policy lets the page load its own scripts, styles and images and send requests to
// its own server, nothing else. The origins that may show it in a frame follow.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors "

// guard passes on the requests of this server's own page and refuses those that
// another web site makes a browser send:
//   - The Host must be a loopback name, so a name that is rebound to 127.0.0.1 is
//     refused.
//   - An Origin must be this server's.
//   - Another site may only open the page itself, with the token, as the file does that
//     hands the address to the browser, or in a frame if [Options.Frames] names the site.
//   - The path must begin with the token. Without the token, the answer is the same
//     for every path.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy+cmp.Or(strings.Join(s.frames, " "), "'none'"))
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !loopbackHost(r.Host) || !sameOrigin(r) || !sameSite(r) && !s.opensPage(r) {
			http.Error(w, "refused: the request does not come from the viewer's own page", http.StatusForbidden)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are allowed", http.StatusMethodNotAllowed)
			return
		}
		rest, ok := s.withoutToken(r.URL)
		if !ok {
			http.Error(w, "not found: use the whole address that attnscope view printed", http.StatusNotFound)
			return
		}
		inner := r.Clone(r.Context())
		inner.URL = &url.URL{Path: "/" + rest, RawQuery: r.URL.RawQuery}
		next.ServeHTTP(w, inner)
	})
}

// withoutToken returns the path behind the token. It is not ok if the token is wrong
// or the path is not written in its plain form.
func (s *Server) withoutToken(u *url.URL) (rest string, ok bool) {
	token, rest, slash := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	plain := u.RawPath == "" && path.Clean("/"+rest) == "/"+rest
	same := subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) == 1
	return rest, slash && plain && same
}

// loopbackHost reports whether a Host header names this machine's loopback
// interface. The port does not matter: a tunnel may change it.
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

// sameOrigin reports whether a request has no Origin, or the origin of the address
// that it was sent to.
func sameOrigin(r *http.Request) bool {
	list := r.Header.Values("Origin")
	return len(list) == 0 || len(list) == 1 && list[0] == "http://"+r.Host
}

// opensPage reports whether a request opens the page, with the token: in a tab or window
// of its own or, if some origins may show it, in a frame. The browser compares the origin.
func (s *Server) opensPage(r *http.Request) bool {
	h := r.Header
	rest, ok := s.withoutToken(r.URL)
	dest := h.Get("Sec-Fetch-Dest")
	framed := dest == "iframe" && len(s.frames) > 0
	return ok && rest == "" && h.Get("Sec-Fetch-Mode") == "navigate" && (dest == "document" || framed)
}

// sameSite reports whether the browser says that the request comes from this site or
// from the user, or says nothing.
func sameSite(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "" || site == "same-origin" || site == "none"
}
