package agent

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

// process is a watched process: its pidfd tells of its exit, and of no other process's that has the same number later.
type process struct {
	id   roster.Process
	file *os.File // pidfd, non-blocking
}

// peerProcess finds the process at the other end of a Unix socket, and whether its exit will prove that nothing of it runs any more:
// it stated its own pid and pid namespace, equal to what the kernel says, and does all its work itself (R5).
func peerProcess(conn net.Conn, stated api.Registration) (*process, error) {
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
	p, err := watchProcess(int64(cred.Pid), pidfd)
	if err != nil {
		return nil, fmt.Errorf("register: %w", err)
	}
	p.id.ExitProves = stated.SingleProcess && statedItself(p.id.PID, stated.PID, stated.PIDNamespace)
	return p, nil
}

// openProcess finds a process by its number and start time; an error if it is not that one any more.
func openProcess(id roster.Process) (*process, error) {
	p, err := watchProcess(id.PID, -1)
	if err != nil {
		return nil, err
	}
	if p.id.StartTicks != id.StartTicks {
		p.close()
		return nil, fmt.Errorf("process %d is another one now: %w", id.PID, os.ErrProcessDone)
	}
	p.id = id
	return p, nil
}

// provesExit reports whether an error of openProcess says that the process is gone, and not only that it cannot be looked at (PROTOCOL R5).
func provesExit(err error) bool {
	return errors.Is(err, os.ErrProcessDone) || errors.Is(err, unix.ESRCH)
}

// watchProcess makes a pidfd pollable, opening one if need be. The start time is read while the pidfd is held and the process seen to
// live after that: it is this process's.
func watchProcess(pid int64, pidfd int) (*process, error) {
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
	p := &process{id: roster.Process{PID: pid}, file: os.NewFile(uintptr(pidfd), "pidfd")}
	start, err := startTicks(pid)
	if p.exited() {
		err = os.ErrProcessDone
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	p.id.StartTicks = start
	return p, nil
}

// exited looks at the pidfd without waiting.
func (p *process) exited() bool {
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

// wait returns true once the process has exited, false once p was closed. It holds no thread: the runtime's poller has the pidfd.
func (p *process) wait() bool {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return false
	}
	return raw.Read(func(fd uintptr) bool { return readable(int(fd)) }) == nil
}

func (p *process) close() { _ = p.file.Close() }

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
