package relay

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"syscall"
)

// What linux/sock_diag.h and linux/inet_diag.h say.
const (
	netlinkSockDiag   = 4
	sockDiagByFamily  = 20
	anyState          = 0xffff_ffff
	diagRequestSize   = 56 // struct inet_diag_req_v2
	diagID            = 8  // offset of its struct inet_diag_sockid
	diagAnswerInode   = 68 // offset in struct inet_diag_msg
	diagAnswerSize    = 72
	diagReceive       = 4096
	diagPatienceMilli = 500
)

// errUnknownSocket says that the kernel knows no such connection, or cannot be asked.
var errUnknownSocket = errors.New("unknown socket")

// askInode asks the kernel for one connection's socket, by its two ends: reading the table of all would take the longer the more there are, and programs
// that are kept waiting make more.
func askInode(local, remote netip.AddrPort) (inode uint64, err error) {
	if !local.Addr().Is4() || !remote.Addr().Is4() {
		return 0, errUnknownSocket
	}
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, netlinkSockDiag)
	if err != nil {
		return 0, err
	}
	defer func() { _ = syscall.Close(fd) }()
	patience := syscall.Timeval{Usec: diagPatienceMilli * 1000}
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &patience); err != nil {
		return 0, err
	}
	if err := syscall.Sendto(fd, diagRequest(local, remote), 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return 0, err
	}
	buffer := make([]byte, diagReceive)
	n, _, err := syscall.Recvfrom(fd, buffer, 0)
	if err != nil {
		return 0, err
	}
	messages, err := syscall.ParseNetlinkMessage(buffer[:n])
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		if m.Header.Type == sockDiagByFamily && len(m.Data) >= diagAnswerSize {
			return uint64(binary.NativeEndian.Uint32(m.Data[diagAnswerInode:])), nil
		}
	}
	return 0, errUnknownSocket
}

// diagRequest is the message that asks for it.
func diagRequest(local, remote netip.AddrPort) []byte {
	b := make([]byte, syscall.NLMSG_HDRLEN+diagRequestSize)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(b[6:], syscall.NLM_F_REQUEST)
	r := b[syscall.NLMSG_HDRLEN:]
	r[0], r[1] = syscall.AF_INET, syscall.IPPROTO_TCP
	binary.NativeEndian.PutUint32(r[4:], anyState)
	id := r[diagID:]
	binary.BigEndian.PutUint16(id, local.Port())
	binary.BigEndian.PutUint16(id[2:], remote.Port())
	four := local.Addr().As4()
	copy(id[4:], four[:])
	four = remote.Addr().As4()
	copy(id[20:], four[:])
	binary.NativeEndian.PutUint64(id[40:], ^uint64(0)) // no cookie
	return b
}
