package contexts

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Command is the verb; each of its own verbs gets a shell.
func Command(around func() shell.Shell) *cobra.Command {
	top := around()
	c := &cobra.Command{
		Use:   "context",
		Short: "Keep the addresses of several clusters by name, and choose one",
		Long: "Keep the addresses of several clusters by name, and choose one. They are in $XDG_CONFIG_HOME/shardmanager/config.yaml (~/.config without that variable;\n" +
			fileVariable + " names another file), for its owner alone:\n\n" +
			"  current: prod\n  contexts:\n    - name: prod\n      admin: [a1:7440, a2:7440]\n    - name: test\n      admin: [127.0.0.1:7440]\n      socket: unix:///run/test/agent.sock\n\n" +
			"A flag wins (--admin or --socket, then --context), then a variable (SHARDMANAGER_ADMIN or SHARDMANAGER_SOCKET, then " + nameVariable + "), then the\n" +
			"current context, then the default.",
		Args: cobra.ArbitraryArgs,
		RunE: top.Group,
	}
	c.AddCommand(listCommand(around()), useCommand(around()), showCommand(around()), setCommand(around()), deleteCommand(around()))
	return c
}

func listCommand(s shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:     "list",
		Short:   "List all contexts",
		Example: "  shardmanager context list\n  shardmanager context list -o yaml",
		Args:    s.Exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			file, err := read(filePath())
			if err != nil {
				return s.Refuse(err)
			}
			return s.Print(c.OutOrStdout(), file, func(w io.Writer) { table(w, file.GetCurrent(), file.GetContexts()...) })
		},
	}
	s.Output(c)
	return c
}

func table(w io.Writer, current string, contexts ...*pb.Context) {
	shell.Row(w, "CURRENT", "NAME", "ADMIN", "SOCKET")
	for _, c := range contexts {
		mark := ""
		if c.GetName() == current {
			mark = "*"
		}
		shell.Row(w, mark, c.GetName(), cmp.Or(strings.Join(c.GetAdmin(), ","), "-"), cmp.Or(c.GetSocket(), "-"))
	}
}

func showCommand(s shell.Shell) *cobra.Command {
	var choice Choice
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show which cluster a command speaks to, and what says so; exit code 1 if it is not a context",
		Example: "  shardmanager context show\n  shardmanager context show --context test",
		Args:    s.Exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			admin, from, err := choice.Value(Admin(""))
			if err != nil {
				return s.Refuse(err)
			}
			if from == "" && admin != "" {
				return fmt.Errorf("context: SHARDMANAGER_ADMIN says %s, whatever contexts there are", admin)
			}
			name := cmp.Or(choice.name, from)
			if name == "" {
				return errors.New("context: none is chosen: choose one by `shardmanager context use`, --context or " + nameVariable)
			}
			chosen, err := named(name)
			if err != nil {
				return err
			}
			return s.Print(c.OutOrStdout(), chosen, func(w io.Writer) { table(w, name, chosen) })
		},
	}
	choice.Flag(c)
	s.Output(c)
	return c
}

func useCommand(s shell.Shell) *cobra.Command {
	return &cobra.Command{
		Use:               "use CONTEXT",
		Short:             "Make a context the one that is used where none is named",
		Example:           "  shardmanager context use prod",
		Args:              s.Exactly("CONTEXT"),
		ValidArgsFunction: complete,
		RunE: func(c *cobra.Command, args []string) error {
			return change(s, c, args[0]+": current now", func(file *pb.Contexts) error {
				_, err := find(file, filePath(), args[0])
				file.Current = args[0]
				return err
			})
		},
	}
}

func setCommand(s shell.Shell) *cobra.Command {
	to := new(pb.Context)
	var use bool
	c := &cobra.Command{
		Use:   "set CONTEXT",
		Short: "Add a context, or change what flags say of one",
		Long:  "Add a context, or change what flags say of one. The first context is made the current one. Comments in the file are lost.",
		Example: "  shardmanager context set prod --admin a1:7440,a2:7440,a3:7440 --use\n" +
			"  shardmanager context set test --admin 127.0.0.1:7440 --socket unix:///run/test/agent.sock",
		Args:              s.Exactly("CONTEXT"),
		ValidArgsFunction: complete,
		RunE: func(c *cobra.Command, args []string) error {
			if !c.Flags().Changed("admin") && !c.Flags().Changed("socket") {
				return s.Refuse(fmt.Errorf("%s: expected --admin or --socket", c.CommandPath()))
			}
			return change(s, c, args[0]+": set", func(file *pb.Contexts) error {
				i := slices.IndexFunc(file.GetContexts(), func(c *pb.Context) bool { return c.GetName() == args[0] })
				if i < 0 {
					i = len(file.GetContexts())
					file.Contexts = append(file.Contexts, &pb.Context{Name: args[0]})
				}
				if c.Flags().Changed("admin") {
					file.Contexts[i].Admin = to.GetAdmin()
				}
				if c.Flags().Changed("socket") {
					file.Contexts[i].Socket = to.GetSocket()
				}
				if use || len(file.GetContexts()) == 1 {
					file.Current = args[0]
				}
				return check(file, func(string) string { return "context " + args[0] })
			})
		},
	}
	c.Flags().StringSliceVar(&to.Admin, "admin", nil, "host:port of an allocator's admin listener, or several separated by commas")
	c.Flags().StringVar(&to.Socket, "socket", "", "unix:///path of the agent of this host")
	c.Flags().BoolVar(&use, "use", false, "make it the current one")
	return c
}

func deleteCommand(s shell.Shell) *cobra.Command {
	return &cobra.Command{
		Use:               "delete CONTEXT",
		Short:             "Forget a context; its cluster goes on",
		Example:           "  shardmanager context delete test",
		Args:              s.Exactly("CONTEXT"),
		ValidArgsFunction: complete,
		RunE: func(c *cobra.Command, args []string) error {
			return change(s, c, args[0]+": deleted", func(file *pb.Contexts) error {
				i, err := find(file, filePath(), args[0])
				if err != nil {
					return err
				}
				file.Contexts = slices.Delete(file.Contexts, i, i+1)
				if file.GetCurrent() == args[0] {
					file.Current = ""
				}
				return nil
			})
		},
	}
}

// change reads the file, changes it and writes it; done is what is said then.
func change(s shell.Shell, c *cobra.Command, done string, how func(*pb.Contexts) error) error {
	file, err := read(filePath())
	if err == nil {
		err = how(file)
	}
	if err != nil {
		return s.Refuse(fmt.Errorf("%s: %w", c.CommandPath(), err))
	}
	if err := write(filePath(), file); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.OutOrStdout(), done)
	return err
}
