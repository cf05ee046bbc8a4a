package shell

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestBar(t *testing.T) {
	var screen bytes.Buffer
	b := &Bar{w: &screen}
	b.Show(3, 12, "3 of 12")
	if got := screen.String(); got != "\r\x1b[K["+strings.Repeat("#", 7)+strings.Repeat(".", 23)+"]  25 %  3 of 12" {
		t.Errorf("got %q", got)
	}
	b.Show(4, 12, "too soon")
	if strings.Contains(screen.String(), "too soon") {
		t.Error("drawn twice within a moment")
	}
	for _, c := range []struct{ done, all uint64 }{{12, 12}, {13, 12}, {0, 0}} {
		screen.Reset()
		b.Show(c.done, c.all, "")
		if got := screen.String(); !strings.Contains(got, "["+strings.Repeat("#", barWidth)+"] 100 %") {
			t.Errorf("%d of %d: got %q", c.done, c.all, got)
		}
	}
	screen.Reset()
	b.Clear()
	b.Clear()
	if got := screen.String(); got != "\r\x1b[K" {
		t.Errorf("cleared: %q", got)
	}
	c := &cobra.Command{}
	c.SetOut(io.Discard)
	none := NewBar(c)
	none.Show(1, 2, "") // nobody looks: nothing is drawn, nothing breaks
	none.Clear()
	if none != nil {
		t.Error("a bar where no terminal is")
	}
}
