package figure

import (
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFigureIsWritten(t *testing.T) {
	f := &Figure{Title: "What happened", Time: "seconds", Marks: []Mark{{2, "begin"}}, Panels: []Panel{
		{Label: "share", Low: 0, High: 100, Series: []Series{{"a", -1, []float64{1, 2, math.NaN(), 4}}, {"b", 1, []float64{50.5}}}},
		{Label: "ms", Log: true, Series: []Series{{"a", 0, []float64{0, 10, 1000}}}},
	}}
	path := filepath.Join(t.TempDir(), "f")
	if err := f.Write(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path + ".csv")
	if err != nil {
		t.Fatal(err)
	}
	const want = "second,\"a, share\",\"b, share\",\"a, ms\"\n-1,1,,\n0,2,,0\n1,,50.5,10\n2,4,,1000\n"
	if string(text) != want {
		t.Errorf("got\n%swant\n%s", text, want)
	}
	file, err := os.Open(path + ".png")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	picture, err := png.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[any]bool{}
	for x := range picture.Bounds().Dx() {
		for y := range picture.Bounds().Dy() {
			seen[picture.At(x, y)] = true
		}
	}
	if len(seen) < 4 {
		t.Errorf("the picture has %d colours", len(seen))
	}
}

func TestFigureWithoutData(t *testing.T) {
	f := &Figure{Panels: []Panel{{Label: "share", Series: []Series{{Name: "a", Values: []float64{math.NaN()}}}}}}
	if err := f.Write(filepath.Join(t.TempDir(), "f")); err == nil || !strings.Contains(err.Error(), "share: no data") {
		t.Errorf("got %v", err)
	}
}
