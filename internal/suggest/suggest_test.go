package suggest

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestOr(t *testing.T) {
	known := []string{"orders", "kv", "mail", "kw", "node-1.kv", "node-2.kv", "node-12.kv"}
	for name, want := range map[string]string{
		"order":     "; did you mean orders?",
		"odrers":    "; did you mean orders?", // two letters exchanged
		"kx":        "; did you mean kv?",     // of equals the first
		"k":         "; did you mean kv?",
		"nodw-2.kv": "; did you mean node-2.kv?",
		"node-3.kv": "; did you mean node-1.kv?",
		"billing":   "",
		"":          "",
		"zz":        "",
	} {
		t.Run(name, func(t *testing.T) {
			if got := Or(name, slices.Values(known)); got != want {
				t.Errorf("%q, expected %q", got, want)
			}
			slices.Reverse(known)
			if got := Or(name, slices.Values(known)); got != want {
				t.Errorf("in another order %q, expected %q", got, want)
			}
		})
	}
	if got := Or("kv", slices.Values([]string(nil))); got != "" {
		t.Errorf("of nothing %q", got)
	}
}

// A distance is one: none to itself, the same from both sides, and at most the longer length.
func TestDistance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[abc]{0,7}`)
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		const enough = 9
		there, back := distance(a, b, enough), distance(b, a, enough)
		if there != back || (there == 0) != (a == b) || there > max(len(a), len(b)) {
			t.Fatal(fmt.Sprintf("%q to %q: %d, and back %d", a, b, there, back))
		}
	})
}
