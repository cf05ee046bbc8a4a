// Package ports hands out ports of the loopback interface, free for TCP and UDP, to clusters on one machine. It listens only to claim them. Called by
// internal/dev and its parts.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
)

// Ports hands out ports. They lie below the range from which the kernel takes the ports of outgoing
// connections, so that a program that was killed finds its port free when it is started again. They come in blocks, each claimed by listening at
// its first port, so that two clusters on one machine never choose the same.
type Ports struct {
	low, high int
	claims    []net.Listener
	next      int // of the block claimed last
	left      int
}

const (
	// lowestPort keeps clear of well-known services.
	lowestPort = 10_240
	// blockSize is the number of ports in a block: a cluster needs about thirty.
	blockSize = 64
	// portTries bounds the search for a free block.
	portTries = 1000
)

// New claims nothing yet.
func New() *Ports {
	p := &Ports{low: lowestPort, high: 32_768}
	content, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if fields := strings.Fields(string(content)); err == nil && len(fields) == 2 {
		if first, err := strconv.Atoi(fields[0]); err == nil && first > p.low+1000 {
			p.high = min(p.high, first)
		}
	}
	return p
}

// Take returns the address of a free port; the preferred one if it is free.
func (p *Ports) Take(preferred int) (string, error) {
	if preferred != 0 && free(preferred) {
		return address(preferred), nil
	}
	for {
		for p.left > 0 {
			port := p.next
			p.next, p.left = p.next+1, p.left-1
			if free(port) {
				return address(port), nil
			}
		}
		if err := p.claim(); err != nil {
			return "", err
		}
	}
}

// claim finds a block that nobody has.
func (p *Ports) claim() error {
	for range portTries {
		first := p.low + blockSize*rand.IntN((p.high-p.low)/blockSize)
		if listener, err := net.Listen("tcp", address(first)); err == nil {
			p.claims = append(p.claims, listener)
			p.next, p.left = first+1, blockSize-1
			return nil
		}
	}
	return errors.New("no free TCP ports on the loopback interface")
}

// Release gives all blocks back.
func (p *Ports) Release() (err error) {
	for _, c := range p.claims {
		err = errors.Join(err, c.Close())
	}
	p.claims, p.left = nil, 0
	return err
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func free(port int) bool {
	listener, err := net.Listen("tcp", address(port))
	if err != nil || listener.Close() != nil {
		return false
	}
	packets, err := net.ListenPacket("udp", address(port))
	return err == nil && packets.Close() == nil
}
