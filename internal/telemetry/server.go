package telemetry

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmanager/shardmanager/internal/transport"
)

// closeWithin is for requests that are under way at the end; a profile may have half a minute to go, and is cut off.
const closeWithin = time.Second

// Serve answers at a listener of its own until stop, which closes it; an error of serving goes to failed.
func Serve(l net.Listener, metrics prometheus.Gatherer, live, ready Check, failed func(error)) (stop func()) {
	mux := http.NewServeMux()
	Handle(mux, metrics, live, ready)
	server := transport.NewServer(context.Background(), mux)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed(err)
		}
	}()
	return func() {
		_ = transport.Shutdown(server, closeWithin) // whoever still asks is cut off
		<-done
	}
}
