package layout

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
)

// ports hands out free ports of the loopback interface. They lie below the range from which the kernel takes the ports of outgoing
// connections, so that a program that was killed finds its port free when it is started again.
type ports struct {
	low, high int
	taken     map[int]bool
}

// lowestPort keeps clear of well-known services.
const lowestPort = 10_240

// portTries bounds the search for a free port.
const portTries = 1000

func newPorts() *ports {
	p := &ports{low: lowestPort, high: 32_768, taken: map[int]bool{}}
	content, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if fields := strings.Fields(string(content)); err == nil && len(fields) == 2 {
		if first, err := strconv.Atoi(fields[0]); err == nil && first > p.low+1000 {
			p.high = min(p.high, first)
		}
	}
	return p
}

// next returns the address of a free port; the preferred one if it is free.
func (p *ports) next(preferred int) (string, error) {
	port := preferred
	for range portTries {
		if port != 0 && !p.taken[port] && free(port) {
			p.taken[port] = true
			return address(port), nil
		}
		port = p.low + rand.IntN(p.high-p.low)
	}
	return "", errors.New("no free TCP port on the loopback interface")
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func free(port int) bool {
	listener, err := net.Listen("tcp", address(port))
	return err == nil && listener.Close() == nil
}
