package gossip

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// sockets is memberlist's own transport, but for dials that end with the node.
type sockets struct {
	*memberlist.NetTransport
	ctx context.Context
}

var _ memberlist.NodeAwareTransport = (*sockets)(nil)

// listen opens the sockets of a configuration.
func listen(ctx context.Context, cfg Config, logger *log.Logger) (memberlist.Transport, error) {
	host, port, err := split(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("gossip_listen: %w", err)
	}
	ip, err := resolve("gossip_listen", host)
	if err != nil {
		return nil, err
	}
	for range portTries { // a port that the kernel gave for TCP may be taken for UDP
		var inner *memberlist.NetTransport
		inner, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{ip.String()}, BindPort: port, Logger: logger})
		if err == nil {
			return &sockets{NetTransport: inner, ctx: ctx}, nil
		}
		if port != 0 {
			break
		}
	}
	return nil, fmt.Errorf("gossip_listen: %w", err)
}

// portTries is how often a port is drawn, if none is configured.
const portTries = 10

// DialTimeout implements memberlist.Transport.
func (s *sockets) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: timeout}
	return dialer.DialContext(s.ctx, "tcp", address)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (s *sockets) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return s.DialTimeout(a.Addr, timeout)
}
