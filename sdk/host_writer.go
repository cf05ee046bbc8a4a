package sdk

import (
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxKeptBack is how much of an answer waits for the final check of the lease, in bytes. Beyond it the check is made before the first
// byte leaves, and again before every write.
const maxKeptBack = 1 << 20

var errAnswerWithheld = errors.New("the lease ended while the operation was running: the answer is withheld")

// checkedWriter keeps an answer back until the token's final check (DESIGN §3, promise 1).
type checkedWriter struct {
	w     http.ResponseWriter
	r     *http.Request
	token *Token
	given http.Header // headers set by whoever wrapped the Middleware; nil: none

	status  int // 0: not said yet
	body    []byte
	passing bool // the head has left, writes go through
	refused bool // the refusal was written instead
}

func newCheckedWriter(w http.ResponseWriter, r *http.Request, token *Token) *checkedWriter {
	c := &checkedWriter{w: w, r: r, token: token}
	if len(w.Header()) > 0 {
		c.given = w.Header().Clone()
	}
	return c
}

// Header is the real one: handlers keep it and set trailers late.
func (c *checkedWriter) Header() http.Header { return c.w.Header() }

// WriteHeader keeps the first final status; informational ones are dropped.
func (c *checkedWriter) WriteHeader(status int) {
	if c.status == 0 && status >= http.StatusOK {
		c.status = status
	}
}

func (c *checkedWriter) Write(p []byte) (int, error) {
	if !c.passing && !c.refused && len(c.body)+len(p) <= maxKeptBack {
		c.WriteHeader(http.StatusOK)
		c.body = append(c.body, p...)
		return len(p), nil
	}
	if err := c.pass(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

// pass checks the lease and lets what was kept back leave, if it has not left yet.
func (c *checkedWriter) pass() error {
	if c.refused {
		return errAnswerWithheld
	}
	if err := c.token.check(); err != nil {
		if !c.passing {
			c.withhold()
		}
		return errAnswerWithheld
	}
	if c.passing {
		return nil
	}
	c.passing = true
	return c.send()
}

// Flush lets the answer leave in parts.
func (c *checkedWriter) Flush() { _ = c.FlushError() }

// FlushError is Flush for http.ResponseController.
func (c *checkedWriter) FlushError() error {
	if err := c.pass(); err != nil {
		return err
	}
	return http.NewResponseController(c.w).Flush()
}

// SetReadDeadline, SetWriteDeadline and EnableFullDuplex serve http.ResponseController. There is no Unwrap: it would lead around the check.
func (c *checkedWriter) SetReadDeadline(t time.Time) error {
	return http.NewResponseController(c.w).SetReadDeadline(t)
}

// SetWriteDeadline see SetReadDeadline.
func (c *checkedWriter) SetWriteDeadline(t time.Time) error {
	return http.NewResponseController(c.w).SetWriteDeadline(t)
}

// EnableFullDuplex see SetReadDeadline.
func (c *checkedWriter) EnableFullDuplex() error {
	return http.NewResponseController(c.w).EnableFullDuplex()
}

// finish returns the token and sends what was kept back.
func (c *checkedWriter) finish() {
	err := c.token.End()
	switch {
	case c.refused:
	case err != nil && c.passing:
		panic(http.ErrAbortHandler) // parts have left: only a broken connection says that the rest is missing
	case err != nil:
		c.withhold()
	case !c.passing:
		c.setLength()
		_ = c.send() // the connection is gone if this fails
	}
}

// setLength spares net/http the chunks where the whole body is known.
func (c *checkedWriter) setLength() {
	c.WriteHeader(http.StatusOK)
	header := c.w.Header()
	if c.r.Method == http.MethodHead || c.status == http.StatusNoContent || c.status == http.StatusNotModified || header.Get("Content-Length") != "" {
		return
	}
	for key := range header {
		if key == "Trailer" || key == "Transfer-Encoding" || strings.HasPrefix(key, http.TrailerPrefix) {
			return
		}
	}
	header.Set("Content-Length", strconv.Itoa(len(c.body)))
}

func (c *checkedWriter) send() error {
	c.WriteHeader(http.StatusOK)
	c.token.stamp(c.w.Header())
	c.w.WriteHeader(c.status)
	if len(c.body) == 0 {
		return nil
	}
	_, err := c.w.Write(c.body)
	c.body = nil
	return err
}

// withhold replaces the handler's answer by the refusal: its outcome is unknown.
func (c *checkedWriter) withhold() {
	c.refused, c.body = true, nil
	header := c.w.Header()
	clear(header)
	maps.Copy(header, c.given)
	c.token.host.writeRefusal(c.w, c.r, c.token.lost())
}
