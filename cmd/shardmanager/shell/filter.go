package shell

import (
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/internal/filter"
)

// Filter is the expression by which a command picks rows.
type Filter struct{ expression string }

// Flag adds --filter.
func (f *Filter) Flag(c *cobra.Command) {
	c.Flags().StringVar(&f.expression, "filter", "", "only rows of which this `EXPRESSION` in CEL is true; it sees the fields that -o json shows (docs/cli.md)")
}

// Given reports whether there is one.
func (f *Filter) Given() bool { return f.expression != "" }

// Compile checks the expression over rows like the one given, before a cluster is asked; refuse marks what is wrong with the command line.
func (f *Filter) Compile(row proto.Message, refuse func(error) error) (*filter.Filter, error) {
	compiled, err := filter.New("--filter", f.expression, row)
	if err != nil {
		return nil, refuse(err)
	}
	return compiled, nil
}
