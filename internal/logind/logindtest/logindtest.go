// Package logindtest is a system bus of a test's own, a real one, with what plays systemd-logind on it.
package logindtest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// Logind plays systemd-logind.
type Logind struct {
	Address string // for DBUS_SYSTEM_BUS_ADDRESS

	t    testing.TB
	conn *dbus.Conn

	mu     sync.Mutex
	delays []*Delay
}

// Delay is an inhibitor lock that somebody took.
type Delay struct {
	What, Who, Why, Mode string
	Ended                chan struct{} // closed when every copy of its file is
}

const config = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/><allow user="*"/></policy></busconfig>`

// Start starts a bus with a logind until the end of the test, which is skipped where there is no dbus-daemon.
func Start(t testing.TB, maxDelay time.Duration) *Logind {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("dbus-daemon is not there (Debian: dbus-daemon): nothing is asked of logind")
	}
	dir, err := os.MkdirTemp("", "bus") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket, file := filepath.Join(dir, "socket"), filepath.Join(dir, "config")
	if err := os.WriteFile(file, fmt.Appendf(nil, config, socket), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config-file="+file, "--nofork", "--nopidfile", "--print-address")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("dbus-daemon says %q, %v", line, err)
	}
	l := &Logind{Address: strings.TrimSpace(line), t: t}
	if l.conn, err = dbus.Connect(l.Address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.conn.Close() })
	err = errors.Join(
		l.conn.Export(calls{l}, "/org/freedesktop/login1", "org.freedesktop.login1.Manager"),
		l.conn.Export(properties(uint64(maxDelay.Microseconds())), "/org/freedesktop/login1", "org.freedesktop.DBus.Properties"))
	if reply, ownErr := l.conn.RequestName("org.freedesktop.login1", dbus.NameFlagDoNotQueue); err != nil || ownErr != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(err, ownErr, reply)
	}
	return l
}

// Say emits one of logind's signals, such as PrepareForShutdown.
func (l *Logind) Say(signal string, begins bool) {
	l.t.Helper()
	if err := l.conn.Emit("/org/freedesktop/login1", "org.freedesktop.login1.Manager."+signal, begins); err != nil {
		l.t.Fatal(err)
	}
}

// Delays are the locks taken so far, the oldest first.
func (l *Logind) Delays() []*Delay {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*Delay(nil), l.delays...)
}

// calls are logind's methods.
type calls struct{ l *Logind }

// Inhibit hands out one end of a pipe: when it is closed everywhere, the other end says so.
func (c calls) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	var ends [2]int // not files: the bus's own copy is closed beside its use
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	read := os.NewFile(uintptr(ends[0]), "inhibitor")
	d := &Delay{What: what, Who: who, Why: why, Mode: mode, Ended: make(chan struct{})}
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.delays = append(c.l.delays, d)
	go func() {
		defer close(d.Ended)
		_, _ = read.Read(make([]byte, 1)) // nobody writes: it ends with the last copy of the other end
		_ = read.Close()
	}()
	time.AfterFunc(sendTime, func() { _ = syscall.Close(ends[1]) })
	return dbus.UnixFD(ends[1]), nil
}

// sendTime is until when the bus has sent a file on, for certain.
const sendTime = time.Second

// properties has the one property that is asked for.
type properties uint64

// Get implements org.freedesktop.DBus.Properties.
func (p properties) Get(_, name string) (dbus.Variant, *dbus.Error) {
	if name != "InhibitDelayMaxUSec" {
		return dbus.Variant{}, dbus.MakeFailedError(errors.New("no property " + name))
	}
	return dbus.MakeVariant(uint64(p)), nil
}
