// Package figure keeps what an experiment measured second by second, and writes it as CSV and as a plot of stacked panels over one axis of
// time. Called by bench/rollout. It measures nothing.
package figure

import (
	"encoding/csv"
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Series is a figure by second, from First on; NaN: not known.
type Series struct {
	Name   string
	First  int
	Values []float64
}

// At is the value at a second; NaN: there is none.
func (s *Series) At(second int) float64 {
	if i := second - s.First; i >= 0 && i < len(s.Values) {
		return s.Values[i]
	}
	return math.NaN()
}

// Panel is a plot of some series.
type Panel struct {
	Label  string
	Low    float64 // of the axis; both 0: as the values are
	High   float64
	Log    bool
	Series []Series
}

// Mark is an instant that matters.
type Mark struct {
	Second float64
	Text   string
}

// Figure is panels over time.
type Figure struct {
	Title  string
	Time   string // label of the axis
	Panels []Panel
	Marks  []Mark
}

// Write writes the data to path.csv and the plot to path.png.
func (f *Figure) Write(path string) error {
	return errors.Join(f.csv(path+".csv"), f.png(path+".png"))
}

func (f *Figure) csv(path string) (err error) {
	header, all := []string{"second"}, []Series{}
	first, end := math.MaxInt, math.MinInt
	for _, p := range f.Panels {
		for _, s := range p.Series {
			header, all = append(header, s.Name+", "+p.Label), append(all, s)
			first, end = min(first, s.First), max(end, s.First+len(s.Values))
		}
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := csv.NewWriter(file)
	if err := w.Write(header); err != nil {
		return err
	}
	for second := first; second < end; second++ {
		row := []string{strconv.Itoa(second)}
		for i := range all {
			text := ""
			if v := all[i].At(second); !math.IsNaN(v) {
				text = strconv.FormatFloat(v, 'f', -1, 64)
			}
			row = append(row, text)
		}
		if err := w.Write(row); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// Sizes of the plot.
const (
	width       = 24 * vg.Centimeter
	panelHeight = 6.5 * vg.Centimeter
	space       = 4 * vg.Millimeter
)

// colours tell series apart, for eyes that see no red or no green too (Okabe and Ito, 2008).
var colours = []color.Color{
	color.RGBA{0, 114, 178, 255}, color.RGBA{213, 94, 0, 255}, color.RGBA{0, 158, 115, 255}, color.RGBA{204, 121, 167, 255},
	color.RGBA{230, 159, 0, 255}, color.RGBA{86, 180, 233, 255}, color.RGBA{0, 0, 0, 255},
}

func (f *Figure) png(path string) (err error) {
	rows := make([][]*plot.Plot, len(f.Panels))
	for i := range f.Panels {
		p, err := f.panel(&f.Panels[i])
		if err != nil {
			return err
		}
		if i == 0 {
			p.Title.Text = f.Title
		}
		if i == len(f.Panels)-1 {
			p.X.Label.Text = f.Time
		}
		rows[i] = []*plot.Plot{p}
	}
	f.align(rows)
	canvas := vgimg.New(width, panelHeight*vg.Length(len(rows)))
	tiles := draw.Tiles{Rows: len(rows), Cols: 1, PadX: space, PadY: space, PadTop: space, PadBottom: space, PadLeft: space, PadRight: 2 * space}
	for i, c := range plot.Align(rows, tiles, draw.New(canvas)) {
		rows[i][0].Draw(c[0])
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = vgimg.PngCanvas{Canvas: canvas}.WriteTo(file)
	return errors.Join(err, file.Close())
}

// align gives all panels the same axis of time.
func (f *Figure) align(rows [][]*plot.Plot) {
	low, high := math.Inf(1), math.Inf(-1)
	for _, r := range rows {
		low, high = min(low, r[0].X.Min), max(high, r[0].X.Max)
	}
	for _, r := range rows {
		r[0].X.Min, r[0].X.Max = low, high
	}
}

func (f *Figure) panel(p *Panel) (*plot.Plot, error) {
	out := plot.New()
	out.Y.Label.Text = p.Label
	out.Legend.Top, out.Legend.ThumbnailWidth = true, 8*vg.Millimeter
	out.Add(plotter.NewGrid())
	drawn := 0
	for i := range p.Series {
		s := &p.Series[i]
		var points plotter.XYs
		for k, v := range s.Values {
			if !math.IsNaN(v) && (!p.Log || v > 0) {
				points = append(points, plotter.XY{X: float64(s.First + k), Y: v})
			}
		}
		if len(points) == 0 {
			continue
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return nil, fmt.Errorf("plot %s, %s: %w", p.Label, s.Name, err)
		}
		line.Color, line.Width = colours[i%len(colours)], vg.Points(1.2)
		out.Add(line)
		out.Legend.Add(s.Name, line)
		drawn++
	}
	if drawn == 0 {
		return nil, fmt.Errorf("plot %s: no data", p.Label)
	}
	if p.Log {
		out.Y.Scale, out.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if p.Low != p.High {
		out.Y.Min, out.Y.Max = p.Low, p.High
	}
	return out, f.mark(out)
}

// mark draws the instants that matter.
func (f *Figure) mark(out *plot.Plot) error {
	for _, m := range f.Marks {
		line, err := plotter.NewLine(plotter.XYs{{X: m.Second, Y: out.Y.Min}, {X: m.Second, Y: out.Y.Max}})
		if err != nil {
			return err
		}
		line.Dashes, line.Color = []vg.Length{vg.Points(3), vg.Points(3)}, color.Gray{120}
		label, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: m.Second, Y: out.Y.Min}}, Labels: []string{" " + m.Text}})
		if err != nil {
			return err
		}
		out.Add(line, label)
	}
	return nil
}
