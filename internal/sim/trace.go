package sim

import (
	"fmt"
	"io"
	"time"
)

// trace writes what happens down, one aligned line for each event.
type trace struct{ to io.Writer }

func newTrace(to io.Writer) *trace { return &trace{to: to} }

func (t *trace) line(at time.Duration, who, format string, args ...any) {
	if t.to != nil {
		_, _ = fmt.Fprintf(t.to, "%10.4f  %-8s  %s\n", at.Seconds(), who, fmt.Sprintf(format, args...))
	}
}
