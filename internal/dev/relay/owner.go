package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// ownerTries bounds how often the kernel's table is read for one connection: it is no snapshot, and may miss a line while others change.
const ownerTries = 5

// owners finds out who is at the other end of connections, one at a time: a machine on which everybody connects anew has better things to do.
type owners struct {
	mu    sync.Mutex
	asked bool // the kernel has answered about one socket: what it does not know then is not there
}

// of finds the process at the other end of a connection on this machine: the kernel names its socket, and the process's descriptors name it too. Of
// known processes it returns the name, of others "". false: it could not be found out.
func (o *owners) of(conn net.Conn, processes map[string]int) (name string, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	inode, found := o.inode(addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr()))
	if !found {
		return "", false
	}
	for name, pid := range processes {
		if holds(pid, inode) {
			return name, true
		}
	}
	return "", true
}

// inode is that of the socket at one end of a connection. A socket that its process has closed already has none.
func (o *owners) inode(local, remote netip.AddrPort) (inode uint64, found bool) {
	inode, err := askInode(local, remote)
	if err == nil {
		o.asked = true
		return inode, inode != 0
	}
	if o.asked {
		return 0, false
	}
	for range ownerTries { // a kernel that cannot be asked has a table to be read
		table, err := os.ReadFile("/proc/self/net/tcp")
		if err != nil {
			return 0, false
		}
		if inode, found := inodeOf(table, local, remote); found {
			return inode, true
		}
	}
	return 0, false
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(tcp.AddrPort().Addr().Unmap(), tcp.AddrPort().Port())
}

// inodeOf finds the inode of the socket that is bound to local and connected to remote, in the form of /proc/net/tcp.
func inodeOf(table []byte, local, remote netip.AddrPort) (inode uint64, found bool) {
	l, r := procAddress(local), procAddress(remote)
	for line := range bytes.Lines(table) {
		fields := strings.Fields(string(line))
		if len(fields) < 10 || fields[1] != l || fields[2] != r {
			continue
		}
		inode, err := strconv.ParseUint(fields[9], 10, 64)
		return inode, err == nil && inode != 0
	}
	return 0, false
}

// procAddress writes an IPv4 address as the kernel's table does: the four bytes as a number of this machine, in hex.
func procAddress(a netip.AddrPort) string {
	if !a.Addr().Is4() {
		return ""
	}
	four := a.Addr().As4()
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(four[:]), a.Port())
}

// holds reports whether a process has a socket open.
func holds(pid int, inode uint64) bool {
	wanted := fmt.Sprintf("socket:[%d]", inode)
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false // it has ended
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && target == wanted {
			return true
		}
	}
	return false
}
