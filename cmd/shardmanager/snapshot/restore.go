package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/allocator"
	"github.com/shardmanager/shardmanager/allocator/restore"
	"github.com/shardmanager/shardmanager/allocator/snapshot"
	"github.com/shardmanager/shardmanager/allocator/storage"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
	"github.com/shardmanager/shardmanager/internal/daemon"
	"github.com/shardmanager/shardmanager/internal/gossip"
	"github.com/shardmanager/shardmanager/internal/tracing"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// offline is a verb that works on the store itself, while no allocator leads. It takes the settings of an allocator, so that its file serves.
type offline struct {
	shell    shell.Shell
	question shell.Question
	above    uint64

	cfg    allocator.Config
	store  daemon.StoreSettings
	consul consul.Config
	member gossip.Config
	traced tracing.Settings
	daemon *daemon.Daemon
}

// stopped is what has to be known before either verb is used.
const stopped = "\n\nStop every allocator first, in order, and let it run while none does. Agents and applications may run on: every server ends what it does within\n" +
	"seconds and registers anew, so requests fail from then until allocators run again and have placed the shards, and data that applications keep in\n" +
	"memory alone is lost. It takes as long as leases last (lease_validity; leader_validity in addition if the last allocator was killed). Give it the\n" +
	"settings of the allocators: the same --config, or the same store and cluster. If it is interrupted, nobody leads until it has been run again."

func newOffline(s shell.Shell, c *cobra.Command) *offline {
	o := &offline{shell: s, cfg: allocator.DefaultConfig(), store: daemon.StoreSettings{Store: daemon.EmbeddedStore, Address: daemon.DefaultStoreAddress}}
	help := map[string]config.Help{"leader_validity": {Text: "how long a leader may grant on one proof of its lock; the longer of this and of what the last leader used counts"}}
	if others, err := config.New(&o.member, &o.traced); err == nil { // of an allocator's file; they mean nothing here
		for _, key := range append(others.Keys(), "log_level", "log_format", "advertise", "lease_interval", "consul_register", "consul_check_ttl") {
			help[key] = config.Help{Hidden: true}
		}
	}
	o.daemon = daemon.New(c, help, &o.cfg, &o.store, &o.consul, &o.member, &o.traced)
	c.Flags().Uint64Var(&o.above, "above", 0, "raise the generation above this one, too: one that nothing in the store shows any more")
	o.question.Flag(c)
	s.Output(c)
	return o
}

func restoreCommand(s shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a copy back: apps, policies, shards, drains, quarantine and planned events are as they were, at terms above all that were ever granted",
		Long: "Put a copy back: apps, policies, shards, drains, quarantine and planned events are as they were. What was created since is deleted. Shards are\n" +
			"placed anew, at terms above all that were ever granted (the generation of the cluster is raised)." + stopped,
		Example: "  shardmanager snapshot restore prod.snapshot --config /etc/shardmanager/allocator.yaml\n" +
			"  shardmanager snapshot restore prod.snapshot --cluster prod --store consul --yes",
		Args: s.Exactly("FILE"),
	}
	o := newOffline(s, c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := o.load(); err != nil {
			return err
		}
		copied, err := read(args[0])
		if err != nil {
			return s.Refuse(err)
		}
		if _, err := copied.Summary(); err != nil {
			return s.Refuse(fmt.Errorf("%s: %w", args[0], err))
		}
		h := copied.Header
		if h.GetCluster() != o.cfg.Cluster || h.GetGroup() != o.cfg.Group {
			return s.Refuse(fmt.Errorf("%s: it is of cluster %s, not of %s", args[0], h.GetCluster(), o.cfg.Cluster))
		}
		return o.run(c, restore.Source{
			What: "of a snapshot of " + time.UnixMilli(h.GetTimeMs()).Format(time.RFC3339), Entries: copied.Entries, Above: o.above,
		}, copied)
	}
	return c
}

func raiseCommand(s shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:   "raise-generation",
		Short: "Keep what the store has now, at terms above all that were ever granted: after the store itself was taken back in time",
		Long: "Keep what the store has now, and raise the generation of the cluster: shards are placed anew, at terms above all that were ever granted. It is what\n" +
			"releases a cluster in which nobody leads because agents obeyed a later leader than the store knows: somebody took the store back in time." + stopped,
		Example: "  shardmanager status           # says why nobody leads\n  shardmanager snapshot raise-generation --config /etc/shardmanager/allocator.yaml",
		Args:    s.Exactly(),
	}
	o := newOffline(s, c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := o.load(); err != nil {
			return err
		}
		return o.run(c, restore.Source{What: "of what the store had", Above: o.above}, nil)
	}
	return c
}

// load reads the settings, and checks those that count.
func (o *offline) load() error {
	if err := o.daemon.Load(func() []daemon.Validator {
		return append(daemon.ConsulSettings(o.store.Store, o.consul), o.store, leases{o.cfg})
	}); err != nil {
		return o.shell.Refuse(err)
	}
	return nil
}

// leases are those settings of an allocator that count here.
type leases struct{ allocator.Config }

func (l leases) Validate() error {
	if l.Cluster == "" {
		return errors.New("cluster: expected the name of the cluster: set --cluster, or --config")
	}
	return l.Settings().Validate()
}

func (o *offline) run(c *cobra.Command, from restore.Source, copied *snapshot.Snapshot) error {
	store, err := o.daemon.DialStore(o.store, o.consul, o.cfg.Cluster)
	if err != nil {
		return o.shell.Refuse(err)
	}
	defer store.Close()
	ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed host"
	}
	bar := shell.NewBar(c)
	defer bar.Clear()
	d := restore.Deps{
		Store: store, Keys: storage.NewKeys(o.cfg.Cluster, o.cfg.Group), Settings: o.cfg.Settings().Defaults(), Clock: clock.Now, Sleep: clock.Sleep,
		Name: "`shardmanager snapshot " + c.Name() + "` on " + host, Tell: func(what string, done, all uint64) { bar.Show(done, all, what) },
	}
	would, err := restore.Look(ctx, d, from)
	if err != nil {
		return err
	}
	if err := o.question.Ask(c, func() ([]string, error) { return o.would(would, from), nil }); err != nil {
		return err
	}
	if err := o.shell.Progress(c.OutOrStdout(), o.summary(copied, would), fmt.Sprintf("generation %d begins: %d servers end, every lease is over within %s",
		would.Generation, would.Servers, would.Wait.Round(time.Second))); err != nil {
		return err
	}
	done, err := restore.Run(ctx, d, from)
	bar.Clear()
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted: %w", err)
	case err != nil:
		return err
	}
	return o.shell.Progress(c.OutOrStdout(), o.summary(copied, done), fmt.Sprintf("done: generation %d, %d keys written, %d deleted; start the allocators now",
		done.Generation, done.Writes, done.Deletes))
}

// summary is what programs are told.
func (o *offline) summary(copied *snapshot.Snapshot, plan restore.Plan) *pb.SnapshotSummary {
	s := &pb.SnapshotSummary{Header: &pb.SnapshotHeader{Cluster: o.cfg.Cluster, Group: o.cfg.Group}}
	if copied != nil {
		if of, err := copied.Summary(); err == nil { // it was read before
			s = of
		}
	}
	s.Generation = plan.Generation
	return s
}

// would says what is about to happen.
func (o *offline) would(plan restore.Plan, from restore.Source) []string {
	lines := []string{fmt.Sprintf("Cluster %s gets generation %d, and the state %s: %d keys are written, %d deleted.", o.cfg.Cluster, plan.Generation, from.What,
		plan.Writes, plan.Deletes)}
	return append(lines, fmt.Sprintf("%d servers end what they do, and register anew. Requests fail until allocators run again: for %s at least.", plan.Servers,
		(plan.Wait+time.Second).Round(time.Second)), "Applications that keep data in memory alone lose it.")
}
