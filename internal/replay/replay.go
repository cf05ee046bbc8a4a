// Package replay gives the body of an HTTP request to one attempt after another.
//
// The SDK's Router is its only caller. A body is never read by two attempts at once, and an attempt that was given up on cannot disturb
// the next one.
package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// ErrSpent says that the next attempt cannot have the body.
var ErrSpent = errors.New("the request's body was sent already and cannot be had again: set GetBody, or keep it under 1 MiB")

// Body is a request's body.
type Body struct {
	kept  []byte // the whole of it
	again func() (io.ReadCloser, error)
	once  *watchedBody // the body as the caller gave it; nil: there is none, or it is kept
}

// Take takes the body of req over. One of at most limit bytes is read at once, even if there is GetBody: that of a Connect client rewinds
// the body that an attempt given up on may still be sending.
func Take(req *http.Request, limit int64) (*Body, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return &Body{}, nil
	}
	if req.ContentLength <= 0 || req.ContentLength > limit {
		return &Body{once: watchBody(req.Body), again: req.GetBody}, nil
	}
	kept := make([]byte, req.ContentLength+1)
	n, err := io.ReadFull(req.Body, kept)
	if int64(n) == req.ContentLength && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)) {
		err = nil
	} else if err == nil {
		err = fmt.Errorf("longer than its ContentLength, %d", req.ContentLength)
	}
	if err = errors.Join(err, req.Body.Close()); err != nil {
		return nil, fmt.Errorf("request body: %w", err)
	}
	return &Body{kept: kept[:n:n]}, nil
}

// Attach sets the body of an attempt's request. The attempt before has ended as far as its caller can see, but may still hold its body.
func (b *Body) Attach(req *http.Request) error {
	if b.kept != nil {
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.kept)), nil }
		req.Body, _ = req.GetBody()
		return nil
	}
	req.Body, req.GetBody = nil, nil
	if b.once == nil {
		return nil
	}
	body, ok := b.once.claim()
	if !ok {
		if b.again == nil {
			return ErrSpent
		}
		select {
		case <-b.once.closed: // the attempt before may share what GetBody rewinds
		case <-req.Context().Done():
			return req.Context().Err()
		}
		fresh, err := b.again()
		if err != nil {
			return fmt.Errorf("request body: %w", err)
		}
		b.once = watchBody(fresh)
		body, _ = b.once.claim()
	}
	req.Body = body
	return nil
}

// Replayable reports whether another attempt can have the body.
func (b *Body) Replayable() bool {
	return b.once == nil || b.again != nil || !b.once.touched()
}

// Release ends the body's life as far as its taker goes: an attempt that still sends it closes it itself.
func (b *Body) Release() {
	if b.once != nil {
		b.once.release()
	}
}

// watchedBody is a body that remembers whether anything was read of it. As long as nothing was, it can be claimed again, and closing it
// is put off until release.
type watchedBody struct {
	body   io.ReadCloser
	closed chan struct{}

	mu       sync.Mutex
	claims   int  // the last one is the only one that counts
	read     bool // something was, or is about to be
	wanted   bool // the last claim was closed
	released bool
	over     bool
}

// claimedBody is an attempt's hold of a body; a later claim ends it.
type claimedBody struct {
	*watchedBody
	claim int
}

func watchBody(body io.ReadCloser) *watchedBody {
	return &watchedBody{body: body, closed: make(chan struct{})}
}

func (b *watchedBody) claim() (io.ReadCloser, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.read {
		return nil, false
	}
	b.claims++
	b.wanted = false
	return &claimedBody{watchedBody: b, claim: b.claims}, true
}

func (b *watchedBody) touched() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read
}

func (b *watchedBody) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.released, b.wanted = true, b.wanted || b.claims == 0
	_ = b.settle() // nobody reads it: its error concerns nobody
}

func (b *watchedBody) settle() error {
	if b.over || !b.wanted || (!b.released && !b.read) {
		return nil
	}
	b.over = true
	close(b.closed)
	return b.body.Close()
}

func (c *claimedBody) Read(p []byte) (int, error) {
	if !c.begin() {
		return 0, ErrSpent
	}
	return c.body.Read(p)
}

func (c *claimedBody) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.claim != c.claims || c.over {
		return false
	}
	c.read = true
	return true
}

func (c *claimedBody) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.claim != c.claims {
		return nil
	}
	c.wanted = true
	return c.settle()
}
