// Package client speaks the few calls of Nomad's HTTP API that the controller needs (ADR 70): lists of what is planned, the stream of events, and the
// orders. It keeps no state beyond its connections. Called by internal/nomad/controller.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// DefaultAddress is where the Nomad agent of a host listens.
const DefaultAddress = "http://127.0.0.1:4646"

// AllNamespaces is what every namespace is asked for by.
const AllNamespaces = "*"

// Config says how to reach Nomad.
type Config struct {
	Address    string `yaml:"nomad_address"`    // http://, https:// or unix:///path
	TokenFile  string `yaml:"nomad_token_file"` // read again for each call
	CAFile     string `yaml:"nomad_ca_file"`
	CertFile   string `yaml:"nomad_cert_file"` // read again for each connection
	KeyFile    string `yaml:"nomad_key_file"`
	ServerName string `yaml:"nomad_server_name"` // in Nomad's certificate; default: the address's host
	Namespace  string `yaml:"nomad_namespace"`   // *: all
}

// Validate names every wrong setting and what was expected.
func (c Config) Validate() error {
	var wrong []error
	expect := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	_, _, err := parse(c.Address)
	expect(err == nil, "nomad_address: %w", err)
	expect((c.CertFile == "") == (c.KeyFile == ""), "nomad_cert_file: expected together with nomad_key_file")
	for key, value := range map[string]string{"nomad_ca_file": c.CAFile, "nomad_cert_file": c.CertFile, "nomad_server_name": c.ServerName} {
		expect(value == "" || strings.HasPrefix(c.Address, "https://"), "%s: expected nomad_address to begin with https://", key)
	}
	expect(c.Namespace != "", "nomad_namespace: expected a namespace, or * for all")
	return errors.Join(wrong...)
}

// parse is the base of URLs, and the socket to dial for a unix address.
func parse(address string) (base, socket string, err error) {
	if path, ok := strings.CutPrefix(address, "unix://"); ok && strings.HasPrefix(path, "/") {
		return "http://nomad", path, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
		return "", "", fmt.Errorf("expected http://host:port, https://host:port or unix:///path, not %q", address)
	}
	return u.Scheme + "://" + u.Host, "", nil
}

// Client calls Nomad.
type Client struct {
	cfg  Config
	base string
	http *http.Client
}

// callTime bounds a call, dialTime the making of a connection; a stream has no end, but heartbeats.
const (
	callTime = 15 * time.Second
	dialTime = 5 * time.Second
)

// New makes a client of a valid configuration. Nothing is dialled.
func New(cfg Config) (*Client, error) {
	base, socket, err := parse(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("nomad_address: %w", err)
	}
	t := &http.Transport{IdleConnTimeout: time.Minute, TLSHandshakeTimeout: dialTime, ResponseHeaderTimeout: callTime, MaxIdleConnsPerHost: 4}
	dialer := &net.Dialer{Timeout: dialTime}
	t.DialContext = dialer.DialContext
	if socket != "" {
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
	}
	if t.TLSClientConfig, err = cfg.tls(); err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, base: base, http: &http.Client{Transport: t}}, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c Config) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("nomad_ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("nomad_ca_file: %s: expected certificates in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
			return &pair, err
		}
		if _, err := load(); err != nil {
			return nil, fmt.Errorf("nomad_cert_file: %w", err)
		}
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return t, nil
}
