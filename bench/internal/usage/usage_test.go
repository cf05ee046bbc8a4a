package usage

import (
	"os"
	"testing"
)

func TestOfThisProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("the system does not say")
	}
	sizes, err := Sizes(os.Getpid())
	if err != nil || sizes["VmHWM"] < 1 || sizes["VmHWM"] < sizes["VmRSS"] {
		t.Error(sizes, err)
	}
	before, err := CPUTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ { // until it is counted: in hundredths of a second
		if after, err := CPUTime(os.Getpid()); err != nil || after > before {
			if err != nil {
				t.Error(err)
			}
			break
		}
	}
	if _, err := CPUTime(-1); err == nil {
		t.Error("a process that is not there uses something")
	}
}
