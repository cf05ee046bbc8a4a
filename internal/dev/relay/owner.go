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
)

// ownerTries bounds how often the kernel's table is read for one connection: it is no snapshot, and may miss a line while others change.
const ownerTries = 5

// ownerOf finds the process at the other end of a connection on this machine: the kernel's table names the socket, and the process's
// descriptors name it too. Of known processes it returns the name, of others "". false: it could not be found out.
func ownerOf(conn net.Conn, processes map[string]int) (name string, ok bool) {
	peer, here := addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr())
	for range ownerTries {
		table, err := os.ReadFile("/proc/self/net/tcp")
		if err != nil {
			return "", false
		}
		if inode, found := inodeOf(table, peer, here); found {
			for name, pid := range processes {
				if holds(pid, inode) {
					return name, true
				}
			}
			return "", true
		}
	}
	return "", false
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(tcp.AddrPort().Addr().Unmap(), tcp.AddrPort().Port())
}

// inodeOf finds the inode of the socket that is bound to local and connected to remote, in the form of /proc/net/tcp. A socket that its
// process has closed already has none.
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
