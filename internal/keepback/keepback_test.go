package keepback

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

var errOver = errors.New("over")

// fake is an operation whose checks fail from the nth on; End is one too.
type fake struct{ checks, failFrom int }

func (f *fake) Check() error {
	f.checks++
	if f.failFrom > 0 && f.checks >= f.failFrom {
		return errOver
	}
	return nil
}
func (f *fake) End() error          { return f.Check() }
func (f *fake) Stamp(h http.Header) { h.Set("Stamp", "yes") }
func (f *fake) Refuse(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "refused", http.StatusServiceUnavailable)
}

func TestAnswers(t *testing.T) {
	large := strings.Repeat("x", Most+1)
	for name, c := range map[string]struct {
		failFrom int
		answer   func(http.ResponseWriter)
		status   int
		body     string
		broken   bool
	}{
		"whole":             {0, func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated); _, _ = w.Write([]byte("hi")) }, http.StatusCreated, "hi", false},
		"nothing":           {0, func(http.ResponseWriter) {}, 200, "", false},
		"withheld":          {1, func(w http.ResponseWriter) { w.Header().Set("Secret", "x"); _, _ = w.Write([]byte("hi")) }, 503, "refused\n", false},
		"large":             {0, func(w http.ResponseWriter) { _, _ = w.Write([]byte(large)) }, 200, large, false},
		"large, withheld":   {1, func(w http.ResponseWriter) { _, _ = w.Write([]byte(large)) }, 503, "refused\n", false},
		"large, then over":  {2, func(w http.ResponseWriter) { _, _ = w.Write([]byte(large)) }, 200, large, true},
		"flushed, then not": {2, func(w http.ResponseWriter) { w.(http.Flusher).Flush(); _, _ = w.Write([]byte(large)) }, 200, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			recorder, request := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
			broken := func() (broken bool) {
				defer func() { broken = recover() != nil }()
				w := New(recorder, request, &fake{failFrom: c.failFrom})
				c.answer(w)
				w.Finish()
				return false
			}()
			if recorder.Code != c.status || recorder.Body.String() != c.body || broken != c.broken {
				t.Errorf("status %d, %d bytes, broken %t; want %d, %d, %t", recorder.Code, recorder.Body.Len(), broken, c.status, len(c.body), c.broken)
			}
			header := recorder.Header()
			if stamped := header.Get("Stamp") == "yes"; stamped != (c.status != http.StatusServiceUnavailable) || header.Get("Secret") != "" {
				t.Errorf("headers %v", header)
			}
		})
	}
}
