package shell

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// Man is the command that writes man pages, of a version of the program.
func Man(s Shell, version string) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write man pages, one for each command",
		Long: "Write man pages, one for each command, into a directory, which is made if it is not there:\n" +
			"shardmanager.1, shardmanager-status.1 and so on.",
		Example: "  shardmanager man /usr/local/share/man/man1\n  man shardmanager-status",
		Args:    s.Exactly("DIR"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("man pages: %w", err)
			}
			root := c.Root()
			root.DisableAutoGenTag = true
			if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "Shard Manager " + version, Manual: "Shard Manager"}, args[0]); err != nil {
				return fmt.Errorf("man pages: %w", err)
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%d pages in %s\n", pages(root), args[0])
			return err
		},
	}
}

// pages is how many commands have one.
func pages(c *cobra.Command) int {
	n := 1
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
			n += pages(sub)
		}
	}
	return n
}
