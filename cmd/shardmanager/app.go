package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

func appCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "app",
		Short: "Create, update, show and delete apps",
		Long: "Create, update, show and delete apps. The spec of an app is a YAML or JSON file:\n\n" +
			"  name: kv\n  key_space:\n    hash:\n      shards: 96          # fixed for the life of the app\n  replication: primary-only\n" +
			"  placement:              # all optional\n    max_concurrent_moves: 64\n    max_concurrent_moves_per_server: 8\n    balance_tolerance_percent: 10\n" +
			"  exclusive: true         # the default; false for a cache: a lost server's shards go elsewhere at once, and it may serve them still\n" +
			"  on_coordination_loss: fence   # hold: serve on when neither an allocator nor the store can be reached; the default of a cache\n" +
			"  accept_overlap: false   # true is needed for an exclusive app to hold: it is promised no more that a shard has one primary",
		Args: cobra.ArbitraryArgs,
		RunE: needsVerb,
	}
	c.AddCommand(appCreateCommand(), appUpdateCommand(), appGetCommand(), appListCommand(), appDeleteCommand())
	return c
}

// readSpec reads the file of -f.
func readSpec(c *cobra.Command, path string) (*config.AppSpec, error) {
	if path == "" {
		return nil, &usageError{fmt.Errorf("%s: expected -f FILE, the spec of the app; see shardmanager app --help", c.CommandPath())}
	}
	spec, err := config.ReadAppSpec(path)
	if err != nil {
		return nil, &usageError{err}
	}
	return spec, nil
}

// located puts file and line before a refusal that names a field of the spec. What is wrong in the file is a usage error; what is in the
// way in the cluster (a name that exists, another version) is not.
func located(err error, spec *config.AppSpec) error {
	detail, ok := wire.DetailOf(err)
	if !ok {
		return err
	}
	place, known := spec.Locate(detail.GetSubject())
	if !known {
		return err
	}
	told := fmt.Errorf("%s: expected %s", place, strings.TrimPrefix(detail.GetExpected(), "expected "))
	switch detail.GetReason() {
	case pb.ErrorReason_ERROR_REASON_INVALID, pb.ErrorReason_ERROR_REASON_UNSUPPORTED:
		return &usageError{told}
	default:
		return told
	}
}

func appCreateCommand() *cobra.Command {
	var a adminClient
	var file string
	c := &cobra.Command{
		Use:     "create -f FILE",
		Short:   "Create an app; its shards are placed as soon as servers are there",
		Example: "  shardmanager app create -f kv.yaml",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			spec, err := readSpec(c, file)
			if err != nil {
				return err
			}
			answer, err := theLeader(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.CreateApp, &pb.CreateAppRequest{Spec: spec.Spec})
			if err != nil {
				return located(err, spec)
			}
			return a.print(c.OutOrStdout(), answer.GetSpec(), func(w io.Writer) { appTable(w, answer.GetSpec()) })
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "YAML or JSON file with the spec")
	a.flags(c)
	return c
}

func appUpdateCommand() *cobra.Command {
	var a adminClient
	var file string
	c := &cobra.Command{
		Use:   "update -f FILE",
		Short: "Replace the spec of an app; the key space cannot change",
		Long: "Replace the spec of an app; the key space cannot change. With resource_version in the file, the update is refused if the app was\n" +
			"changed since; without, it replaces whatever is there.",
		Example: "  shardmanager app get kv -o json > kv.json    # edit kv.json, then:\n  shardmanager app update -f kv.json",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			spec, err := readSpec(c, file)
			if err != nil {
				return err
			}
			if spec.Spec.GetResourceVersion() == 0 {
				current, err := getApp(c, &a, spec.Spec.GetName())
				if err != nil {
					return err
				}
				spec.Spec.ResourceVersion = current.GetResourceVersion()
			}
			answer, err := theLeader(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.UpdateApp, &pb.UpdateAppRequest{Spec: spec.Spec})
			if err != nil {
				return located(err, spec)
			}
			return a.print(c.OutOrStdout(), answer.GetSpec(), func(w io.Writer) { appTable(w, answer.GetSpec()) })
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "YAML or JSON file with the spec")
	a.flags(c)
	return c
}

func getApp(c *cobra.Command, a *adminClient, name string) (*pb.AppSpec, error) {
	answer, err := theLeader(c.Context(), a, shardmanagerv1connect.AdminServiceClient.GetApp, &pb.GetAppRequest{Name: name})
	if err != nil {
		return nil, err
	}
	if answer.GetSpec() == nil {
		return nil, errors.New("app " + name + ": the allocator answered without a spec")
	}
	return answer.GetSpec(), nil
}

func appGetCommand() *cobra.Command {
	var a adminClient
	c := &cobra.Command{
		Use:     "get NAME",
		Short:   "Show the spec of an app; with -o json in the form that update takes",
		Example: "  shardmanager app get kv -o json",
		Args:    exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			spec, err := getApp(c, &a, args[0])
			if err != nil {
				return err
			}
			return a.print(c.OutOrStdout(), spec, func(w io.Writer) { appTable(w, spec) })
		},
	}
	a.flags(c)
	return c
}

func appListCommand() *cobra.Command {
	var a adminClient
	c := &cobra.Command{
		Use:     "list",
		Short:   "List all apps",
		Example: "  shardmanager app list",
		Args:    exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			answer, err := theLeader(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.ListApps, &pb.ListAppsRequest{})
			if err != nil {
				return err
			}
			return a.print(c.OutOrStdout(), answer, func(w io.Writer) { appTable(w, answer.GetSpecs()...) })
		},
	}
	a.flags(c)
	return c
}

func appTable(w io.Writer, specs ...*pb.AppSpec) {
	row(w, "NAME", "KEY SPACE", "REPLICATION", "EXCLUSIVE", "ON LOSS", "VERSION")
	for _, s := range specs {
		replication := enumName(s.GetReplication().String(), "REPLICATION_")
		if n := s.GetReplicas(); n > 0 {
			replication += fmt.Sprintf(", %d replicas", n)
		}
		exclusive, loss := exclusiveness(s)
		row(w, s.GetName(), keySpace(s.GetKeySpace()), replication, exclusive, loss, fmt.Sprint(s.GetResourceVersion()))
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
		loss = enumName(set.String(), "COORDINATION_LOSS_")
	}
	return exclusive, loss
}

func keySpace(space *pb.KeySpace) string {
	if space.GetNamed() != nil {
		return "named"
	}
	return fmt.Sprintf("hash, %d shards", space.GetHash().GetShards())
}

func appDeleteCommand() *cobra.Command {
	var a adminClient
	var version uint64
	c := &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete an app that no server is registered for",
		Example: "  shardmanager app delete kv",
		Args:    exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if version == 0 {
				current, err := getApp(c, &a, args[0])
				if err != nil {
					return err
				}
				version = current.GetResourceVersion()
			}
			request := &pb.DeleteAppRequest{Name: args[0], ResourceVersion: version}
			answer, err := theLeader(c.Context(), &a, shardmanagerv1connect.AdminServiceClient.DeleteApp, request)
			if err != nil {
				return err
			}
			return a.print(c.OutOrStdout(), answer, func(w io.Writer) { row(w, "deleted "+args[0]) })
		},
	}
	c.Flags().Uint64Var(&version, "resource-version", 0, "refuse if the app is at another version (default whatever is there)")
	a.flags(c)
	return c
}
