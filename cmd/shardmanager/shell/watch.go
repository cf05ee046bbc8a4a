package shell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// Intervals of --watch.
const (
	usualWatch = 2 * time.Second
	leastWatch = 100 * time.Millisecond
)

// clearScreen puts the cursor at the top of an empty screen.
const clearScreen = "\x1b[H\x1b[2J"

// Watched gives a command that shows how things stand the flag --watch: it looks again and again until Ctrl-C. What fails after the first look is shown
// in the place of the answer: an election is over in a moment.
func Watched(c *cobra.Command, refuse func(error) error) *cobra.Command {
	look := c.RunE
	var every time.Duration
	c.Flags().DurationVarP(&every, "watch", "w", 0, "look again and again until Ctrl-C: --watch every 2s, --watch=500ms as often as that")
	c.Flags().Lookup("watch").NoOptDefVal = usualWatch.String()
	c.RunE = func(c *cobra.Command, args []string) error {
		switch {
		case every == 0:
			return look(c, args)
		case every < leastWatch:
			return refuse(fmt.Errorf("--watch: expected %s or more, not %s", leastWatch, every))
		}
		ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		c.SetContext(ctx)
		return (&watch{command: c, args: args, look: look, screen: c.OutOrStdout(), every: every}).run(ctx)
	}
	return c
}

// watch is one command that looks again and again.
type watch struct {
	command *cobra.Command
	args    []string
	look    func(*cobra.Command, []string) error
	screen  io.Writer
	every   time.Duration
}

func (w *watch) run(ctx context.Context) error {
	ticker := time.NewTicker(w.every)
	defer ticker.Stop()
	for first := true; ; first = false {
		var seen bytes.Buffer
		w.command.SetOut(&seen)
		err := w.look(w.command, w.args)
		switch {
		case ctx.Err() != nil:
			return nil // Ctrl-C is how it ends
		case err != nil && first:
			return err
		case err != nil:
			seen.Reset()
			_, _ = fmt.Fprintln(&seen, err)
		}
		switch err := w.show(&seen, first); {
		case errors.Is(err, syscall.EPIPE): // nobody looks any more
			return nil
		case err != nil:
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// format is that of --output, if the command has one.
func (w *watch) format() string {
	if f := w.command.Flags().Lookup("output"); f != nil {
		return f.Value.String()
	}
	return ""
}

// show puts an answer on the terminal, in the place of the last; elsewhere below it.
func (w *watch) show(seen *bytes.Buffer, first bool) error {
	var before string
	switch {
	case terminal(w.screen):
		line := strings.Join(append([]string{w.command.CommandPath()}, w.args...), " ")
		before = fmt.Sprintf("%severy %s: %s    %s\n\n", clearScreen, w.every, line, time.Now().Format(time.TimeOnly))
	case w.format() == "yaml":
		before = "---\n"
	case !first:
		before = "\n"
	}
	_, err := io.WriteString(w.screen, before+seen.String())
	return err
}
