package vitals

import (
	"os"
	"testing"
	"time"
)

func TestOwnVitals(t *testing.T) {
	t.Parallel()
	before, err := Of(os.Getpid())
	if err != nil || before[RSS] < 1000 || before[Threads] < 1 || before[Descriptors] < 3 || before[Goroutines] != -1 {
		t.Fatal(before, err)
	}
	if _, err := Of(1 << 30); err == nil {
		t.Error("a process that there is not has vitals")
	}
}

func TestLeaksAreTold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		of    Vital
		value func(i int) int64
		grows bool
	}{
		"flat":            {RSS, func(int) int64 { return 50_000 }, false},
		"saw":             {RSS, func(i int) int64 { return 50_000 + int64(i%10)*2_000 }, false},
		"warming up":      {RSS, func(i int) int64 { return 10_000 + min(int64(i), 11)*10_000 }, false},
		"leak":            {RSS, func(i int) int64 { return 50_000 + int64(i)*600 }, true},
		"goroutines leak": {Goroutines, func(i int) int64 { return 100 + int64(i)*2 }, true},
		"a few more":      {Goroutines, func(i int) int64 { return 100 + int64(i)/3 }, false},
		"descriptors":     {Descriptors, func(i int) int64 { return 40 + int64(i)/2 }, true},
	} {
		var l Log
		for i := range 120 {
			s := Sample{}
			s[c.of] = c.value(i)
			l.Add("p", 1, time.Duration(i)*5*time.Second, s)
			l.Add("p", 2, time.Minute, Sample{})
		}
		lives := l.Longest()
		if len(lives) != 1 || lives[0].PID != 1 {
			t.Fatalf("%s: lives %v", name, lives)
		}
		trend, ok := lives[0].Trend(c.of, time.Minute)
		if !ok || trend.Grows(c.of, Allowed()) != c.grows {
			t.Errorf("%s: %+v, %t", name, trend, ok)
		}
		if _, ok := lives[0].Trend(c.of, 9*time.Minute); ok {
			t.Errorf("%s: a minute says something", name)
		}
	}
}
