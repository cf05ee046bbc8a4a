package kvload

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFocusShiftsTheLoad(t *testing.T) {
	keys := make([]keyState, 960)
	for i := range keys {
		keys[i].shard = uint32(i % 96)
	}
	c := &keyChoice{all: len(keys)}
	// part is the share of draws that go to shards 3 and 7, in percent.
	part := func() int {
		const draws = 20_000
		hits := 0
		for range draws {
			if s := keys[c.draw()].shard; s == 3 || s == 7 {
				hits++
			}
		}
		return 100 * hits / draws
	}
	for _, step := range []struct {
		focus     Focus
		low, high int
	}{
		{Focus{}, 0, 4},
		{Focus{Share: 0.6, Shards: []uint32{3, 7}}, 55, 66},
		{Focus{Share: 1, Shards: []uint32{3, 7}}, 100, 100},
		{Focus{Share: 1, Shards: []uint32{500}}, 0, 4}, // no key is there
		{Focus{}, 0, 4},
	} {
		c.shift(step.focus, keys)
		if got := part(); got < step.low || got > step.high {
			t.Errorf("%+v: %d %% of the draws, expected %d to %d %%", step.focus, got, step.low, step.high)
		}
	}
}

func TestFocusIsReadFromItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "focus.json")
	if f, err := readFocus(path); err != nil || f.Share != 0 {
		t.Errorf("without a file: %+v, %v", f, err)
	}
	for text, says := range map[string]string{
		`{"share":0.5,"shards":[1,2]}`: "",
		`{"share":1.5}`:                "expected 0 to 1",
		`{"share":`:                    "focus.json",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := readFocus(path)
		if says == "" && (err != nil || f.Share != 0.5 || len(f.Shards) != 2) || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %+v, error %v, expected %q", text, f, err, says)
		}
	}
}
