// Package app is the verb `shardmanager app`: it reads specs from files, checks them before anything is sent, and shows them.
//
// Called by cmd/shardmanager.
package app

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/filter"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// Command is the verb; each of its own verbs gets a shell.
func Command(around func() shell.Shell) *cobra.Command {
	top := around()
	c := &cobra.Command{
		Use:   "app",
		Short: "Create, update, show and delete apps, and say how many servers one needs",
		Long: "Create, update, show and delete apps. The spec of an app is a YAML or JSON file:\n\n" +
			"  name: kv\n  key_space:\n    hash:\n      shards: 96          # fixed for the life of the app\n  replication: primary-only\n" +
			"  placement:              # all optional\n    max_concurrent_moves: 64\n    max_concurrent_moves_per_server: 8\n    balance_tolerance_percent: 10\n" +
			"  policy: {}              # constraints, goals and more: docs/policy.md\n" +
			"  exclusive: true         # the default; false for a cache: a lost server's shards go elsewhere at once, and it may serve them still\n" +
			"  on_coordination_loss: fence   # hold: serve on when neither an allocator nor the store can be reached; the default of a cache\n" +
			"  accept_overlap: false   # true is needed for an exclusive app to hold: it is promised no more that a shard has one primary",
		Args: cobra.ArbitraryArgs,
		RunE: top.Group,
	}
	c.AddCommand(createCommand(around()), updateCommand(around()), getCommand(around()), List(around(), "list", "shardmanager app list"), deleteCommand(around()), capacityCommand(around()))
	return c
}

// readSpec reads the file of -f.
func readSpec(a shell.Shell, c *cobra.Command, path string) (*config.AppSpec, error) {
	if path == "" {
		return nil, a.Refuse(fmt.Errorf("%s: expected -f FILE, the spec of the app; see shardmanager app --help", c.CommandPath()))
	}
	spec, err := config.ReadAppSpec(path)
	if err != nil {
		return nil, a.Refuse(err)
	}
	if _, err := (policy.Admission{Partial: true, Document: spec.Document}).Admit(spec.Spec); err != nil {
		return nil, a.Refuse(err)
	}
	return spec, nil
}

// located puts file and line before a refusal that names a field of the spec. What is wrong in the file is a usage error; what is in the
// way in the cluster (a name that exists, another version) is not.
func located(a shell.Shell, err error, spec *config.AppSpec) error {
	detail, ok := wire.DetailOf(err)
	if !ok {
		return err
	}
	place, known := spec.Locate(detail.GetSubject())
	if !known {
		return err
	}
	told := fmt.Errorf("%s: expected %s", place, strings.TrimPrefix(detail.GetExpected(), "expected "))
	if strings.HasPrefix(detail.GetSubject(), "policy") { // problems of policies are whole sentences
		told = fmt.Errorf("%s: %s", place, detail.GetExpected())
	}
	switch detail.GetReason() {
	case pb.ErrorReason_ERROR_REASON_INVALID, pb.ErrorReason_ERROR_REASON_UNSUPPORTED:
		return a.Refuse(told)
	default:
		return told
	}
}

func createCommand(a shell.Shell) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:     "create -f FILE",
		Short:   "Create an app; its shards are placed as soon as servers are there",
		Example: "  shardmanager app create -f kv.yaml",
		Args:    a.Exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			spec, err := readSpec(a, c, file)
			if err != nil {
				return err
			}
			answer, err := shell.Leader(c.Context(), a, shardmanagerv1connect.AdminServiceClient.CreateApp, &pb.CreateAppRequest{Spec: spec.Spec})
			if err != nil {
				return located(a, err, spec)
			}
			return a.Print(c.OutOrStdout(), answer.GetSpec(), func(w io.Writer) { table(w, answer.GetSpec()) })
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "YAML or JSON file with the spec")
	a.Flags(c)
	return c
}

func updateCommand(a shell.Shell) *cobra.Command {
	var file string
	var question shell.Question
	c := &cobra.Command{
		Use:   "update -f FILE",
		Short: "Replace the spec of an app; the key space cannot change",
		Long: "Replace the spec of an app; the key space cannot change. With resource_version in the file, the update is refused if the app was\n" +
			"changed since; without, it replaces whatever is there.",
		Example: "  shardmanager app get kv -o json > kv.json    # edit kv.json, then:\n  shardmanager app update -f kv.json",
		Args:    a.Exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			spec, err := readSpec(a, c, file)
			if err != nil {
				return err
			}
			if err := question.Ask(c, func() ([]string, error) { return updateWould(c, a, spec.Spec) }); err != nil {
				return err
			}
			if spec.Spec.GetResourceVersion() == 0 {
				current, err := getApp(c, a, spec.Spec.GetName())
				if err != nil {
					return err
				}
				spec.Spec.ResourceVersion = current.GetResourceVersion()
			}
			answer, err := shell.Leader(c.Context(), a, shardmanagerv1connect.AdminServiceClient.UpdateApp, &pb.UpdateAppRequest{Spec: spec.Spec})
			if err != nil {
				return located(a, err, spec)
			}
			return a.Print(c.OutOrStdout(), answer.GetSpec(), func(w io.Writer) { table(w, answer.GetSpec()) })
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "YAML or JSON file with the spec")
	question.Flag(c)
	a.Flags(c)
	return c
}

func getApp(c *cobra.Command, a shell.Shell, name string) (*pb.AppSpec, error) {
	answer, err := shell.Leader(c.Context(), a, shardmanagerv1connect.AdminServiceClient.GetApp, &pb.GetAppRequest{Name: name})
	if err != nil {
		return nil, err
	}
	if answer.GetSpec() == nil {
		return nil, errors.New("app " + name + ": the allocator answered without a spec")
	}
	return answer.GetSpec(), nil
}

func getCommand(a shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:     "get NAME",
		Short:   "Show the spec of an app; with -o json or yaml in the form that update takes",
		Example: "  shardmanager app get kv -o yaml",
		Args:    a.Exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			spec, err := getApp(c, a, args[0])
			if err != nil {
				return err
			}
			return a.Print(c.OutOrStdout(), spec, func(w io.Writer) { table(w, spec) })
		},
	}
	a.Flags(c)
	return c
}

// List is the command that lists all apps, under a name and with an example of its own.
func List(a shell.Shell, name, example string) *cobra.Command {
	var only shell.Filter
	c := &cobra.Command{
		Use:     name,
		Short:   "List all apps",
		Example: "  " + example,
		Args:    a.Exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			picked, err := only.Compile(new(pb.AppSpec), a.Refuse)
			if err != nil {
				return err
			}
			answer, err := shell.Leader(c.Context(), a, shardmanagerv1connect.AdminServiceClient.ListApps, &pb.ListAppsRequest{})
			if err != nil {
				return err
			}
			if answer.Specs, err = filter.Rows(picked, answer.GetSpecs()); err != nil {
				return err
			}
			return a.Print(c.OutOrStdout(), answer, func(w io.Writer) { table(w, answer.GetSpecs()...) })
		},
	}
	only.Flag(c)
	a.Flags(c)
	return c
}

func table(w io.Writer, specs ...*pb.AppSpec) {
	shell.Row(w, "NAME", "KEY SPACE", "REPLICATION", "EXCLUSIVE", "ON LOSS", "VERSION")
	for _, s := range specs {
		replication := shell.EnumName(s.GetReplication().String(), "REPLICATION_")
		if n := s.GetReplicas(); n > 0 {
			replication += fmt.Sprintf(", %d replicas", n)
		}
		exclusive, loss := exclusiveness(s)
		shell.Row(w, s.GetName(), keySpace(s.GetKeySpace()), replication, exclusive, loss, fmt.Sprint(s.GetResourceVersion()))
	}
}

// exclusiveness is whether two servers may serve a shard at once, and what they do when nobody vouches for them any more.
func exclusiveness(s *pb.AppSpec) (exclusive, loss string) {
	exclusive, loss = "yes", "fence"
	if s.Exclusive != nil && !s.GetExclusive() {
		exclusive, loss = "no", "hold"
	}
	if s.GetAcceptOverlap() {
		exclusive += ", overlap accepted"
	}
	if set := s.GetOnCoordinationLoss(); set != pb.CoordinationLoss_COORDINATION_LOSS_UNSPECIFIED {
		loss = shell.EnumName(set.String(), "COORDINATION_LOSS_")
	}
	return exclusive, loss
}

func keySpace(space *pb.KeySpace) string {
	if space.GetNamed() != nil {
		return "named"
	}
	return fmt.Sprintf("hash, %d shards", space.GetHash().GetShards())
}

func deleteCommand(a shell.Shell) *cobra.Command {
	var version uint64
	var question shell.Question
	c := &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete an app that no server is registered for",
		Example: "  shardmanager app delete kv",
		Args:    a.Exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := question.Ask(c, func() ([]string, error) { return deleteWould(c, a, args[0]) }); err != nil {
				return err
			}
			if version == 0 {
				current, err := getApp(c, a, args[0])
				if err != nil {
					return err
				}
				version = current.GetResourceVersion()
			}
			request := &pb.DeleteAppRequest{Name: args[0], ResourceVersion: version}
			answer, err := shell.Leader(c.Context(), a, shardmanagerv1connect.AdminServiceClient.DeleteApp, request)
			if err != nil {
				return err
			}
			return a.Print(c.OutOrStdout(), answer, func(w io.Writer) { shell.Row(w, "deleted "+args[0]) })
		},
	}
	c.Flags().Uint64Var(&version, "resource-version", 0, "refuse if the app is at another version (default whatever is there)")
	question.Flag(c)
	a.Flags(c)
	return c
}

// deleteWould says what to delete an app would do.
func deleteWould(c *cobra.Command, a shell.Shell, name string) ([]string, error) {
	spec, err := getApp(c, a, name)
	if err != nil {
		return nil, err
	}
	return []string{
		fmt.Sprintf("App %s (%s, version %d): its spec, policy, and who owned which shard are forgotten.", name, keySpace(spec.GetKeySpace()), spec.GetResourceVersion()),
		"Its clients find nobody any more. What the application stored is the application's to remove.",
	}, nil
}
