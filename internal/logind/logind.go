// Package logind is what we need of systemd-logind: to delay a shutdown or a sleep for a while, and to be told when one begins.
//
// internal/daemon calls it. It decides nothing, and does not come back by itself when the bus is lost.
package logind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/godbus/dbus/v5"
)

// Names on the bus.
const (
	service = "org.freedesktop.login1"
	path    = dbus.ObjectPath("/org/freedesktop/login1")
	manager = "org.freedesktop.login1.Manager"
)

// what we delay, as logind says it.
const what = "shutdown:sleep"

// Kind is a kind of event.
type Kind string

// Kinds of events, as logind's signals are called.
const (
	Shutdown Kind = "PrepareForShutdown"
	Sleep    Kind = "PrepareForSleep"
)

// Event is something that begins, or is over: a sleep ends, a shutdown may be taken back.
type Event struct {
	Kind   Kind
	Begins bool
}

// maxEvents is the most events that wait to be taken; further ones are lost, and there are none: they come one at a time.
const maxEvents = 16

// Manager is a connection to logind.
type Manager struct {
	conn    *dbus.Conn
	logind  dbus.BusObject
	signals chan *dbus.Signal
}

// Connect connects to logind on the system bus (DBUS_SYSTEM_BUS_ADDRESS: another one). ctx bounds the life of the connection.
func Connect(ctx context.Context) (*Manager, error) {
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("logind: system bus: %w", err)
	}
	m := &Manager{conn: conn, logind: conn.Object(service, path), signals: make(chan *dbus.Signal, maxEvents)}
	conn.Signal(m.signals)
	for _, kind := range []Kind{Shutdown, Sleep} {
		err := conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(service), dbus.WithMatchInterface(manager), dbus.WithMatchMember(string(kind)))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("logind: %s: %w", kind, err), conn.Close())
		}
	}
	return m, nil
}

// Close ends the connection, not the delays.
func (m *Manager) Close() { _ = m.conn.Close() } // what was asked for was answered

// Delay delays shutdowns and sleeps from now on until the file is closed, each by MaxDelay at most.
func (m *Manager) Delay(ctx context.Context, who, why string) (*os.File, error) {
	var fd dbus.UnixFD
	if err := m.logind.CallWithContext(ctx, manager+".Inhibit", 0, what, who, why, "delay").Store(&fd); err != nil {
		return nil, fmt.Errorf("logind: inhibit: %w", err)
	}
	return os.NewFile(uintptr(fd), "inhibitor"), nil
}

// MaxDelay is how long logind waits at most (InhibitDelayMaxSec in logind.conf).
func (m *Manager) MaxDelay() (time.Duration, error) {
	const property = "InhibitDelayMaxUSec"
	value, err := m.logind.GetProperty(manager + "." + property)
	if err != nil {
		return 0, fmt.Errorf("logind: %s: %w", property, err)
	}
	µs, ok := value.Value().(uint64)
	if !ok {
		return 0, fmt.Errorf("logind: %s: expected a number, not %v", property, value)
	}
	return time.Duration(µs) * time.Microsecond, nil
}

// Next waits for the next event. An error says that no more will come.
func (m *Manager) Next(ctx context.Context) (Event, error) {
	for {
		select {
		case s, ok := <-m.signals:
			if !ok {
				return Event{}, errors.New("logind: the system bus is lost")
			}
			kind, known := map[string]Kind{manager + "." + string(Shutdown): Shutdown, manager + "." + string(Sleep): Sleep}[s.Name]
			if begins, isBool := body(s); known && isBool {
				return Event{Kind: kind, Begins: begins}, nil
			}
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

func body(s *dbus.Signal) (value, ok bool) {
	if len(s.Body) != 1 {
		return false, false
	}
	value, ok = s.Body[0].(bool)
	return value, ok
}
