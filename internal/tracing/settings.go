package tracing

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// OpenTelemetry's own variables, which count where no setting says otherwise.
const (
	endpointVariable       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	tracesEndpointVariable = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	disabledVariable       = "OTEL_SDK_DISABLED"
)

// tracesPath is where a receiver takes spans if the endpoint names no path.
const tracesPath = "/v1/traces"

// Settings say whether spans are made, how many, and where they go.
type Settings struct {
	// Endpoint is an http:// or https:// URL of a receiver of OTLP over HTTP; empty: what OTEL_EXPORTER_OTLP_ENDPOINT says, and off without that.
	Endpoint string `yaml:"tracing_endpoint"`
	// SampleRatio is the part of all traces that is recorded, 0 to 1; nil: what OTEL_TRACES_SAMPLER says, and all without that.
	SampleRatio *float64 `yaml:"tracing_sample_ratio"`
	// CAFile is the authority of the receiver's certificate, in PEM; empty: the system's.
	CAFile string `yaml:"tracing_ca_file"`
}

// Validate checks the settings; it reads the CA's file.
func (s Settings) Validate() error {
	var wrong []error
	u, err := url.Parse(s.Endpoint)
	if s.Endpoint != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		wrong = append(wrong, fmt.Errorf("tracing_endpoint: expected a URL such as http://127.0.0.1:4318, not %q", s.Endpoint))
	}
	if r := s.SampleRatio; r != nil && (*r < 0 || *r > 1) {
		wrong = append(wrong, fmt.Errorf("tracing_sample_ratio: expected 0 (nothing) to 1 (everything), not %v", *r))
	}
	if _, err := s.tls(); err != nil {
		wrong = append(wrong, err)
	}
	if s.CAFile != "" && strings.HasPrefix(s.Endpoint, "http:") {
		wrong = append(wrong, errors.New("tracing_ca_file: expected an https:// tracing_endpoint beside it: http:// shows no certificate"))
	}
	return errors.Join(wrong...)
}

// On reports whether spans go anywhere. getenv is os.Getenv.
func (s Settings) On(getenv func(string) string) bool {
	if s.Endpoint != "" {
		return true
	}
	return cmp.Or(getenv(endpointVariable), getenv(tracesEndpointVariable)) != "" && !strings.EqualFold(getenv(disabledVariable), "true")
}

// tls is how the receiver is recognised; nil: by the system's authorities.
func (s Settings) tls() (*tls.Config, error) {
	if s.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, fmt.Errorf("tracing_ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tracing_ca_file: expected certificates in PEM, %s has none", s.CAFile)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// exporter is what the settings say of the receiver; what they leave open the variables say.
func (s Settings) exporter() ([]otlptracehttp.Option, error) {
	options := []otlptracehttp.Option{otlptracehttp.WithTimeout(exportWithin), otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
		Enabled: true, InitialInterval: firstRetry, MaxInterval: exportWithin, MaxElapsedTime: exportWithin,
	})}
	if s.Endpoint != "" {
		u, err := url.Parse(s.Endpoint)
		if err != nil {
			return nil, fmt.Errorf("tracing_endpoint: %w", err)
		}
		if strings.Trim(u.Path, "/") == "" {
			u.Path = tracesPath
		}
		options = append(options, otlptracehttp.WithEndpointURL(u.String()))
	}
	secure, err := s.tls()
	if err != nil {
		return nil, err
	}
	if secure != nil {
		options = append(options, otlptracehttp.WithTLSClientConfig(secure))
	}
	return options, nil
}

// sampler decides by the trace's id, so that all processes decide alike; whoever began a trace decides for who goes on with it.
func (s Settings) sampler() []sdktrace.TracerProviderOption {
	if s.SampleRatio == nil {
		return nil // the library reads the variables
	}
	return []sdktrace.TracerProviderOption{sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(*s.SampleRatio)))}
}
