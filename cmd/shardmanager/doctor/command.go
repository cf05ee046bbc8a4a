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
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/operator"
	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// patience bounds each question.
const patience = 5 * time.Second

// Command is the doctor. Socket is where this host's agent listens, unless --socket says otherwise.
func Command(s shell.Shell, socket string) *cobra.Command {
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
	c.Flags().StringVar(&socket, "socket", socket, "unix:///path of the agent of this host")
	c.RunE = func(c *cobra.Command, _ []string) error {
		facts, err := gather(c.Context(), s.Client(), socket)
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
func gather(ctx context.Context, client *operator.Client, socket string) (*Facts, error) {
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
	f.Agent, f.AgentTrouble = agent(ctx, socket)
	return f, nil
}

// ask asks one allocator how it is, and what time it is there.
func ask(ctx context.Context, client *operator.Client, address string) (Allocator, error) {
	a := Allocator{Address: address}
	endpoint, err := transport.Dial(address)
	if err != nil {
		return a, fmt.Errorf("--admin: %w", err)
	}
	defer endpoint.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ctx, info := connect.NewClientContext(ctx)
	began := time.Now()
	status, err := shardmanagerv1connect.NewAdminServiceClient(endpoint.Client, endpoint.URL).GetStatus(ctx, &pb.GetStatusRequest{})
	if err != nil {
		if client.Failure != nil {
			err = client.Failure(address, err)
		}
		a.Trouble = err.Error()
		return a, nil
	}
	a.Status = status
	if there, err := http.ParseTime(info.ResponseHeader().Get("Date")); err == nil { // whole seconds, cut off
		a.Off = there.Add(500 * time.Millisecond).Sub(began.Add(time.Since(began) / 2))
	}
	return a, nil
}

// agent asks the agent of this host; nil and no trouble if there is none.
func agent(ctx context.Context, socket string) (*pb.StatusResponse, string) {
	if path, ok := strings.CutPrefix(socket, "unix://"); ok {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return nil, ""
		}
	}
	endpoint, err := transport.Dial(socket)
	if err != nil {
		return nil, "--socket: " + err.Error()
	}
	defer endpoint.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	status, err := shardmanagerv1connect.NewAgentServiceClient(endpoint.Client, endpoint.URL).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return nil, operator.Explain(err, "the agent at "+socket, "start it with `shardmanager agent`, or name its socket by --socket").Error()
	}
	return status, ""
}
