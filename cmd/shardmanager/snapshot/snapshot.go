// Package snapshot is the verb `shardmanager snapshot`: it saves copies of what a cluster keeps, looks into them, and puts them back.
//
// Called by cmd/shardmanager.
package snapshot

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/allocator/snapshot"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Command is the verb; each of its own verbs gets a shell.
func Command(around func() shell.Shell) *cobra.Command {
	top := around()
	c := &cobra.Command{
		Use:   "snapshot",
		Short: "Save a copy of what the cluster keeps in its store, look into one, and put one back",
		Long: "Save a copy of what the cluster keeps in its store (apps and policies, who owns which shard at which term, moves, drains, fences, quarantine, planned\n" +
			"events, registrations), look into one, and put one back.\n\n" +
			"A store that only went back in time would grant terms a second time, and two servers could write under one. So what puts a copy back raises the\n" +
			"generation of the cluster: every term from then on is above all that were ever granted. Where the store itself was taken back by its own means\n" +
			"(consul snapshot restore), nobody leads once that is noticed, until raise-generation has done the same.",
		Args: cobra.ArbitraryArgs,
		RunE: top.Group,
	}
	c.AddCommand(saveCommand(around()), inspectCommand(around()), restoreCommand(around()), raiseCommand(around()))
	return c
}

func saveCommand(s shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:   "save FILE",
		Short: "Save a copy in a file, which is replaced whole or stays as it was",
		Long: "Save a copy in a file, which is replaced whole or stays as it was. Every key as of one moment; any allocator can give it, whether somebody leads or not.\n" +
			"What was written is read again before the file takes its name.",
		Example: "  shardmanager snapshot save prod-$(date +%F).snapshot",
		Args:    s.Exactly("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			summary, err := save(c, s, args[0])
			if err != nil {
				return err
			}
			return s.Print(c.OutOrStdout(), summary, func(w io.Writer) { table(w, summary) })
		},
	}
	s.Flags(c)
	return c
}

// save writes the file, and reads it.
func save(c *cobra.Command, s shell.Shell, path string) (summary *pb.SnapshotSummary, err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // for its owner alone
	if err != nil {
		return nil, s.Refuse(fmt.Errorf("snapshot: %w", err))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	err = s.Client().Snapshot(c.Context(), func() (io.Writer, error) {
		if err := temp.Truncate(0); err != nil {
			return nil, err
		}
		_, err := temp.Seek(0, io.SeekStart)
		return temp, err
	})
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return nil, err
	}
	if summary, err = inspect(temp.Name()); err != nil {
		return nil, fmt.Errorf("what came is no snapshot: %w", err)
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return summary, nil
}

func inspectCommand(s shell.Shell) *cobra.Command {
	c := &cobra.Command{
		Use:     "inspect FILE",
		Short:   "Check a copy, and say when and where it was taken and what is in it; no cluster is asked",
		Example: "  shardmanager snapshot inspect prod.snapshot\n  shardmanager snapshot inspect prod.snapshot -o json | jq .epoch",
		Args:    s.Exactly("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			summary, err := inspect(args[0])
			switch {
			case errors.Is(err, os.ErrNotExist):
				return s.Refuse(err)
			case err != nil:
				return err
			}
			return s.Print(c.OutOrStdout(), summary, func(w io.Writer) { table(w, summary) })
		},
	}
	s.Output(c)
	return c
}

// read reads a file whole.
func read(path string) (*snapshot.Snapshot, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	defer func() { _ = file.Close() }() // it was read
	copied, err := snapshot.Read(bufio.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return copied, nil
}

func inspect(path string) (*pb.SnapshotSummary, error) {
	copied, err := read(path)
	if err != nil {
		return nil, err
	}
	summary, err := copied.Summary()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return summary, nil
}

func table(w io.Writer, s *pb.SnapshotSummary) {
	h := s.GetHeader()
	shell.Row(w, "cluster", h.GetCluster())
	shell.Row(w, "taken", time.UnixMilli(h.GetTimeMs()).Format(time.RFC3339)+" by "+h.GetAllocator()+" "+h.GetVersion())
	shell.Row(w, "leader", shell.Dash(s.GetLeader()))
	shell.Row(w, "epoch", wire.EpochFromProto(s.GetEpoch()).String())
	shell.Row(w, "generation", fmt.Sprint(s.GetGeneration()))
	shell.Row(w, "store's index", fmt.Sprint(s.GetIndex()))
	shell.Row(w, "contents", fmt.Sprintf("%d keys, %d bytes", s.GetEntries(), s.GetBytes()))
	shell.Row(w, "servers", fmt.Sprintf("%d, %d drained, %d fenced, %d on probation", s.GetServers(), s.GetDrains(), s.GetFences(), s.GetProbations()))
	shell.Row(w, "quarantine", shell.Shards(s.GetQuarantined()))
	shell.Row(w, "planned events", fmt.Sprint(s.GetMaintenance()))
	if n := s.GetOtherGroups(); n > 0 {
		shell.Row(w, "other groups", fmt.Sprintf("%d keys", n))
	}
	for _, problem := range s.GetUnreadable() {
		shell.Row(w, "unreadable", problem)
	}
	shell.Row(w, "checksum", "good, SHA-256 "+s.GetSha256())
	shell.Row(w, "")
	shell.Row(w, "APP", "VERSION", "SHARDS", "PRIMARIES", "SECONDARIES", "MOVES", "HIGHEST TERM")
	for _, a := range s.GetApps() {
		shell.Row(w, a.GetName(), fmt.Sprint(a.GetResourceVersion()), fmt.Sprint(a.GetShards()), fmt.Sprint(a.GetPrimaries()), fmt.Sprint(a.GetSecondaries()),
			fmt.Sprint(a.GetMoves()), fmt.Sprint(a.GetTerm()))
	}
}
