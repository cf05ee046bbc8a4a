package daemon

import (
	"net"
	"testing"

	"github.com/rs/zerolog"
)

// Ready is told once, after the last listener accepts, and not while one only listens.
func TestReadiness(t *testing.T) {
	ready := make(chan struct{}, 10)
	r := NewReadiness(2, zerolog.Nop())
	r.ready = func() { ready <- struct{}{} }
	var list []net.Listener
	for range 2 {
		l, err := r.Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, l)
	}
	accepted := make(chan struct{})
	accept := func(l net.Listener) {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
			accepted <- struct{}{}
		}
	}
	visit := func(l net.Listener) {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		<-accepted
		_ = conn.Close()
	}
	go accept(list[0])
	visit(list[0])
	visit(list[0])
	if len(ready) != 0 {
		t.Error("ready while one listener accepts nothing")
	}
	go accept(list[1])
	visit(list[1])
	<-ready
	for _, l := range list {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(ready) != 0 {
		t.Error("ready told again")
	}
	if _, err := r.Listen("nonsense"); err == nil {
		t.Error("listens at nonsense")
	}
}
