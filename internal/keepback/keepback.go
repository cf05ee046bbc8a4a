// Package keepback keeps the answer of an operation back until it is certain that it may leave: a final check at the operation's end, or, for
// an answer that leaves in parts, a check before each part. What may not leave is replaced by a refusal, or the connection breaks.
//
// The SDK's Host wraps the application's handlers with it (DESIGN §3, promise 1). What is checked is not its business.
package keepback

import (
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Most is how much of an answer waits for the final check of the lease, in bytes. Beyond it the check is made before the first
// byte leaves, and again before every write.
const Most = 1 << 20

var errWithheld = errors.New("the lease ended while the operation was running: the answer is withheld")

// Operation is what an answer belongs to.
type Operation interface {
	// Check says whether a part of the answer may leave; the operation goes on.
	Check() error
	// End ends it, and says whether what is left may leave.
	End() error
	// Stamp adds to the headers of an answer that leaves.
	Stamp(header http.Header)
	// Refuse answers in its place.
	Refuse(w http.ResponseWriter, r *http.Request)
}

// Writer is an http.ResponseWriter that keeps an answer back until its operation's final check.
type Writer struct {
	w         http.ResponseWriter
	r         *http.Request
	operation Operation
	given     http.Header // headers set by whoever wrapped the Middleware; nil: none

	status  int // 0: not said yet
	body    []byte
	passing bool // the head has left, writes go through
	refused bool // the refusal was written instead
}

// New makes the writer of one answer; Finish ends it.
func New(w http.ResponseWriter, r *http.Request, operation Operation) *Writer {
	c := &Writer{w: w, r: r, operation: operation}
	if len(w.Header()) > 0 {
		c.given = w.Header().Clone()
	}
	return c
}

// Header is the real one: handlers keep it and set trailers late.
func (c *Writer) Header() http.Header { return c.w.Header() }

// WriteHeader keeps the first final status; informational ones are dropped.
func (c *Writer) WriteHeader(status int) {
	if c.status == 0 && status >= http.StatusOK {
		c.status = status
	}
}

func (c *Writer) Write(p []byte) (int, error) {
	if !c.passing && !c.refused && len(c.body)+len(p) <= Most {
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
func (c *Writer) pass() error {
	if c.refused {
		return errWithheld
	}
	if err := c.operation.Check(); err != nil {
		if !c.passing {
			c.withhold()
		}
		return errWithheld
	}
	if c.passing {
		return nil
	}
	c.passing = true
	return c.send()
}

// Flush lets the answer leave in parts.
func (c *Writer) Flush() { _ = c.FlushError() }

// FlushError is Flush for http.ResponseController.
func (c *Writer) FlushError() error {
	if err := c.pass(); err != nil {
		return err
	}
	return http.NewResponseController(c.w).Flush()
}

// SetReadDeadline serves http.ResponseController, as SetWriteDeadline and EnableFullDuplex do. There is no Unwrap: it would lead around the
// check.
func (c *Writer) SetReadDeadline(t time.Time) error {
	return http.NewResponseController(c.w).SetReadDeadline(t)
}

// SetWriteDeadline see SetReadDeadline.
func (c *Writer) SetWriteDeadline(t time.Time) error {
	return http.NewResponseController(c.w).SetWriteDeadline(t)
}

// EnableFullDuplex see SetReadDeadline.
func (c *Writer) EnableFullDuplex() error {
	return http.NewResponseController(c.w).EnableFullDuplex()
}

// Finish ends the operation and sends what was kept back.
func (c *Writer) Finish() {
	err := c.operation.End()
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
func (c *Writer) setLength() {
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

func (c *Writer) send() error {
	c.WriteHeader(http.StatusOK)
	c.operation.Stamp(c.w.Header())
	c.w.WriteHeader(c.status)
	if len(c.body) == 0 {
		return nil
	}
	_, err := c.w.Write(c.body)
	c.body = nil
	return err
}

// withhold replaces the handler's answer by the refusal: its outcome is unknown.
func (c *Writer) withhold() {
	c.refused, c.body = true, nil
	header := c.w.Header()
	clear(header)
	maps.Copy(header, c.given)
	c.operation.Refuse(c.w, c.r)
}
