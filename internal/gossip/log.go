package gossip

import (
	"log"
	"regexp"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// Serf and memberlist tell every packet that they do not understand: of one level, at most burst lines in a period are passed on.
const (
	burst  = 20
	period = 10 * time.Second
)

// logWriter gives serf's lines to the log, with their levels.
type logWriter struct{ log zerolog.Logger }

func newLogger(to zerolog.Logger) *log.Logger {
	sampler := func() zerolog.Sampler { return &zerolog.BurstSampler{Burst: burst, Period: period} }
	return log.New(logWriter{to.Sample(zerolog.LevelSampler{WarnSampler: sampler(), InfoSampler: sampler()})}, "", 0)
}

var line = regexp.MustCompile(`^\[([A-Z]+)\] ([a-z]+): (.*)$`)

// Write implements io.Writer: a line a call. What serf finds worth telling everybody, we tell in our own words or not at all; its errors
// are those of other members as often as ours, and nobody has to act on one.
func (w logWriter) Write(p []byte) (int, error) {
	text, part, level := strings.TrimSpace(string(p)), "serf", zerolog.WarnLevel
	if found := line.FindStringSubmatch(text); found != nil {
		part, text = found[2], found[3]
		switch found[1] {
		case "DEBUG", "TRACE", "INFO":
			level = zerolog.DebugLevel
		}
		if strings.Contains(strings.Replace(text, " while", "", 1), stillSaying) {
			level = zerolog.DebugLevel
		}
	}
	event := w.log.WithLevel(level).Str("part", part).Str("text", text)
	if setting := suspectOf(text); setting != "" {
		event = event.Str("setting", setting)
	}
	event.Msg("gossip")
	return len(p), nil
}
