// Package simulate is the verb `shardmanager simulate`: it reads changes from flags, asks the leader what placement would do after them, or
// simulates from a file, and prints the answer.
//
// Called by cmd/shardmanager, which it is apart from because it is more than one of its verbs. What is simulated, allocator/whatif knows.
package simulate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/whatif"
	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/operator"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// How long a simulation may take. The last second of it is for the answer.
const (
	leastWithin   = 2 * time.Second
	defaultWithin = 30 * time.Second
	mostWithin    = 2 * time.Minute
)

// Command is the verb.
func Command(s shell.Shell) *cobra.Command {
	v := verb{Shell: s}
	c := &cobra.Command{
		Use:   "simulate APP",
		Short: "Say what placement would do after a drain, a loss, more servers, another spec or policy, or other loads; nothing is executed",
		Long: "Say what placement would do with an app after changes: its moves, round by round until it comes to rest, what is broken, what the goals cost and how\n" +
			"balanced the servers are before and after, and what stays undone and why. Goals and constraints are those that hold after the changes. Nothing is executed. Flags of changes can be combined and repeated: losses come first, then drains, servers\n" +
			"that join, the spec, the policy, and loads. Moves that are under way are taken as done. Rounds are plans: each is made once the moves of the last one are over,\n" +
			"and the caps on concurrent moves hold within a round.\n\n" +
			"The state is that of the leader now, or one that --save wrote: then no allocator is asked.",
		Example: "  shardmanager simulate kv --drain node-1.kv\n" +
			"  shardmanager simulate kv --lose-region eu --add-servers 3@us/1\n" +
			"  shardmanager simulate kv --spec kv.yaml --load-factor requests=1.5\n" +
			"  shardmanager simulate kv --policy kv.policy.yaml\n" +
			"  shardmanager simulate kv --save kv.state.json\n" +
			"  shardmanager simulate kv --snapshot kv.state.json --lose-zone eu/1 -o json",
		Args: s.Exactly("APP"),
		RunE: v.run,
	}
	s.Flags(c)
	f := c.Flags()
	f.StringSliceVar(&v.drain, "drain", nil, "`SERVER` that is drained")
	f.StringSliceVar(&v.loseServers, "lose-server", nil, "`SERVER` that is gone, with what it holds")
	f.StringSliceVar(&v.loseRegions, "lose-region", nil, "`REGION` of which every server is gone")
	f.StringSliceVar(&v.loseZones, "lose-zone", nil, "`REGION/ZONE` of which every server is gone")
	f.StringSliceVar(&v.add, "add-servers", nil, "`N@REGION/ZONE[/RACK]`: N servers join, with the median capacity of those that are there")
	f.StringVar(&v.specFile, "spec", "", "`FILE` with another spec of the app: replicas, spread, regions, tolerance, caps")
	f.StringVar(&v.policyFile, "policy", "", "`FILE` with another policy of the app, in the place of that of its spec")
	f.StringSliceVar(&v.loads, "load", nil, "`SHARD=METRIC:VALUE`: the load of a shard, per replica, in the unit of the metric's capacities")
	f.StringSliceVar(&v.factors, "load-factor", nil, "`METRIC=FACTOR`: the load of every shard is so many times what it is, such as requests=1.5")
	f.StringVar(&v.save, "save", "", "`FILE` to write the state before the changes to")
	f.StringVar(&v.snapshot, "snapshot", "", "`FILE` that --save wrote: simulate from the state in it")
	f.Uint32Var(&v.maxRounds, "max-rounds", 0, "end after so many rounds, 1 to 10000 (default 1000)")
	f.DurationVar(&v.within, "within", defaultWithin, "end after this time, 2s to 2m")
	return c
}

// verb is one call: the shell, and its flags.
type verb struct {
	shell.Shell

	drain, loseServers, loseRegions, loseZones, add, loads, factors []string

	specFile, policyFile, save, snapshot string
	maxRounds                            uint32
	within                               time.Duration
	spec                                 *config.AppSpec // nil: no --spec
}

func (v *verb) run(c *cobra.Command, args []string) error {
	request, err := v.request(args[0])
	if err != nil {
		return v.Refuse(fmt.Errorf("%s: %w", c.CommandPath(), err))
	}
	answer, err := v.answer(c.Context(), request)
	if err != nil {
		return err
	}
	if v.save != "" {
		if err := write(v.save, answer.GetState()); err != nil {
			return fmt.Errorf("--save: %w", err)
		}
		answer.State = nil
		if _, err := fmt.Fprintf(c.ErrOrStderr(), "saved the state of %s to %s\n", args[0], v.save); err != nil {
			return err
		}
	}
	return v.Print(c.OutOrStdout(), answer, func(w io.Writer) { table(w, answer) })
}

// request reads the flags.
func (v *verb) request(app string) (*pb.SimulateRequest, error) {
	changes, err := v.changes(app)
	switch {
	case err != nil:
		return nil, err
	case v.within < leastWithin || v.within > mostWithin:
		return nil, fmt.Errorf("--within: expected %s to %s, not %s", leastWithin, mostWithin, v.within)
	case v.save != "" && v.snapshot != "":
		return nil, errors.New("--save: expected without --snapshot, whose state is in a file already")
	case v.save == "" && proto.Size(changes) == 0:
		return nil, errors.New("nothing to simulate: give a change (--drain, --lose-server, --lose-region, --lose-zone, --add-servers, --spec, --policy, --load, --load-factor), " +
			"or --save FILE to keep the state")
	}
	return &pb.SimulateRequest{App: app, Changes: changes, MaxRounds: v.maxRounds, WithState: v.save != ""}, nil
}

// answer asks the leader, or simulates from a file.
func (v *verb) answer(ctx context.Context, r *pb.SimulateRequest) (*pb.SimulateResponse, error) {
	if v.snapshot == "" {
		client := v.Client()
		client.Within = v.within
		answer, err := operator.Leader(ctx, client, shardmanagerv1connect.AdminServiceClient.Simulate, r)
		if detail, ok := wire.DetailOf(err); ok {
			err = v.flagged(detail.GetSubject(), detail.GetExpected(), err)
		}
		return answer, err
	}
	state := new(pb.PlacementState)
	if err := read(v.snapshot, state); err != nil {
		return nil, v.Refuse(fmt.Errorf("--snapshot: %w", err))
	}
	in, with, err := whatif.StateFromProto(state)
	if err != nil {
		return nil, v.Refuse(fmt.Errorf("--snapshot: %s: %w; take it again with --save", v.snapshot, err))
	}
	if state.GetApp() != r.GetApp() {
		return nil, v.Refuse(fmt.Errorf("--snapshot: %s: expected the state of app %s, not of %s", v.snapshot, r.GetApp(), state.GetApp()))
	}
	ctx, cancel := context.WithTimeout(ctx, v.within)
	defer cancel()
	answer, err := whatif.Answer(ctx, in, with, r)
	if bad := (*wire.FieldError)(nil); errors.As(err, &bad) {
		err = v.flagged(bad.Field, "expected "+bad.Expected, err)
	}
	return answer, err
}

// flags by the field of a request that they set.
var flags = map[string]string{
	"changes.drain": "--drain", "changes.lose_servers": "--lose-server", "changes.lose_regions": "--lose-region", "changes.lose_zones": "--lose-zone",
	"changes.add_servers": "--add-servers", "changes.policy": "--policy", "changes.loads": "--load", "changes.load_factors": "--load-factor", "max_rounds": "--max-rounds",
}

// remedies say where to look, by the field that names what is not there.
var remedies = map[string]string{
	"changes.drain": listServers, "changes.lose_servers": listServers, "changes.lose_regions": listServers, "changes.lose_zones": listServers,
}

const listServers = "`shardmanager servers` shows them all"

// flagged words a refusal of a field as one of the flag that set it.
func (v *verb) flagged(field, expected string, err error) error {
	if flag := flags[field]; flag != "" {
		if remedy := remedies[field]; remedy != "" {
			expected += "; " + remedy
		}
		return v.Refuse(fmt.Errorf("%s: %s", flag, expected))
	}
	if field == "app" {
		return fmt.Errorf("%w; `shardmanager app list` shows the apps", err)
	}
	path, ok := strings.CutPrefix(field, "changes.spec")
	if !ok || v.spec == nil {
		return err
	}
	place, known := v.spec.Locate(strings.TrimPrefix(path, "."))
	if !known {
		place = v.specFile + strings.Replace(path, ".", ": ", 1)
	}
	return v.Refuse(fmt.Errorf("--spec: %s: %s", place, expected))
}

// write keeps a state in a file, for people to look at too.
func write(path string, state *pb.PlacementState) error {
	if state == nil {
		return errors.New("the allocator answered without a state")
	}
	text, err := protojson.MarshalOptions{Multiline: true, Indent: " "}.Marshal(state)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

func read(path string, state *pb.PlacementState) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := protojson.Unmarshal(text, state); err != nil {
		return fmt.Errorf("%s: expected what --save wrote: %w", path, err)
	}
	return nil
}
