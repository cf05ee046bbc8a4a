package latency

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// pairHelp says how a round trip is written.
const pairHelp = "two regions and the round trip between them, such as eu:us=80ms"

// Configured makes a matrix of what an operator says of round trips in a setting, each as pairHelp has it. The error tells everything that is
// wrong, a line each.
func Configured(setting string, texts []string) (Matrix, error) {
	var pairs []Pair
	var wrong []error
	for _, text := range texts {
		p, err := parsePair(text)
		if err == nil && slices.ContainsFunc(pairs, func(other Pair) bool { return other.From == p.From && other.To == p.To }) {
			err = fmt.Errorf("expected each pair of regions once, not %q again", p.From+":"+p.To)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", setting, err))
			continue
		}
		pairs = append(pairs, p)
	}
	if n := len(regions(pairs)); n > MaxRegions {
		wrong = append(wrong, fmt.Errorf("%s: expected at most %d regions, not %d", setting, MaxRegions, n))
	}
	if err := errors.Join(wrong...); err != nil {
		return Matrix{}, err
	}
	return Of(pairs), nil
}

func parsePair(text string) (Pair, error) {
	names, value, assigned := strings.Cut(text, "=")
	from, to, two := strings.Cut(names, ":")
	from, to = strings.TrimSpace(from), strings.TrimSpace(to)
	median, err := time.ParseDuration(strings.TrimSpace(value))
	switch {
	case !assigned || !two || from == "" || to == "" || strings.Contains(to, ":") || err != nil:
		return Pair{}, fmt.Errorf("expected %s, not %q", pairHelp, text)
	case from == to:
		return Pair{}, fmt.Errorf("expected two different regions, not %q", text)
	case median <= 0 || median > MaxExtent:
		return Pair{}, fmt.Errorf("expected a round trip above 0 and of at most %s, not %q", MaxExtent, text)
	}
	return Pair{From: min(from, to), To: max(from, to), Estimate: Estimate{Median: median, Configured: true}}, nil
}

// MaxError is how far the pairs of two regions may disagree, per mille, before what somebody configured is better.
const MaxError = 500

// Else takes from a configured matrix what m does not know, or knows from coordinates that are too old or disagree too much.
func (m Matrix) Else(configured Matrix) Matrix {
	if len(configured.pairs) == 0 {
		return m
	}
	pairs := m.Pairs()
	for i, p := range pairs {
		if e, ok := configured.Between(p.From, p.To); ok && (p.Age > MaxAge || p.Error > MaxError) {
			pairs[i].Estimate = e
		}
	}
	return Of(append(pairs, configured.pairs...))
}
