// Package gossip is the verb `shardmanager gossip`: who takes part, and the keys that it is encrypted with.
//
// Called by cmd/shardmanager. Everything is asked of the leader.
package gossip

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Command is the verb; each of its own verbs gets a shell.
func Command(around func() shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:   "gossip",
		Short: "List the members of gossip, and rotate the key that it is encrypted with",
		Long: "List the members of gossip, and rotate the key that it is encrypted with. The leader is asked, which must take part itself\n" +
			"(gossip_listen). What gossip says of a member is a hint: nothing is granted, fenced or placed because of it.",
		RunE: around().Group,
		Args: cobra.ArbitraryArgs,
	}
	c.AddCommand(membersCommand(around()), keysCommand(around))
	return c
}

func membersCommand(a shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:     "members",
		Short:   "List the agents and allocators that the leader knows by gossip, and how they stand",
		Example: "  shardmanager gossip members\n  shardmanager gossip members -o json",
		Args:    a.Exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			answer, err := shell.Leader(c.Context(), a, shardmanagerv1connect.AdminServiceClient.ListGossipMembers, &pb.ListGossipMembersRequest{})
			if err != nil {
				return err
			}
			return a.Print(c.OutOrStdout(), answer, func(w io.Writer) {
				shell.Row(w, "ROLE", "NAME", "STATUS", "ADDRESS", "REGION", "ZONE", "VERSION", "APPS", "LIFE")
				for _, m := range answer.GetMembers() {
					shell.Row(w, m.GetRole(), m.GetName(), Status(m.GetStatus()), m.GetAddress(), shell.Dash(m.GetRegion()), shell.Dash(m.GetZone()), shell.Dash(m.GetVersion()),
						shell.Dash(strings.Join(m.GetApps(), ",")), m.GetLife())
				}
			})
		},
	}
	a.Flags(c)
	return c
}

// Status is how a member stands, for people.
func Status(s pb.GossipStatus) string {
	if s == pb.GossipStatus_GOSSIP_STATUS_UNSPECIFIED {
		return "unknown"
	}
	return shell.EnumName(s.String(), "GOSSIP_STATUS_")
}

func keysCommand(around func() shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "List the keys that members encrypt with and understand, or take a step of a rotation",
		Long: "A rotation takes three steps; all members must have answered one before the next:\n\n" +
			"  1. install  every member understands the new key; nobody encrypts with it yet\n" +
			"  2. use      every member encrypts with it, and still understands the old one\n" +
			"  3. remove   no member understands the old key any more\n\n" +
			"A step that a member missed ends with exit code 1: repeat it. Every member keeps the change in its gossip_key_file. One that is down\n" +
			"meanwhile has to be given the new keyring by hand. Keys are spoken of by short names, the beginning of their SHA-256; they are never shown.",
		Example: "  openssl rand -base64 32 | shardmanager gossip keys install -\n" +
			"  shardmanager gossip keys list                  # has every member got it? what are the short names?\n" +
			"  shardmanager gossip keys use 1f4c09a83b77\n" +
			"  shardmanager gossip keys remove e05d21c6f918   # the old one",
		RunE: around().Group,
		Args: cobra.ArbitraryArgs,
	}
	c.AddCommand(keysListCommand(around()),
		keyStepCommand(around(), "install", "KEY|-", "Put a new key, in base64, on every member's keyring; nobody encrypts with it yet (-: read it from stdin)", pb.GossipKeyStep_GOSSIP_KEY_STEP_INSTALL),
		keyStepCommand(around(), "use", "KEY", "Have every member encrypt with a key that all have got, given by its short name", pb.GossipKeyStep_GOSSIP_KEY_STEP_USE),
		keyStepCommand(around(), "remove", "KEY", "Take a key that nobody encrypts with off every keyring, given by its short name", pb.GossipKeyStep_GOSSIP_KEY_STEP_REMOVE))
	return c
}

func keysListCommand(a shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:     "list",
		Short:   "Ask every member for its keys: how many have each, and how many encrypt with it",
		Example: "  shardmanager gossip keys list",
		Args:    a.Exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			answer, err := a.Client().GossipKeys(c.Context())
			if answer == nil {
				return err
			}
			return errors.Join(a.Print(c.OutOrStdout(), answer, func(w io.Writer) {
				shell.Row(w, "KEY", "MEMBERS", "ENCRYPT WITH IT")
				for _, k := range answer.GetKeys() {
					shell.Row(w, k.GetName(), fmt.Sprintf("%d/%d", k.GetMembers(), answer.GetMembers()), fmt.Sprintf("%d/%d", k.GetPrimary(), answer.GetMembers()))
				}
			}), err)
		},
	}
	a.Flags(c)
	return c
}

// maxKeyText is more than a key of base64 is long.
const maxKeyText = 1024

func keyStepCommand(a shell.Shell, verb, argument, short string, step pb.GossipKeyStep) *cobra.Command {
	var question shell.Question
	c := &cobra.Command{
		Use:     verb + " " + argument,
		Short:   short,
		Example: "  shardmanager gossip keys " + verb + " " + map[string]string{"install": "-", "use": "1f4c09a83b77", "remove": "e05d21c6f918"}[verb],
		Args:    a.Exactly("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			key := args[0]
			if key == "-" { // not among the arguments, which anybody on this machine may read
				text, err := io.ReadAll(io.LimitReader(c.InOrStdin(), maxKeyText))
				if err != nil {
					return fmt.Errorf("gossip key: %w", err)
				}
				key = strings.TrimSpace(string(text))
			}
			if step == pb.GossipKeyStep_GOSSIP_KEY_STEP_REMOVE {
				if err := question.Ask(c, func() ([]string, error) { return removeWould(c, a, key) }); err != nil {
					return err
				}
			}
			answer, err := a.Client().RotateGossipKey(c.Context(), step, key)
			if answer == nil {
				return err
			}
			text := fmt.Sprintf("%s %s: %d of %d members answered", verb, answer.GetKey(), answer.GetAnswered(), answer.GetMembers())
			return errors.Join(a.Progress(c.OutOrStdout(), answer, text), err)
		},
	}
	if step == pb.GossipKeyStep_GOSSIP_KEY_STEP_REMOVE {
		question.Flag(c)
	}
	a.Flags(c)
	return c
}

// removeWould says what it would do to take a key off all keyrings.
func removeWould(c *cobra.Command, a shell.Shell, key string) ([]string, error) {
	answer, err := a.Client().GossipKeys(c.Context())
	if answer == nil {
		return nil, err
	}
	for _, k := range answer.GetKeys() {
		if k.GetName() == key {
			return []string{fmt.Sprintf("%d of %d members understand key %s, and %d encrypt with it: none will understand it any more.", k.GetMembers(), answer.GetMembers(), key, k.GetPrimary())}, nil
		}
	}
	return []string{"No member that answered has key " + key + "."}, nil
}
