// Command shardmanager is the whole of Shard Manager in one binary: the daemons (store, allocator, agent), a cluster on one machine (dev)
// and the operator's verbs. It holds no logic: a file per verb group reads settings, wires the packages that do the work and prints.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/app"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/contexts"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/explain"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/gossip"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/hold"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/maintenance"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/nomad"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/policies"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/rollout"
	verbs "github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/sim"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/simulate"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/snapshot"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/webhooks"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitUnsafe  = 3 // of safe-to-stop
)

func main() {
	zerolog.TimeFieldFormat = time.RFC3339Nano // the library knows no other way to log fractions of a second
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code. Errors go to stderr, a line each.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "shardmanager: ")
		if !strings.HasPrefix(line, "shardmanager ") { // the errors of arguments begin with the command
			line = "shardmanager: " + line
		}
		_, _ = fmt.Fprintln(stderr, line)
	}
	if errors.Is(err, maintenance.ErrUnsafe) {
		return exitUnsafe
	}
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

// usageError is a command line, a setting or a file that was refused before anything was done.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "shardmanager",
		Short: "Place the shards of stateful services, and move them without dropping a request",
		Long: "Shard Manager decides which server of a stateful service owns which shard, moves shards between servers without dropping a\n" +
			"request, and fences a server that went silent before anybody else owns its shards.\n\n" +
			"Every setting of a daemon has a flag (--lease-validity), a variable (SHARDMANAGER_LEASE_VALIDITY) and a key in the file of\n" +
			"--config (lease_validity, or lease: {validity: …}). A flag wins over a variable, a variable over the file.\n\n" +
			"Exit codes: 0 done, 1 failed, 2 refused because of the command line, a setting or a file, before anything was done; safe-to-stop says 3 for no.",
		Example: "  shardmanager dev                                 # a whole cluster on this machine, under load, until Ctrl-C\n" +
			"  shardmanager status                              # who leads, and how it is\n" +
			"  shardmanager app create -f app.yaml              # a new app\n" +
			"  shardmanager drain node-1.kv --wait              # move every shard away from a server",
		Version:       versionLine(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          needsVerb,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{fmt.Errorf("%s: %w; see %s --help", c.CommandPath(), err, c.CommandPath())}
	})
	root.AddGroup(&cobra.Group{ID: groupDaemons, Title: "Daemons:"}, &cobra.Group{ID: groupOperators, Title: "For operators:"},
		&cobra.Group{ID: groupLocal, Title: "On this machine:"})
	add(root, groupDaemons, storeCommand(), allocatorCommand(), agentCommand(), nomad.Command(around(), softwareVersion))
	add(root, groupOperators, app.Command(around), app.List(around(), "apps", "shardmanager apps\n  shardmanager apps -o yaml"), policies.Command(around), shardsCommand(), mapCommand(), serversCommand(), regionsCommand(), movesCommand(), explain.Command(around()), simulate.Command(around()), eventsCommand(), webhooks.Command(around), maintenance.Drain(around()), maintenance.Undrain(around()),
		maintenance.Command(around), maintenance.SafeToStop(around()), rollout.Command(around()),
		hold.Command(around), hold.Quarantine(around), gossip.Command(around), snapshot.Command(around), statusCommand(), leaderCommand(), doctorCommand())
	add(root, groupLocal, devCommand(), contexts.Command(around), sim.Command(around()), verbs.Man(around(), softwareVersion()), versionCommand())
	root.AddCommand(exampleCommand())
	root.SetCompletionCommandGroupID(groupLocal)
	verbs.Complete(root, clientOf)
	tellUsage(root)
	return root
}

// Groups of the help.
const (
	groupDaemons   = "daemons"
	groupOperators = "operators"
	groupLocal     = "local"
)

func add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// needsVerb is what a command that only groups others does: help without arguments, a refusal with unknown ones.
func needsVerb(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	message := fmt.Sprintf("%s: unknown command %q", c.CommandPath(), args[0])
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		message += "; did you mean " + near[0] + "?"
	}
	return &usageError{fmt.Errorf("%s; see %s --help", message, c.CommandPath())}
}

// tellUsage makes wrong arguments of every command a usage error that shows the right form.
func tellUsage(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return &usageError{fmt.Errorf("%s: %w; usage: %s", c.CommandPath(), err, c.UseLine())}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		tellUsage(sub)
	}
}

// atLeast expects the arguments named, and any number more of the last kind.
func atLeast(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return fmt.Errorf("expected %s", strings.Join(names[len(args):], " and "))
		}
		return nil
	}
}

// exactly expects the arguments named.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("expected %s", strings.Join(names[len(args):], " and "))
		case len(args) > len(names):
			return fmt.Errorf("unexpected argument %q", args[len(names)])
		}
		return nil
	}
}
