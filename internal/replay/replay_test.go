package replay

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// An attempt that was given up cannot take bytes from the one that follows it.
func TestOldClaimReadsNothing(t *testing.T) {
	body := watchBody(io.NopCloser(strings.NewReader("hello")))
	old, _ := body.claim()
	fresh, ok := body.claim()
	if !ok {
		t.Fatal("an unread body cannot be claimed again")
	}
	if n, err := old.Read(make([]byte, 8)); n != 0 || !errors.Is(err, ErrSpent) {
		t.Errorf("the old claim read %d bytes, %v", n, err)
	}
	if err := old.Close(); err != nil || body.over {
		t.Errorf("the old claim closed the body: %v", err)
	}
	if got, err := io.ReadAll(fresh); err != nil || string(got) != "hello" {
		t.Errorf("the new claim read %q, %v", got, err)
	}
	if _, ok := body.claim(); ok {
		t.Error("a body that was read was claimed again")
	}
}

// Kept bodies do not share anything that attempts could disturb for each other.
func TestKeptBodyIsIndependent(t *testing.T) {
	kept, err := Take(httptest.NewRequest(http.MethodPost, "/", strings.NewReader("hello")), 5)
	if err != nil {
		t.Fatal(err)
	}
	var attempts [4]*http.Request
	var readers sync.WaitGroup
	for i := range attempts {
		attempts[i] = httptest.NewRequest(http.MethodPost, "/", nil)
		if err := kept.Attach(attempts[i]); err != nil {
			t.Fatal(err)
		}
		readers.Go(func() {
			if got, err := io.ReadAll(attempts[i].Body); err != nil || !bytes.Equal(got, []byte("hello")) {
				t.Errorf("attempt %d read %q, %v", i, got, err)
			}
		})
	}
	readers.Wait()
}
