package shell

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Question is what a verb asks before it takes something away: it shows what would happen, and goes on after a yes.
//
// It asks only where somebody can answer, at a terminal. Elsewhere, in scripts and in units, the verb does what it was told.
type Question struct{ yes bool }

// Flag adds --yes.
func (q *Question) Flag(c *cobra.Command) {
	c.Flags().BoolVarP(&q.yes, "yes", "y", false, "go on without a question; where no terminal is, none is asked")
}

// errDeclined is what a verb fails with after a no.
var errDeclined = errors.New("not confirmed: nothing was done")

// Ask asks, if somebody can answer. would says what would happen, a line each; it is not called if nobody is asked.
func (q *Question) Ask(c *cobra.Command, would func() ([]string, error)) error {
	if q.yes || !terminal(c.InOrStdin()) || !terminal(c.ErrOrStderr()) {
		return nil
	}
	lines, err := would()
	if err != nil {
		return err
	}
	w := c.ErrOrStderr()
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprint(w, "Go on? [y/N] "); err != nil {
		return err
	}
	answer, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errDeclined
}

// terminal reports whether a person is at the other end.
func terminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
