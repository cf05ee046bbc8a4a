// Package shell is what verbs that are packages of their own need of the binary around them: how to reach allocators, how to print, and how to
// refuse a command line.
//
// It is called by the packages below cmd/shardmanager, and filled in by that. It knows no verb.
package shell

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/internal/operator"
)

// Shell is the binary around one verb.
type Shell struct {
	Flags  func(c *cobra.Command, formats ...string) // adds --admin and --output, with more formats than table, json and yaml
	Output func(c *cobra.Command, formats ...string) // adds --output alone
	Client func() *operator.Client
	Print  func(w io.Writer, answer proto.Message, table func(io.Writer)) error
	// Progress writes one step of several: a line each.
	Progress func(w io.Writer, answer proto.Message, text string) error
	Refuse   func(err error) error // marks what is wrong with the command line, or with a file that it names
	Exactly  func(names ...string) cobra.PositionalArgs
	Group    func(c *cobra.Command, args []string) error // what a command does that only groups others
}

// Leader asks the leader: it follows hints, and waits a little while nobody leads.
func Leader[Q, A any](ctx context.Context, s Shell, call operator.Method[Q, A], request *Q) (*A, error) {
	return operator.Leader(ctx, s.Client(), call, request)
}

// Row writes the cells of one line of a table. The table's writer keeps the error until it is flushed.
func Row(w io.Writer, cells ...string) { _, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) }

// Dash is what a cell of a table says, a dash if that is nothing.
func Dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// EnumName writes a value of an enumeration as people say it: MOVE_STEP_ADD is add.
func EnumName(full, prefix string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(full, prefix), "_", "-"))
}

// Milliseconds writes a time that the wire has in milliseconds; a negative one is none.
func Milliseconds(ms int64) string {
	if ms < 0 {
		return "-"
	}
	d := time.Duration(ms) * time.Millisecond
	if d >= 10*time.Second {
		d = d.Round(time.Second)
	}
	return d.String()
}

// ClockTime is when something was, in milliseconds since 1970 by the leader's wall clock.
func ClockTime(ms int64) string { return time.UnixMilli(ms).Format("15:04:05.000") }

// Shards is a number of shards, for people.
func Shards(n uint32) string {
	if n == 1 {
		return "1 shard"
	}
	return fmt.Sprintf("%d shards", n)
}
