package consul

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// dialTimeout is how long an address may take to be connected to before the next one is tried.
	dialTimeout = time.Second
	// maxConns bounds connections to one address: Consul answers 429 beyond 200 from one client.
	maxConns = 100
	// idleTimeout ends connections that nobody uses.
	idleTimeout = 90 * time.Second
	// A connection that fell silent is noticed after keepAliveIdle + keepAliveProbes × keepAliveEvery, 20 s.
	keepAliveIdle, keepAliveEvery, keepAliveProbes = 10 * time.Second, 5 * time.Second, 2
	// maxReason is how much of an answer's text an error keeps.
	maxReason = 1 << 10
)

// roundTripper sends each request to the address that worked last, with the token as it is now. When an address cannot be connected to, it
// tries the others at once, for nothing was sent; when one fails otherwise, later requests go to the next one. An answer of a status that
// consul/api does not take for data becomes an *answer, because consul/api drops the status of some.
type roundTripper struct {
	addresses []address
	next      *http.Transport
	token     *tokenSource
	at        atomic.Uint32 // of addresses
	trust     atomic.Pointer[trust]
}

// trust in whoever answers ends, as a context, with the next request that fails.
type trust struct {
	context.Context
	end context.CancelFunc
}

func newTrust() *trust {
	ctx, end := context.WithCancel(context.Background())
	return &trust{Context: ctx, end: end}
}

// doubt returns a context that ends with the next request that fails: whoever waits for an answer then asks again, perhaps elsewhere. It may
// be that nobody works on that answer any more.
func (r *roundTripper) doubt() context.Context { return r.trust.Load() }

// failed notes that the request to an address failed.
func (r *roundTripper) failed(at uint32) {
	r.at.CompareAndSwap(at, at+1)
	r.trust.Swap(newTrust()).end()
}

func newRoundTripper(cfg Config) (*roundTripper, error) {
	r := &roundTripper{token: &tokenSource{fixed: cfg.Token, path: cfg.TokenFile}}
	r.trust.Store(newTrust())
	for i, text := range cfg.Addresses {
		a, err := parseAddress(text)
		if err != nil {
			return nil, fmt.Errorf("consul_addresses[%d]: %w", i, err)
		}
		r.addresses = append(r.addresses, a)
	}
	secure, err := tlsConfig(cfg)
	if err != nil {
		return nil, err
	}
	if _, err := r.token.read(); err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveEvery, Count: keepAliveProbes,
	}}
	r.next = &http.Transport{
		DialContext: func(ctx context.Context, network, target string) (net.Conn, error) {
			if path, ok := ctx.Value(socketKey{}).(string); ok {
				return dialer.DialContext(ctx, "unix", path)
			}
			return dialer.DialContext(ctx, network, target)
		},
		TLSClientConfig: secure, TLSHandshakeTimeout: dialTimeout, MaxConnsPerHost: maxConns, MaxIdleConnsPerHost: maxConns, IdleConnTimeout: idleTimeout,
	}
	return r, nil
}

// socketKey is the key, in a request's context, of the path to dial instead of its host.
type socketKey struct{}

// RoundTrip implements http.RoundTripper.
func (r *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := r.token.read()
	if err != nil {
		return nil, err
	}
	first := r.at.Load()
	for try := range uint32(len(r.addresses)) {
		at := first + try
		sent, err := r.readdress(req, r.addresses[int(at)%len(r.addresses)], token, try > 0)
		if err != nil {
			return nil, err
		}
		resp, failure := r.next.RoundTrip(sent)
		if failure == nil {
			if resp.StatusCode >= http.StatusInternalServerError {
				r.failed(at)
			}
			return checked(resp)
		}
		err = failure
		if errors.Is(req.Context().Err(), context.Canceled) {
			return nil, err // whoever asked gave up: that says nothing of the address
		}
		r.failed(at)
		if dial := (*net.OpError)(nil); !errors.As(err, &dial) || dial.Op != "dial" || req.Context().Err() != nil {
			return nil, err
		}
		if try+1 == uint32(len(r.addresses)) {
			return nil, err
		}
	}
	return nil, errors.New("consul_addresses: none")
}

// readdress makes the request that goes to one address; again says that its body may have been read before.
func (r *roundTripper) readdress(req *http.Request, to address, token string, again bool) (*http.Request, error) {
	ctx := req.Context()
	if to.socket != "" {
		ctx = context.WithValue(ctx, socketKey{}, to.socket)
	}
	sent := req.Clone(ctx)
	sent.URL.Scheme, sent.URL.Host, sent.Host = to.scheme, to.host, to.host
	if token != "" {
		sent.Header.Set("X-Consul-Token", token)
	}
	if again && req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		sent.Body = body
	}
	return sent, nil
}

// answer is a refusal or failure that was answered, with its status.
type answer struct {
	status int
	text   string
	consul bool // Consul answered it, and nobody before it
}

func (a *answer) Error() string { return fmt.Sprintf("%d: %s", a.status, a.text) }

// checked lets through what consul/api reads itself: data, Consul's own word that something is absent, and transactions that were rolled back.
func checked(resp *http.Response) (*http.Response, error) {
	ours := fromConsul(resp.Header)
	switch {
	case resp.StatusCode == http.StatusOK && ours,
		resp.StatusCode == http.StatusNotFound && ours,
		resp.StatusCode == http.StatusConflict && ours:
		return resp, nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReason))
	if err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	if err := resp.Body.Close(); err != nil {
		return nil, err
	}
	return nil, &answer{status: resp.StatusCode, text: strings.TrimSpace(string(text)), consul: ours}
}

// fromConsul recognises answers of Consul by the headers that all of them have.
func fromConsul(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, "X-Consul-") {
			return true
		}
	}
	return false
}

// tlsConfig reads the certificates; nil if no address needs them.
func tlsConfig(cfg Config) (*tls.Config, error) {
	if !cfg.secure() {
		return nil, nil
	}
	secure := &tls.Config{ServerName: cfg.ServerName, MinVersion: tls.VersionTLS12}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("consul_ca_file: %w", err)
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("consul_ca_file: %s: expected certificates in PEM", cfg.CAFile)
		}
	}
	if cfg.CertFile != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("consul_cert_file, consul_key_file: %w", err)
			}
			return &pair, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		secure.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return secure, nil
}
