package daemon

import (
	"net"
	"sync"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/internal/transport"
)

// Readiness tells systemd (sd_notify) that a daemon is ready once it accepts connections at all of its listeners, so that a unit ordered after
// it finds it there. Without systemd nothing happens.
type Readiness struct {
	ready func()

	mu   sync.Mutex
	left int
}

// NewReadiness makes one for a number of listeners.
func NewReadiness(listeners int, log zerolog.Logger) *Readiness {
	return &Readiness{ready: func() { tell(systemd.SdNotifyReady, log) }, left: listeners}
}

// TellReady says to systemd that a daemon without listeners is ready.
func TellReady(log zerolog.Logger) { tell(systemd.SdNotifyReady, log) }

// tell says to systemd how the daemon stands.
func tell(state string, log zerolog.Logger) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		log.Warn().Err(err).Msg("systemd cannot be told: see NOTIFY_SOCKET")
	}
}

// Listen opens a listener whose first Accept counts.
func (r *Readiness) Listen(address string) (net.Listener, error) {
	l, err := transport.Listen(address)
	if err != nil {
		return nil, err
	}
	return &counted{Listener: l, accepts: sync.OnceFunc(r.one)}, nil
}

func (r *Readiness) one() {
	r.mu.Lock()
	r.left--
	last := r.left == 0
	r.mu.Unlock()
	if last {
		r.ready()
	}
}

type counted struct {
	net.Listener
	accepts func()
}

func (l *counted) Accept() (net.Conn, error) {
	l.accepts()
	return l.Listener.Accept()
}
