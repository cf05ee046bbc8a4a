// Package holding is the account of requests that wait: how many there are, and the bytes of their bodies (PROTOCOL R32). What exceeds its
// limits is refused by whoever asks it; it keeps no request itself.
package holding

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// Account of held requests. Make it with New.
type Account struct {
	maxCount int
	maxBytes int64

	mu    sync.Mutex
	count int
	bytes int64
}

// New makes an account with limits.
func New(maxCount int, maxBytes int64) *Account {
	return &Account{maxCount: maxCount, maxBytes: maxBytes}
}

// Ticket is one held request's part of the account.
type Ticket struct {
	account *Account
	bytes   int64
}

// Admit opens an account for one more request; false at the limit.
func (a *Account) Admit() (*Ticket, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.count >= a.maxCount {
		return nil, false
	}
	a.count++
	return &Ticket{account: a}, true
}

// Held is how many requests are held now, and their bytes.
func (a *Account) Held() (count int, bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count, a.bytes
}

// Grow asks for n more bytes; false at the limit.
func (t *Ticket) Grow(n int64) bool {
	a := t.account
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bytes+n > a.maxBytes {
		return false
	}
	a.bytes += n
	t.bytes += n
	return true
}

// Release gives everything back.
func (t *Ticket) Release() {
	a := t.account
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count--
	a.bytes -= t.bytes
}

// ErrBytes says that the limit of bytes is reached.
var ErrBytes = errors.New("too many bytes are held already (WithHoldLimits)")

// Read reads a body into memory that the ticket accounts for, in growing steps. Length −1: unknown.
func (t *Ticket) Read(from io.Reader, length int64) ([]byte, error) {
	if from == nil || from == http.NoBody || length == 0 {
		return nil, nil
	}
	size := int64(8 << 10)
	if length > 0 {
		size = length
	}
	if !t.Grow(size) {
		return nil, ErrBytes
	}
	body := make([]byte, 0, size)
	for {
		if len(body) == cap(body) {
			if int64(len(body)) == length {
				return body, nil
			}
			if !t.Grow(int64(cap(body))) {
				return nil, ErrBytes
			}
			body = append(make([]byte, 0, 2*cap(body)), body...)
		}
		n, err := from.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			return body, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
