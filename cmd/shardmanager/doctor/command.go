// Package doctor looks at a cluster and says what is well, what is not, and how to mend it.
//
// Called by cmd/shardmanager. What is gathered is judged by a function of values.
package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/operator"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// patience bounds each question.
const patience = 5 * time.Second

// ErrNoAgent says that this host has no agent.
var ErrNoAgent = errors.New("no agent on this host")

// Command is the doctor. agent asks the agent of this host; ErrNoAgent: there is none.
func Command(s shell.Shell, agent func(context.Context) (*pb.StatusResponse, error)) *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check a cluster and this host, and say how to mend what is wrong",
		Long: "Check a cluster and this host, and say how to mend what is wrong: which allocators answer and who leads, the store, clocks, servers,\n" +
			"shards without a primary, holds and quarantine, versions, gossip and its keys, and the agent of this host. Nothing is changed.\n\n" +
			"Exit codes: 0: all is well, or can wait; 1: something keeps a promise from being kept.",
		Example: "  shardmanager doctor --admin a1:7440,a2:7440,a3:7440\n  shardmanager doctor -o json | jq '.[] | select(.level != \"ok\")'",
		Args:    s.Exactly(),
	}
	s.Flags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		facts, err := gather(c.Context(), s.Client(), agent)
		if err != nil {
			return s.Refuse(err)
		}
		list := Diagnose(facts)
		if c.Flags().Lookup("output").Value.String() == "table" {
			err = show(c.OutOrStdout(), list)
		} else { // JSON is YAML, too
			encoder := json.NewEncoder(c.OutOrStdout())
			encoder.SetIndent("", "  ")
			err = encoder.Encode(list)
		}
		if err != nil {
			return err
		}
		failed := 0
		for _, f := range list {
			if f.Level == Fail {
				failed++
			}
		}
		if failed > 0 {
			return fmt.Errorf("doctor: %d of %d findings keep a promise from being kept", failed, len(list))
		}
		return nil
	}
	return c
}

func show(w io.Writer, list []Finding) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range list {
		shell.Row(table, string(f.Level), f.About, f.Says)
		if f.Mend != "" {
			shell.Row(table, "", "", "→ "+f.Mend)
		}
	}
	return table.Flush()
}

// gather asks everybody; its error is an address that cannot be one.
func gather(ctx context.Context, client *operator.Client, agent func(context.Context) (*pb.StatusResponse, error)) (*Facts, error) {
	f := new(Facts)
	for _, address := range client.Addresses {
		a, err := ask(ctx, client, address)
		if err != nil {
			return nil, err
		}
		f.Allocators = append(f.Allocators, a)
	}
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if servers, err := operator.Leader(short, client, shardmanagerv1connect.AdminServiceClient.ListServers, &pb.ListServersRequest{}); err != nil {
		f.LeaderSays = err.Error()
	} else {
		f.Servers = servers.GetServers()
	}
	if members, err := operator.Leader(short, client, shardmanagerv1connect.AdminServiceClient.ListGossipMembers, &pb.ListGossipMembersRequest{}); err == nil { // else it takes no part
		f.Members = members.GetMembers()
	}
	if len(f.Members) > 0 {
		f.Keys, _ = client.GossipKeys(short) // what is wrong with it stands in the answer; without encryption there is none
	}
	status, err := agent(ctx)
	if f.Agent = status; err != nil && !errors.Is(err, ErrNoAgent) {
		f.AgentTrouble = err.Error()
	}
	return f, nil
}

// ask asks one allocator how it is, and what time it is there.
func ask(ctx context.Context, client *operator.Client, address string) (Allocator, error) {
	a, alone := Allocator{Address: address}, *client
	alone.Addresses, alone.Within = []string{address}, patience
	ctx, info := connect.NewClientContext(ctx)
	began := time.Now()
	status, err := operator.Any(ctx, &alone, shardmanagerv1connect.AdminServiceClient.GetStatus, &pb.GetStatusRequest{})
	var bad *operator.AddressError
	if errors.As(err, &bad) {
		return a, err
	}
	if err != nil {
		a.Trouble = err.Error()
		return a, nil
	}
	a.Status = status
	if there, err := http.ParseTime(info.ResponseHeader().Get("Date")); err == nil { // whole seconds, cut off
		a.Off = there.Add(500 * time.Millisecond).Sub(began.Add(time.Since(began) / 2))
	}
	return a, nil
}
