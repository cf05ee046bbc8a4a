package dev

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// console tells people what happens: events as lines that stay, and on a terminal one last line that is always up to date.
type console struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
	began  time.Time
	live   string
	told   time.Time // when the live line was last printed, where it cannot be overwritten
}

func newConsole(out io.Writer, colour bool) *console {
	return &console{out: out, colour: colour, began: time.Now()}
}

// Colours of events.
const (
	plain  = ""
	bold   = "\x1b[1m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	dim    = "\x1b[2m"

	reset     = "\x1b[0m"
	clearLine = "\r\x1b[K"
)

// liveInterval is how often the live line is repeated where it cannot be overwritten.
const liveInterval = 10 * time.Second

// say prints a line with the time since the start.
func (c *console) say(colour, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	stamp := fmt.Sprintf("%6.1fs", time.Since(c.began).Seconds())
	if c.colour {
		// A terminal that is gone is no reason to end.
		_, _ = fmt.Fprintf(c.out, "%s%s%s%s  %s%s%s\n%s", clearLine, dim, stamp, reset, colour, text, reset, c.live)
		return
	}
	_, _ = fmt.Fprintf(c.out, "%s  %s\n", stamp, text)
}

// show changes the live line.
func (c *console) show(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	if c.colour {
		c.live = dim + text + reset
		_, _ = fmt.Fprintf(c.out, "%s%s", clearLine, c.live)
		return
	}
	if now := time.Now(); now.Sub(c.told) >= liveInterval {
		c.told = now
		_, _ = fmt.Fprintf(c.out, "%6.1fs  %s\n", time.Since(c.began).Seconds(), text)
	}
}

// end takes the live line away.
func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = ""
	if c.colour {
		_, _ = fmt.Fprint(c.out, clearLine)
	}
}
