package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/contexts"
	verbs "github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/operator"
)

// defaultAdmin is where an allocator listens for operators.
const defaultAdmin = "127.0.0.1:7440"

// adminClient reaches allocators for operators.
type adminClient struct {
	addresses string
	choice    contexts.Choice
	context   string // where the addresses come from; empty: not from a context
	output
}

func (a *adminClient) flags(c *cobra.Command, formats ...string) {
	c.Flags().StringVar(&a.addresses, "admin", "",
		"host:port of an allocator's admin listener, or several separated by commas (SHARDMANAGER_ADMIN, default "+defaultAdmin+")")
	a.choice.Flag(c)
	c.PreRunE = func(*cobra.Command, []string) error { return a.resolve() }
	a.output.flag(c, formats...)
}

// resolve finds out which allocators are meant.
func (a *adminClient) resolve() (err error) {
	if a.addresses, a.context, err = a.choice.Value(contexts.Admin(a.addresses)); err != nil {
		return &usageError{err}
	}
	return nil
}

const adminRemedy = "start one with `shardmanager allocator`, or name another by --admin or SHARDMANAGER_ADMIN, or a cluster by --context"

func (a *adminClient) client() *operator.Client {
	c := &operator.Client{Failure: func(address string, err error) error {
		var bad *operator.AddressError
		if errors.As(err, &bad) {
			return &usageError{fmt.Errorf("--admin: %w", err)}
		}
		if a.context != "" {
			address += " of context " + a.context
		}
		return &answered{who: "allocator " + address, err: err}
	}}
	for address := range strings.SplitSeq(firstOf(a.addresses, defaultAdmin), ",") {
		if address = strings.TrimSpace(address); address != "" {
			c.Addresses = append(c.Addresses, address)
		}
	}
	return c
}

// clientOf is the client of a command line that is not finished.
func clientOf(c *cobra.Command) *operator.Client {
	a := new(adminClient)
	if f := c.Flags().Lookup("admin"); f != nil {
		a.addresses = f.Value.String()
	}
	if f := c.Flags().Lookup("context"); f != nil {
		a.choice.Name(f.Value.String())
	}
	if a.resolve() != nil { // there is nobody to tell
		return new(operator.Client)
	}
	return a.client()
}

// around is the binary around a verb that is a package of its own.
func around() verbs.Shell {
	a := new(adminClient)
	return verbs.Shell{
		Flags: a.flags, Output: a.output.flag, Client: a.client, Print: a.print, Progress: a.progress, Refuse: refuse, Exactly: exactly, Group: needsVerb,
	}
}

// anyAllocator asks the allocators in order until one answers.
func anyAllocator[Q, A any](ctx context.Context, a *adminClient, call operator.Method[Q, A], request *Q) (*A, error) {
	return operator.Any(ctx, a.client(), call, request)
}

// theLeader asks the leader: it follows hints, and waits a little while nobody leads.
func theLeader[Q, A any](ctx context.Context, a *adminClient, call operator.Method[Q, A], request *Q) (*A, error) {
	return operator.Leader(ctx, a.client(), call, request)
}

// answered is a failed call and whom it was made to.
type answered struct {
	who string
	err error
}

func (a *answered) Error() string { return operator.Explain(a.err, a.who, adminRemedy).Error() }
func (a *answered) Unwrap() error { return a.err }
