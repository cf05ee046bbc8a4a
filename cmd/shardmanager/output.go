package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	verbs "github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/config"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// callTime bounds a call that answers at once.
const callTime = 10 * time.Second

func brief(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, callTime)
}

// output prints answers: tables for people, JSON and YAML for programs.
type output struct{ format string }

// wide is a table with all that is known, where a command has one.
const wide = "wide"

func (o *output) flag(c *cobra.Command, more ...string) {
	formats := append([]string{"table", "json", "yaml"}, more...)
	expected := strings.Join(formats, " or ")
	c.Flags().StringVarP(&o.format, "output", "o", "table", expected)
	before := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		if !slices.Contains(formats, o.format) {
			return &usageError{fmt.Errorf("--output: expected %s, not %q", expected, o.format)}
		}
		if before != nil {
			return before(c, args)
		}
		return nil
	}
}

// forPrograms reports whether the answer is wanted as it is, and not as a table.
func (o *output) forPrograms() bool { return o.format == "json" || o.format == "yaml" }

// print writes an answer as JSON or YAML, or as the table that fill makes of rows.
func (o *output) print(w io.Writer, answer proto.Message, fill func(io.Writer)) error {
	_, spec := answer.(*pb.AppSpec) // it is read back, and what it does not say has other defaults than protobuf's
	options := protojson.MarshalOptions{Multiline: true, Indent: "  ", EmitUnpopulated: !spec}
	switch o.format {
	case "json":
		return writeJSON(w, answer, options)
	case "yaml":
		return writeYAML(w, answer, options)
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fill(table)
	return table.Flush()
}

// progress writes one step of several: a line each, or a document of YAML.
func (o *output) progress(w io.Writer, answer proto.Message, text string) error {
	options := protojson.MarshalOptions{EmitUnpopulated: true}
	switch o.format {
	case "json":
		return writeJSON(w, answer, options)
	case "yaml":
		if _, err := fmt.Fprintln(w, "---"); err != nil {
			return err
		}
		return writeYAML(w, answer, options)
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

func writeJSON(w io.Writer, m proto.Message, options protojson.MarshalOptions) error {
	text, err := options.Marshal(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", text)
	return err
}

func writeYAML(w io.Writer, m proto.Message, options protojson.MarshalOptions) error {
	text, err := options.Marshal(m)
	if err != nil {
		return err
	}
	if text, err = config.YAML(text); err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// watched gives a command that shows how things stand the flag --watch.
func watched(c *cobra.Command) *cobra.Command {
	return verbs.Watched(c, refuse)
}

// refuse marks what is wrong with the command line.
func refuse(err error) error { return &usageError{err} }

// row writes the cells of one line of a table. The table's writer keeps the error until it is flushed.
func row(w io.Writer, cells ...string) { verbs.Row(w, cells...) }

func dash(s string) string { return verbs.Dash(s) }

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func milliseconds(ms int64) string { return verbs.Milliseconds(ms) }

// enumName writes a value of an enumeration as people say it: MOVE_STEP_ADD is add.
func enumName(full, prefix string) string { return verbs.EnumName(full, prefix) }

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
