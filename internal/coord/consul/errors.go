package consul

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"

	"github.com/shardmanager/shardmanager/internal/coord"
)

// effect says what a lost answer means: nothing for reads, an unknown outcome for changes.
type effect uint8

const (
	reads effect = iota + 1
	changes
)

// Words of Consul that decide what an error means.
const (
	saysDenied      = "Permission denied"
	saysNoLeader    = "No cluster leader"
	saysNoPath      = "No path to datacenter"
	saysRateLimit   = "rate limit"
	saysMissingNode = "Missing node registration"
	saysLockDelay   = "due to lock delay"
	saysEnterprise  = "Consul Enterprise feature"
)

var (
	// errDenied: the token may not do this; asking again will not help until someone acts.
	errDenied = errors.New("denied by Consul")
	// errForeign: whoever answered is not Consul.
	errForeign = errors.New("answered by something that is not Consul: check consul_addresses")
)

// call makes one request and types its error by what is known of its fate.
func call(ctx context.Context, what effect, do func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return errors.Join(coord.ErrUnavailable, err)
	}
	var sent atomic.Bool // the request got a connection: from here on it may arrive
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	err := do(traced)
	if err == nil {
		return nil
	}
	return classify(err, what == changes && sent.Load())
}

// classify wraps an error in what it means for the caller. mayHaveHappened says that the request was one that changes something, and was sent.
func classify(err error, mayHaveHappened bool) error {
	lost := coord.ErrUnavailable
	if mayHaveHappened {
		lost = coord.ErrUnknown
	}
	var got *answer
	switch {
	case errors.As(err, &got):
		return fromAnswer(got, lost)
	case errors.Is(err, errDenied), errors.Is(err, errForeign):
		return fmt.Errorf("%w: %w", coord.ErrUnavailable, err)
	case strings.Contains(err.Error(), "remote error: tls:"):
		return fmt.Errorf("%w: Consul refuses our certificate: renew consul_cert_file and consul_key_file: %w", coord.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w%s", lost, err, remedy(err))
}

// fromAnswer types what was answered. lost is what an answer means that does not say whether anything happened.
func fromAnswer(a *answer, lost error) error {
	says := func(text string) bool { return strings.Contains(a.text, text) }
	switch {
	case !a.consul && a.status < http.StatusInternalServerError:
		return fmt.Errorf("%w: %w: %w", coord.ErrUnavailable, errForeign, a)
	case a.status == http.StatusForbidden:
		return denied(a.text)
	case a.status == http.StatusRequestEntityTooLarge:
		return fmt.Errorf("%w: Consul refuses it: raise txn_max_req_len and kv_max_value_size to 512 KiB (the default) or more, and use a Consul "+
			"that takes %d operations: %w", coord.ErrTooLarge, coord.MaxTxnOps, a)
	case a.status == http.StatusBadRequest && says(saysEnterprise):
		return fmt.Errorf("consul_namespace, consul_partition: leave them empty, this Consul has none: %w", a)
	case a.status == http.StatusBadRequest:
		return fmt.Errorf("refused by Consul: %w", a)
	case says(saysNoPath):
		return fmt.Errorf("%w: consul_datacenter: this Consul knows no such datacenter, or cannot reach it: %w", coord.ErrUnavailable, a)
	case a.status == http.StatusTooManyRequests:
		return fmt.Errorf("%w: raise http_max_conns_per_client or the request limits of Consul: %w", coord.ErrUnavailable, a)
	case says(saysNoLeader), says(saysRateLimit), says(saysMissingNode):
		return fmt.Errorf("%w: %w", coord.ErrUnavailable, a)
	}
	return fmt.Errorf("%w: %w", lost, a)
}

// denied names the setting; Consul's words name the missing permission.
func denied(text string) error {
	return fmt.Errorf("%w: %w: check consul_token and its policies (deploy/consul): %s", coord.ErrUnavailable, errDenied, text)
}

// remedy says what a person can do about an error below HTTP; empty: nothing but wait.
func remedy(err error) string {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &authority):
		return ": set consul_ca_file to the authority of Consul's certificate"
	case errors.As(err, &host):
		return ": set consul_server_name to a name in Consul's certificate, such as server.dc1.consul"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return ": renew Consul's certificate, or mend this machine's clock"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return ": consul_addresses: this port speaks no TLS: use http://, or Consul's https port"
	case strings.Contains(err.Error(), "malformed HTTP response"):
		return ": consul_addresses: this port speaks TLS or something else: use https://, or Consul's http port"
	}
	return ""
}

// lasting reports whether an error will stay until somebody acts.
func lasting(err error) bool {
	var got *answer
	if errors.Is(err, errDenied) || errors.Is(err, errForeign) {
		return true
	}
	return errors.As(err, &got) && got.status == http.StatusBadRequest
}
