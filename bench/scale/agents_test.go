package main

import (
	"context"
	"errors"
	"net"
	"testing"
)

// However many agents fail while others are still to attach, nobody waits for the first failure to be heard; and Ctrl-C ends it.
func TestAttachingEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nobody.Close() }()
	go func() { // a store that breaks every connection, until the user has enough
		for calls := 0; ; calls++ {
			conn, err := nobody.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
			if calls == 20 {
				cancel()
			}
		}
	}()
	p := &plane{address: nobody.Addr().String()}
	if f, err := attachAll(ctx, p, 400); err == nil {
		t.Errorf("attached: %v", f.attached.Load())
	}

	f := &fleet{failed: make(chan error, 1)}
	first := errors.New("first")
	for _, err := range []error{first, errors.New("second"), errors.New("third")} {
		f.fail(err)
	}
	if err := f.wait(t.Context(), "agents", f.attached.Load, 1); !errors.Is(err, first) {
		t.Errorf("%v, expected %v", err, first)
	}
}
