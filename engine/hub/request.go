package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxFailures is the number of consecutive attempts without progress after which a
// request fails.
const maxFailures = 5

// maxRetryAfter is the longest time that the client waits because the hub asks for it.
const maxRetryAfter = 5 * time.Minute

// temporaryStatus has the statuses of HTTP after which another attempt may succeed.
var temporaryStatus = map[int]bool{
	http.StatusRequestTimeout:      true,
	http.StatusTooManyRequests:     true,
	http.StatusInternalServerError: true,
	http.StatusBadGateway:          true,
	http.StatusServiceUnavailable:  true,
	http.StatusGatewayTimeout:      true,
}

// busyError reports an HTTP status that may be temporary.
type busyError struct {
	status string
	after  time.Duration // the time that the hub asks to wait; 0: it does not say
}

func (e *busyError) Error() string { return "the hub answers " + e.status }

// retryAfter reads the header Retry-After: seconds, or a date of HTTP. It returns 0 if
// the header is missing, cannot be read, or names a time in the past.
func retryAfter(header string, now time.Time) time.Duration {
	text := strings.TrimSpace(header)
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		const longest = int64(1000 * time.Hour / time.Second) // far above every bound
		return time.Duration(max(0, min(seconds, longest))) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}

// retrying is a request that is repeated while its failures may be temporary.
type retrying struct {
	c      *Client
	what   string // for the log
	pause  time.Duration
	failed int // consecutive attempts without progress
}

func (c *Client) retrying(what string) *retrying { return &retrying{c: c, what: what, pause: c.pause} }

// progress says that the last attempt made progress.
func (r *retrying) progress() {
	r.failed = 0
	r.pause = r.c.pause
}

// again waits before the next attempt after the failure err. It returns an error if
// there shall be no further attempt.
func (r *retrying) again(ctx context.Context, err error) error {
	r.failed++
	if r.failed == maxFailures || !temporary(err) || ctx.Err() != nil {
		return err
	}
	pause := r.pause
	r.pause *= 2
	var busy *busyError
	if errors.As(err, &busy) && busy.after > 0 {
		if busy.after > maxRetryAfter {
			return fmt.Errorf("%w and asks to wait %s, more than %s: run the same command later",
				err, busy.after.Round(time.Second), maxRetryAfter)
		}
		pause = max(pause, busy.after)
	}
	r.c.log("%s: %v; trying again in %s", r.what, err, pause.Round(time.Millisecond))
	return r.c.wait(ctx, pause)
}

// wait waits for a time, or until ctx ends.
func (c *Client) wait(ctx context.Context, d time.Duration) error {
	if c.waited != nil {
		c.waited(d)
		d = 0
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// refused returns an error for a status other than success.
func (c *Client) refused(resp *http.Response, m Model) error {
	switch {
	case resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent:
		return nil
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		what := "then set HF_TOKEN to a token that may read it"
		if c.Token != "" {
			what = "since the token in use may not read it"
		}
		return fmt.Errorf("the hub refuses access (%s): the model is gated, private or does not exist; "+
			"ask for access at %s/%s, %s", resp.Status, c.Endpoint, m.ID, what)
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("the hub has no such model, revision or file (%s): %s", resp.Status, resp.Request.URL.Path)
	case temporaryStatus[resp.StatusCode]:
		return &busyError{resp.Status, retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	}
	return fmt.Errorf("the hub answers %s to %s", resp.Status, resp.Request.URL.Path)
}

// checkStart returns an error if a response with a part of a file names another part than
// the one from byte from on.
func checkStart(resp *http.Response, from int64) error {
	part := resp.Header.Get("Content-Range")
	if resp.StatusCode != http.StatusPartialContent || part == "" {
		return nil
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(part, "bytes "), "-")
	if n, err := strconv.ParseInt(first, 10, 64); err != nil || n != from {
		return fmt.Errorf("the hub sends %q, want the bytes from %d on", part, from)
	}
	return nil
}

// mayHaveToken reports whether a redirection from the endpoint may take the token along:
// only to the endpoint itself, or from http to https on the same host. It never takes
// the token from https to http, or to another host or port.
func mayHaveToken(endpoint, to *url.URL) bool {
	if to.Scheme == endpoint.Scheme {
		return strings.EqualFold(to.Host, endpoint.Host)
	}
	upgrade := endpoint.Scheme == "http" && to.Scheme == "https" && endpoint.Port() == "" && to.Port() == ""
	return upgrade && strings.EqualFold(to.Hostname(), endpoint.Hostname())
}

// silence ends a request whose body sends no byte for too long.
type silence struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	most   time.Duration
	body   io.Reader
	timer  *time.Timer
}

// watchSilence returns the context of a request whose body will be read with hear.
func (c *Client) watchSilence(ctx context.Context) (context.Context, *silence) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &silence{ctx: ctx, cancel: cancel, most: c.silence}
}

// hear returns a reader of the body that ends the request after a long silence.
func (s *silence) hear(body io.Reader) io.Reader {
	s.body = body
	s.timer = time.AfterFunc(s.most, func() { s.cancel(errSilent) })
	return s
}

// Read reads the body. If the request was ended, the error says why.
func (s *silence) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	s.timer.Reset(s.most)
	if cause := context.Cause(s.ctx); err != nil && err != io.EOF && cause != nil {
		err = cause
	}
	return n, err
}

// stop ends the request.
func (s *silence) stop() {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.cancel(nil)
}

// get requests the content of an address, or a range of it in the form of the header
// Range, such as "bytes=8-15". It sends the token only to the endpoint, as
// [mayHaveToken] says.
func (c *Client) get(ctx context.Context, address, part string) (*http.Response, error) {
	c.once.Do(func() {
		c.http = &http.Client{
			Transport: &http.Transport{
				Proxy:                 http.ProxyFromEnvironment,
				DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
				TLSHandshakeTimeout:   10 * time.Second,
				ResponseHeaderTimeout: c.silence,
				MaxIdleConnsPerHost:   atOnce,
			},
			CheckRedirect: func(req *http.Request, via []*http.Request) error {
				if !mayHaveToken(via[0].URL, req.URL) {
					req.Header.Del("Authorization")
				}
				if len(via) > 10 {
					return errors.New("more than ten redirects")
				}
				return nil
			},
		}
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "attnscope")
	req.Header.Set("Accept-Encoding", "identity")
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if part != "" {
		req.Header.Set("Range", part)
	}
	return c.http.Do(req)
}
