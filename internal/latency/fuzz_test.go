package latency

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzConfigured: what an operator writes of round trips is refused by the setting's name, or taken and the same in both directions.
func FuzzConfigured(f *testing.F) {
	for _, seed := range []string{"eu:us=80ms", "eu:us=80ms,eu:ap=200ms", "a:a=1s", "a:b=-1s", "a:b=11s", "a:b:c=1s", "=", ":=", "a:b", "b:a=1ms,a:b=2ms", " a : b = 1ms "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		texts := strings.Split(text, ",")
		m, err := Configured("region_latency", texts)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "region_latency: ") {
					t.Fatalf("a line without the setting: %q", line)
				}
			}
			return
		}
		if len(m.Pairs()) != len(texts) {
			t.Fatalf("%d pairs of %q", len(m.Pairs()), texts)
		}
		var back []string
		for _, p := range m.Pairs() {
			there, ok := m.Between(p.From, p.To)
			again, okAgain := m.Between(p.To, p.From)
			if !ok || !okAgain || there != again || there.Median <= 0 || there.Median > MaxExtent || !there.Configured {
				t.Fatalf("%s and %s: %+v, %+v", p.From, p.To, there, again)
			}
			back = append(back, p.From+":"+p.To+"="+p.Median.String())
		}
		if again, err := Configured("region_latency", back); err != nil || !slices.Equal(again.pairs, m.pairs) {
			t.Fatalf("%q is not what %q says: %v", back, texts, err)
		}
	})
}

// FuzzCoordinates: coordinates of agents, absurd ones too. What is fit gives distances that are positive and the same both ways, and a
// fold of them, in any order, is the same matrix of sane estimates.
func FuzzCoordinates(f *testing.F) {
	f.Add([]byte{2, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add([]byte(strings.Repeat("\x01\xff\xff\xff\xff\xff\xff\xff\x7f", 9)))
	f.Add([]byte(strings.Repeat("\x01\x00\x00\x00\x00\x01\x00\x00\x00", 12)))
	f.Fuzz(func(t *testing.T, input []byte) {
		next := func() int64 {
			if len(input) < 8 {
				input = nil
				return 0
			}
			v := int64(binary.LittleEndian.Uint64(input))
			input = input[8:]
			return v
		}
		var samples []Sample
		for len(input) > 1 && len(samples) < 100 {
			head := input[0]
			input = input[1:]
			s := Sample{Agent: string(rune('a' + len(samples))), Region: string(rune('a' + head%5)), Age: time.Duration(max(next(), 0))}
			for range head % 4 {
				s.At.Vector = append(s.At.Vector, time.Duration(next()))
			}
			s.At.Height, s.At.Adjustment, s.At.Error = time.Duration(next()), time.Duration(next()), int(next())
			if head&0x40 != 0 { // made fit
				s.Age, s.At.Height, s.At.Adjustment, s.At.Error = s.Age%MaxAge, max(s.At.Height%MaxExtent, 0), s.At.Adjustment%MaxExtent, max(s.At.Error%Unknown, 0)
				for i := range s.At.Vector {
					s.At.Vector[i] %= MaxExtent
				}
			}
			samples = append(samples, s)
		}
		for _, a := range samples {
			for _, b := range samples {
				if !a.fit() || !b.fit() {
					continue
				}
				there, ok := Distance(a.At, b.At)
				back, okBack := Distance(b.At, a.At)
				if there != back || ok != okBack || there < 0 || there > 13*MaxExtent {
					t.Fatalf("from %+v to %+v: %s and %s", a.At, b.At, there, back)
				}
			}
		}
		m := Fold(samples)
		for _, p := range m.Pairs() {
			if p.Median <= 0 || p.Error < 0 || p.Error > Unknown || p.Age > MaxAge || p.Pairs <= 0 {
				t.Fatalf("%+v", p)
			}
		}
		slices.Reverse(samples)
		if again := Fold(samples); !slices.Equal(again.pairs, m.pairs) {
			t.Fatalf("in another order: %+v and %+v", m.pairs, again.pairs)
		}
		for _, region := range m.Regions() {
			_ = m.Ranks(region)
		}
	})
}
