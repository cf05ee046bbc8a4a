// Package process watches the processes of applications: who is at the other end of a Unix socket, does it live, has it exited, and does that
// prove anything.
//
// The agent's shell calls it. It ends no process.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/shardmanager/shardmanager/agent/api"
	"github.com/shardmanager/shardmanager/agent/roster"
)

// soPeerPIDFD asks a Unix socket for a pidfd of the process that connected (Linux 6.5); the constant is younger than our x/sys.
const soPeerPIDFD = 77

// Process is a watched process: its pidfd tells of its exit, and of no other process's that has the same number later.
type Process struct {
	ID   roster.Process
	file *os.File // pidfd, non-blocking
}

// Peer finds the process at the other end of a Unix socket, and whether its exit will prove that nothing of it runs any more:
// it stated its own pid and pid namespace, equal to what the kernel says, and does all its work itself (R5).
func Peer(conn net.Conn, stated api.Registration) (*Process, error) {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("register: the caller came over %s: expected the agent's Unix socket", conn.LocalAddr().Network())
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("register: peer: %w", err)
	}
	var cred *unix.Ucred
	pidfd := -1
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if got, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, soPeerPIDFD); err == nil {
			pidfd = got
		}
	})
	if err = errors.Join(err, credErr); err != nil {
		return nil, fmt.Errorf("register: peer credentials: %w", err)
	}
	p, err := watch(int64(cred.Pid), pidfd)
	if err != nil {
		return nil, fmt.Errorf("register: %w", err)
	}
	p.ID.ExitProves = stated.SingleProcess && statedItself(p.ID.PID, stated.PID, stated.PIDNamespace)
	return p, nil
}

// Open finds a process by its number and start time; an error if it is not that one any more.
func Open(id roster.Process) (*Process, error) {
	p, err := watch(id.PID, -1)
	if err != nil {
		return nil, err
	}
	if p.ID.StartTicks != id.StartTicks {
		p.Close()
		return nil, fmt.Errorf("process %d is another one now: %w", id.PID, os.ErrProcessDone)
	}
	p.ID = id
	return p, nil
}

// ProvesExit reports whether an error of Open says that the process is gone, and not only that it cannot be looked at (PROTOCOL R5).
func ProvesExit(err error) bool {
	return errors.Is(err, os.ErrProcessDone) || errors.Is(err, unix.ESRCH)
}

// watch makes a pidfd pollable, opening one if need be. The start time is read while the pidfd is held and the process seen to
// live after that: it is this process's.
func watch(pid int64, pidfd int) (*Process, error) {
	if pidfd < 0 {
		var err error
		if pidfd, err = unix.PidfdOpen(int(pid), 0); err != nil {
			return nil, fmt.Errorf("process %d: pidfd: %w", pid, err)
		}
	}
	unix.CloseOnExec(pidfd)
	if err := unix.SetNonblock(pidfd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("process %d: pidfd: %w", pid, err), unix.Close(pidfd))
	}
	p := &Process{ID: roster.Process{PID: pid}, file: os.NewFile(uintptr(pidfd), "pidfd")}
	start, err := startTicks(pid)
	if p.Exited() {
		err = os.ErrProcessDone
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	p.ID.StartTicks = start
	return p, nil
}

// Exited looks at the pidfd without waiting.
func (p *Process) Exited() bool {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = raw.Control(func(fd uintptr) { gone = readable(int(fd)) })
	return err == nil && gone
}

func readable(fd int) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if !errors.Is(err, syscall.EINTR) {
			return err == nil && n > 0
		}
	}
}

// Wait returns true once the process has exited, false once p was closed. It holds no thread: the runtime's poller has the pidfd.
func (p *Process) Wait() bool {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return false
	}
	return raw.Read(func(fd uintptr) bool { return readable(int(fd)) }) == nil
}

// Close ends the watch: Wait returns.
func (p *Process) Close() { _ = p.file.Close() }

// startTicks reads field 22 of /proc/<pid>/stat: clock ticks since boot at which the process started.
func startTicks(pid int64) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := bytes.Cut(stat[max(bytes.LastIndexByte(stat, ')'), 0):], []byte(") ")) // the name may contain anything
	fields := bytes.Fields(rest)
	const startField = 22 - 3 // fields count from 1, and two came before
	if !ok || len(fields) <= startField {
		return 0, errors.New("unreadable stat")
	}
	return strconv.ParseUint(string(fields[startField]), 10, 64)
}

// statedItself reports whether what a process says of its own pid and namespace is what the kernel says of the process that connected.
func statedItself(pid, stated int64, namespace uint64) bool {
	var info unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/pid", pid), &info); err != nil || info.Ino != namespace {
		return false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	_, line, ok := bytes.Cut(status, []byte("\nNSpid:"))
	line, _, _ = bytes.Cut(line, []byte("\n"))
	numbers := bytes.Fields(line) // in each nested namespace, the process's own last
	return ok && len(numbers) > 0 && string(numbers[len(numbers)-1]) == strconv.FormatInt(stated, 10)
}
