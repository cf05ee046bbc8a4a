package evidence

import (
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// count counts servers given as "region/zone:healths", one letter a server: w well, d doubtful, l lost, r reached, g gone.
func count(t *testing.T, servers string) *Losses {
	t.Helper()
	healths := map[rune]Health{'w': Well, 'd': Doubtful, 'l': Lost, 'r': Reached, 'g': Gone}
	l := new(Losses)
	for _, group := range strings.Fields(servers) {
		where, letters, _ := strings.Cut(group, ":")
		region, zone, _ := strings.Cut(where, "/")
		for _, letter := range letters {
			h, ok := healths[letter]
			if !ok {
				t.Fatalf("no health %c", letter)
			}
			l.Add(Place{Region: region, Zone: zone}, h)
		}
	}
	return l
}

func TestExtent(t *testing.T) {
	for name, test := range map[string]struct {
		servers string
		want    Extent
		why     string
	}{
		"none":                               {"", Few, ""},
		"all well":                           {"r/a:www r/b:www", Few, ""},
		"one of six":                         {"r/a:gww r/b:www", Few, ""},
		"two of two":                         {"r/a:g r/b:g", Few, ""}, // fewer than three are never held
		"two of three":                       {"r/a:g r/b:gw", Few, ""},
		"three of three":                     {"r/a:g r/b:gg", Mass, "3 of 3"},
		"just half":                          {"r/a:ggw r/b:gww", Few, ""},
		"beyond half, everywhere":            {"r/a:ggw r/b:ggw", Mass, "4 of 6"},
		"half, and one in doubt":             {"r/a:ggd r/b:gww", Unclear, "may be"},
		"many in doubt":                      {"r/a:ddw r/b:ddw", Unclear, "4 more"},
		"one zone of two":                    {"r/a:gggg r/b:www", Domain, "zone a of region r"},
		"one zone, small":                    {"r/a:ggg r/b:www", Few, ""}, // needs no explanation
		"one zone, not probed yet":           {"r/a:gglg r/b:www", Unclear, "zone a"},
		"one zone, one in doubt":             {"r/a:gggd r/b:www", Unclear, "zone a"},
		"one zone, one of it well":           {"r/a:gggggw r/b:www", Mass, "5 of 9"},
		"one zone, reached by others":        {"r/a:rrrr r/b:www", Mass, "4 of 7"},
		"one zone, and one elsewhere":        {"r/a:gggg r/b:gww", Domain, "zone a"},
		"a tiny zone, and one elsewhere":     {"r/a:g r/b:gw r/c:gw", Mass, "3 of 5"},
		"one zone, and three elsewhere":      {"r/a:gggggg r/b:gggwwww", Mass, "9 of 13"},
		"one zone, and most of the rest":     {"r/a:gggg r/b:ggw", Mass, "6 of 7"},
		"one region of three zones":          {"r/a:gg r/b:gg r/c:gg s/a:ww t/a:ww", Domain, "region r"},
		"one region of three zones, partly":  {"r/a:gg r/b:gg r/c:gw s/a:ww", Mass, "5 of 8"},
		"two regions":                        {"r/a:ggg s/a:ggg t/a:www", Mass, "6 of 9"},
		"all there is":                       {"r/a:gggg", Mass, "4 of 4"}, // nobody is left to confirm it
		"all there is, without any locality": {"/:gggw", Mass, "3 of 4"},
	} {
		t.Run(name, func(t *testing.T) {
			got, why := count(t, test.servers).Extent(0.5)
			if got != test.want || !strings.Contains(why, test.why) {
				t.Errorf("extent %d, %q: expected %d, with %q", got, why, test.want, test.why)
			}
		})
	}
}

// The setting is a fraction of all.
func TestExtentOfAFraction(t *testing.T) {
	for fraction, want := range map[float64]Extent{0.2: Mass, 0.3: Few, 1: Few} {
		if got, _ := count(t, "r/a:gwwww r/b:ggwwwww").Extent(fraction); got != want {
			t.Errorf("3 of 12 lost, fraction %g: extent %d, expected %d", fraction, got, want)
		}
	}
	if got, _ := count(t, "r/a:ggg r/b:ggg").Extent(1); got != Few {
		t.Errorf("fraction 1 holds nothing, got %d", got)
	}
}

func TestWeigh(t *testing.T) {
	const yes, no = Answered, Silent
	said := func(zone string, agent, app Outcome) Testimony {
		return Testimony{Place: Place{Region: "r", Zone: zone}, Agent: agent, Application: app}
	}
	for name, test := range map[string]struct {
		heard []Testimony
		want  Verdict
	}{
		"nothing":                     {nil, Inconclusive},
		"two zones, nothing":          {[]Testimony{said("a", no, no), said("b", Refused, no)}, Unreachable},
		"one zone, nothing":           {[]Testimony{said("a", no, no), said("a", no, no)}, Inconclusive},
		"one agent, nothing":          {[]Testimony{said("a", no, no)}, Inconclusive},
		"one of them reaches it":      {[]Testimony{said("a", no, no), said("b", yes, yes)}, Partitioned},
		"one reaches the application": {[]Testimony{said("a", no, yes), said("b", no, no)}, AgentDown},
		"one reaches the agent":       {[]Testimony{said("a", yes, no), said("b", no, no)}, Hung},
		"only one, and the agent":     {[]Testimony{said("a", yes, no)}, Partitioned},
	} {
		t.Run(name, func(t *testing.T) {
			if got := weigh(test.heard, 2, 2); got != test.want {
				t.Errorf("%s, expected %s", got, test.want)
			}
		})
	}
}

// A zone that is lost is told of once, however often a doubt comes and goes, and again when it is lost after it was well.
func TestLostZoneIsToldOnce(t *testing.T) {
	const gone, doubtful, few, well = "r/a:gggg r/b:www", "r/a:gggd r/b:www", "r/a:gwww r/b:www", "r/a:wwww r/b:www"
	var h Hold
	now := shard.Instant{Boot: 1, Raw: 1}
	for i, step := range []struct {
		servers string
		told    bool
	}{{gone, true}, {doubtful, false}, {gone, false}, {few, false}, {gone, false}, {well, false}, {gone, true}} {
		what, why := h.Weigh(now, count(t, step.servers), 0.5, time.Hour)
		if told := what == "zone or region lost"; told != step.told || what != "" && !told {
			t.Errorf("step %d: %q, %q", i, what, why)
		}
	}
}
