// Package transport makes the HTTP servers and clients that every process of Shard Manager uses: HTTP/1.1 and cleartext HTTP/2 on one
// listener, TCP or Unix sockets, and HTTP/2 pings, without which a peer that fell silent is never noticed.
package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/internal/surroundings"
)

// pings make a silent peer known within two seconds (FACTS §6).
func pings() *http.HTTP2Config {
	return &http.HTTP2Config{SendPingTimeout: time.Second, PingTimeout: time.Second}
}

// NewServer serves HTTP/1.1 and cleartext HTTP/2. Streams see ctx cancelled at once when the server shuts down.
func NewServer(ctx context.Context, handler http.Handler) *http.Server {
	ctx, cancel := context.WithCancel(ctx)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler: handler, Protocols: protocols, HTTP2: pings(), ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	server.RegisterOnShutdown(cancel)
	return server
}

// Shutdown ends a server within the time given, streams included.
func Shutdown(server *http.Server, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(err, server.Close())
	}
	return nil
}

// Endpoint is how to reach a service: the client and the base URL to give to a Connect client.
type Endpoint struct {
	Client *http.Client
	URL    string
}

// Dial makes an HTTP/2 endpoint of an address: host:port, http://host:port or unix:///path. Nothing is dialled before the first request.
func Dial(address string) (Endpoint, error) {
	network, target, err := split(address)
	if err != nil {
		return Endpoint{}, err
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	dial := surroundings.Dialer((&net.Dialer{Timeout: 2 * time.Second}).DialContext)
	t := &http.Transport{
		Protocols: protocols, HTTP2: pings(), DisableCompression: true, IdleConnTimeout: time.Minute,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial(ctx, network, target)
		},
	}
	url := "http://" + target
	if network == "unix" {
		url = "http://unix"
	}
	return Endpoint{Client: &http.Client{Transport: t}, URL: url}, nil
}

// Close lets go of idle connections.
func (e Endpoint) Close() {
	if e.Client != nil {
		e.Client.CloseIdleConnections()
	}
}

// Check says what is wrong with an address that is to be listened at, before anybody tries.
func Check(address string) error {
	network, target, err := split(address)
	if err != nil || network == "unix" {
		return err
	}
	_, port, err := net.SplitHostPort(target)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("address %q: expected a port of 0 to 65535", address)
	}
	return nil
}

// Listen opens a listener on host:port or unix:///path. The socket file of a dead process is replaced; a living one's is not.
func Listen(address string) (net.Listener, error) {
	network, target, err := split(address)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		if err := removeDeadSocket(target); err != nil {
			return nil, err
		}
	}
	return net.Listen(network, target)
}

func removeDeadSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("listen: %s exists and is no socket: remove it or choose another path", path)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close()
		return fmt.Errorf("listen: %s is in use by another process", path)
	}
	return os.Remove(path)
}

// maxUnixPath is the longest path of a Unix socket on Linux, less the final zero.
const maxUnixPath = 107

func split(address string) (network, target string, err error) {
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		if len(path) > maxUnixPath {
			return "", "", fmt.Errorf("address %s: a Unix socket's path may have at most %d bytes, this one has %d", address, maxUnixPath, len(path))
		}
		return "unix", path, nil
	}
	target = strings.TrimPrefix(address, "http://")
	if _, _, err := net.SplitHostPort(target); err != nil {
		return "", "", fmt.Errorf("address %q: expected host:port, http://host:port or unix:///path", address)
	}
	return "tcp", target, nil
}
