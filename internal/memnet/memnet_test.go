package memnet

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmanager/shardmanager/internal/surroundings"
	"github.com/shardmanager/shardmanager/internal/transport"
)

func pair(t *testing.T, n *Network) (client, server net.Conn) {
	t.Helper()
	listener, err := n.Listen("b:1")
	if err != nil {
		t.Fatal(err)
	}
	client, err = n.Dialer("a")(t.Context(), "tcp", "b:1")
	if err != nil {
		t.Fatal(err)
	}
	if server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func TestBytesTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pair(t, New(5*time.Millisecond))
		began := time.Now()
		go func() {
			_, _ = client.Write([]byte("one"))
			_ = client.Close()
		}()
		got, err := io.ReadAll(server)
		if err != nil || string(got) != "one" || time.Since(began) != 5*time.Millisecond {
			t.Errorf("%q, %v after %s", got, err, time.Since(began))
		}
		if _, err := server.Write([]byte("two")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write to an end that is closed: %v", err)
		}
	})
}

func TestCutAndStopHoldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(0)
		client, server := pair(t, n)
		for name, fault := range map[string]struct{ on, off func() }{
			"cut":  {func() { n.Cut("b", "a") }, func() { n.Mend("a", "b") }},
			"stop": {func() { n.Stop("a") }, func() { n.Go("a") }},
		} {
			fault.on()
			_, _ = client.Write([]byte("x"))
			time.AfterFunc(time.Minute, fault.off)
			began, b := time.Now(), make([]byte, 4)
			if got, err := server.Read(b); got != 1 || err != nil || time.Since(began) != time.Minute {
				t.Errorf("%s: %d bytes, %v after %s", name, got, err, time.Since(began))
			}
		}
		n.Cut("a", "b")
		if _, err := n.Dialer("a")(t.Context(), "tcp", "b:1"); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("dial over a link that is cut: %v", err)
		}
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(0)
		client, server := pair(t, n)
		_ = server.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		_ = client.SetWriteDeadline(time.Now().Add(time.Second))
		sent, err := client.Write(make([]byte, maxUnderWay+1))
		if sent != maxUnderWay || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write beyond what may be under way: %d bytes, %v", sent, err)
		}
	})
}

func TestKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(0)
		client, _ := pair(t, n)
		n.Kill("b")
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read from one that was killed: %v", err)
		}
		if _, err := n.Dialer("a")(t.Context(), "tcp", "b:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial to one that was killed: %v", err)
		}
	})
}

func TestBacklogIsLimited(t *testing.T) {
	n := New(0)
	if _, err := n.Listen("b:1"); err != nil {
		t.Fatal(err)
	}
	for range maxBacklog {
		if _, err := n.Dialer("a")(t.Context(), "tcp", "b:1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.Dialer("a")(t.Context(), "tcp", "b:1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("one more: %v", err)
	}
}

// HTTP/2 over it, dialled by package transport as everything here dials; a peer that falls silent is found by pings, in virtual time.
func TestHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(time.Millisecond)
		listener, err := n.Listen("b:1")
		if err != nil {
			t.Fatal(err)
		}
		server := transport.NewServer(t.Context(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/wait" {
				<-r.Context().Done()
			}
			_, _ = io.WriteString(w, r.Proto)
		}))
		go func() { _ = server.Serve(listener) }()
		endpoint, err := transport.Dial("b:1")
		if err != nil {
			t.Fatal(err)
		}
		ctx := surroundings.With(t.Context(), surroundings.Surroundings{Dial: n.Dialer("a")})
		get := func(path string) (string, error) {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint.URL+path, nil)
			if err != nil {
				return "", err
			}
			response, err := endpoint.Client.Do(request)
			if err != nil {
				return "", err
			}
			defer func() { _ = response.Body.Close() }()
			body, err := io.ReadAll(response.Body)
			return string(body), err
		}
		if got, err := get("/"); got != "HTTP/2.0" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		time.AfterFunc(time.Second, func() { n.Cut("a", "b") })
		began := time.Now()
		if _, err := get("/wait"); err == nil || strings.Contains(err.Error(), context.DeadlineExceeded.Error()) || time.Since(began) > 5*time.Second {
			t.Errorf("a silent peer: %v after %s", err, time.Since(began))
		}
		endpoint.Close()
		_ = server.Close()
		n.Kill("a")
	})
}
