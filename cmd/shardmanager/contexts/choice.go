package contexts

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Choice is which context one command line uses.
type Choice struct{ name string }

// Flag adds --context.
func (c *Choice) Flag(command *cobra.Command) {
	command.Flags().StringVar(&c.name, "context", "", "`NAME` of the cluster to speak to, of those that `context list` shows ("+nameVariable+")")
	_ = command.RegisterFlagCompletionFunc("context", complete) // fails only where it has one
}

// Name names the context, as the flag would.
func (c *Choice) Name(name string) { c.name = name }

// Setting is a value that a flag, a variable or a context may give.
type Setting struct {
	Flag     string // as given; empty: not
	Variable string // name
	Of       func(*pb.Context) string
}

// Admin is the setting of allocators' addresses, separated by commas.
func Admin(flag string) Setting {
	return Setting{Flag: flag, Variable: "SHARDMANAGER_ADMIN", Of: func(c *pb.Context) string { return strings.Join(c.GetAdmin(), ",") }}
}

// Socket is the setting of the agent's address.
func Socket(flag string) Setting {
	return Setting{Flag: flag, Variable: "SHARDMANAGER_SOCKET", Of: (*pb.Context).GetSocket}
}

// Value is that of a setting, and the context that it comes from; empty: none says anything. A flag wins, its own before --context; then the setting's
// variable, then SHARDMANAGER_CONTEXT, then the context that the file says is current. The file is read only if its word counts.
func (c *Choice) Value(s Setting) (value, from string, err error) {
	if c.name != "" {
		chosen, err := named(c.name)
		if err != nil {
			return "", "", fmt.Errorf("--context: %w", err)
		}
		if value := s.Of(chosen); s.Flag == "" && value != "" {
			return value, c.name, nil
		}
	}
	if given := cmp.Or(s.Flag, os.Getenv(s.Variable)); given != "" || c.name != "" {
		return given, "", nil
	}
	if name := os.Getenv(nameVariable); name != "" {
		chosen, err := named(name)
		if err != nil {
			return "", "", fmt.Errorf("%s: %w", nameVariable, err)
		}
		return s.Of(chosen), name, nil
	}
	file, err := read(filePath())
	if err != nil || file.GetCurrent() == "" {
		return "", "", err
	}
	i, err := find(file, filePath(), file.GetCurrent())
	if err != nil {
		return "", "", err
	}
	return s.Of(file.GetContexts()[i]), file.GetCurrent(), nil
}

func named(name string) (*pb.Context, error) {
	file, err := read(filePath())
	if err != nil {
		return nil, err
	}
	i, err := find(file, cmp.Or(filePath(), fileVariable), name)
	if err != nil {
		return nil, fmt.Errorf("%w; see `shardmanager context list`", err)
	}
	return file.GetContexts()[i], nil
}

// complete offers the names of contexts.
func complete(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	var found []string
	if file, err := read(filePath()); err == nil && len(args) == 0 { // who has a broken file is offered nothing: there is nobody to tell
		for name := range names(file) {
			if strings.HasPrefix(name, begun) {
				found = append(found, name)
			}
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}
