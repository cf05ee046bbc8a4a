package shell

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	// barWidth is how many signs the bar itself has.
	barWidth = 30
	// barEvery is how often it is drawn at most.
	barEvery = 100 * time.Millisecond
)

// Bar shows how far long work is, in the last line of a terminal. Nil draws nothing.
type Bar struct {
	w     io.Writer
	drawn time.Time // zero: not there
}

// NewBar is the bar of a command; nil if nobody looks, or if the answer is for programs.
func NewBar(c *cobra.Command) *Bar {
	if f := c.Flags().Lookup("output"); f != nil && f.Value.String() != f.DefValue || !terminal(c.OutOrStdout()) || !terminal(c.ErrOrStderr()) {
		return nil
	}
	return &Bar{w: c.ErrOrStderr()}
}

// Show draws how much of all is done, with a few words. More often than barEvery it is drawn only when all is done.
func (b *Bar) Show(done, all uint64, text string) {
	if b == nil || done < all && time.Since(b.drawn) < barEvery {
		return
	}
	b.drawn = time.Now()
	done = min(done, all)
	full, percent := uint64(barWidth), uint64(100)
	if all > 0 {
		full, percent = done*barWidth/all, done*100/all
	}
	_, _ = fmt.Fprintf(b.w, "\r\x1b[K[%s%s] %3d %%  %s", strings.Repeat("#", int(full)), strings.Repeat(".", barWidth-int(full)), percent, text) //nolint:gosec // full is at most barWidth
}

// Clear takes the bar away, so that a line may be written in its place.
func (b *Bar) Clear() {
	if b == nil || b.drawn.IsZero() {
		return
	}
	b.drawn = time.Time{}
	_, _ = io.WriteString(b.w, "\r\x1b[K")
}
