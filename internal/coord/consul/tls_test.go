package consul_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
)

// authority signs certificates and writes them into files.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, "ca")
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name+".pem") }

// issue makes a certificate for a name that ends at an instant.
func (a *authority) issue(file, name string, ends time.Time) tls.Certificate {
	a.t.Helper()
	a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: ends,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, file)
	pair, err := tls.LoadX509KeyPair(a.path(file), a.path(file+"-key"))
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

func (a *authority) sign(template *x509.Certificate, file string) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{file: {Type: "CERTIFICATE", Bytes: der}, file + "-key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(a.path(name), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return cert, key
}

// Over TLS, a certificate that will not do is an error that names the setting, and nothing was sent.
func TestCertificatesThatWillNotDo(t *testing.T) {
	const name = "server.dc1.consul"
	ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
	good, expired := ours.issue("server", name, time.Now().Add(time.Hour)), ours.issue("expired", name, time.Now().Add(-time.Hour))
	ours.issue("client", "client.dc1.consul", time.Now().Add(time.Hour))
	ours.issue("old-client", "client.dc1.consul", time.Now().Add(-time.Hour))
	trusted := x509.NewCertPool()
	trusted.AddCert(ours.cert)
	for what, c := range map[string]struct {
		certificate tls.Certificate
		change      func(*consul.Config)
		says        string // empty: it works
	}{
		"all is well":            {good, func(*consul.Config) {}, ""},
		"an expired server":      {expired, func(*consul.Config) {}, "renew Consul's certificate"},
		"an unknown authority":   {good, func(c *consul.Config) { c.CAFile = others.path("ca") }, "consul_ca_file"},
		"another name":           {good, func(c *consul.Config) { c.ServerName = "server.dc2.consul" }, "consul_server_name"},
		"no name":                {good, func(c *consul.Config) { c.ServerName = "" }, "consul_server_name"},
		"no certificate of ours": {good, func(c *consul.Config) { c.CertFile, c.KeyFile = "", "" }, "consul_cert_file"},
		"an expired one of ours": {good, func(c *consul.Config) { c.CertFile, c.KeyFile = ours.path("old-client"), ours.path("old-client-key") }, "consul_cert_file"},
		"no TLS, though it is asked": {good, func(c *consul.Config) {
			*c = consul.Config{Addresses: []string{strings.Replace(c.Addresses[0], "https", "http", 1)}}
		}, "consul_addresses"},
	} {
		t.Run(what, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Consul-Index", "7")
				_, _ = w.Write([]byte(`{"Results":[{"KV":{"Key":"k","ModifyIndex":9}}],"Errors":null}`))
			}))
			server.TLS = &tls.Config{Certificates: []tls.Certificate{c.certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted}
			server.StartTLS()
			t.Cleanup(server.Close)
			cfg := consul.Config{
				Addresses: []string{server.URL}, CAFile: ours.path("ca"), ServerName: name, CertFile: ours.path("client"), KeyFile: ours.path("client-key"),
			}
			c.change(&cfg)
			index, err := dial(t, cfg).Txn(t.Context(), []coord.Op{{Verb: coord.Set, Key: "k"}})
			switch {
			case c.says == "" && (err != nil || index != 9):
				t.Errorf("got %d, %v", index, err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || !errors.Is(err, coord.ErrUnavailable) || errors.Is(err, coord.ErrUnknown)):
				t.Errorf("got %v, want ErrUnavailable that says %q", err, c.says)
			}
		})
	}
	for field, cfg := range map[string]consul.Config{
		"consul_ca_file":   {Addresses: []string{"https://127.0.0.1:1"}, CAFile: ours.path("nothing")},
		"expected certifi": {Addresses: []string{"https://127.0.0.1:1"}, CAFile: ours.path("ca-key")},
		"consul_cert_file": {Addresses: []string{"https://127.0.0.1:1"}, CertFile: ours.path("ca"), KeyFile: ours.path("client-key")},
	} {
		if _, err := consul.New(cfg, "test"); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("got %v, want an error that names %s", err, field)
		}
	}
}
