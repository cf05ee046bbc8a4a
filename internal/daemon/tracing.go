package daemon

import (
	"context"
	"os"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/tracing"
)

// tracingHelp is the help of the settings of tracing, the same for all daemons.
func tracingHelp() map[string]config.Help {
	return map[string]config.Help{
		"tracing_endpoint":     {Text: "http:// or https:// URL of an OTLP receiver of spans (default OTEL_EXPORTER_OTLP_ENDPOINT, and no tracing without)"},
		"tracing_sample_ratio": {Text: "part of the moves that is traced, 0 to 1 (default OTEL_TRACES_SAMPLER, and all without)"},
		"tracing_ca_file":      {Text: "authority of the receiver's certificate, in PEM (default the system's)"},
	}
}

// OpenTracing begins to send a daemon's spans, if the settings or OpenTelemetry's variables say where to; the provider is nil if not. Call end
// before the daemon exits.
func OpenTracing(s tracing.Settings, id tracing.Identity, log zerolog.Logger) (provider trace.TracerProvider, end func(), err error) {
	if !s.On(os.Getenv) {
		return nil, func() {}, nil
	}
	opened, err := tracing.Open(context.Background(), s, id, func(err error) {
		log.Warn().Err(err).Msg("spans are not taken: does the receiver that tracing_endpoint names run?")
	})
	if err != nil {
		return nil, nil, err
	}
	return opened, func() {
		if err := opened.Close(); err != nil {
			log.Warn().Err(err).Msg("tracing ended")
		}
	}, nil
}
