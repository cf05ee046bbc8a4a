// Package filter picks rows by an expression in CEL, the Common Expression Language (https://cel.dev).
//
// A row is a message. The expression sees its fields by the names that JSON has, `state == "SERVER_STATE_ATTACHED" && server.locality.region == "eu"`:
// enumerations are strings as in JSON, numbers are numbers, and what is not set has its default, messages too, so that no field is missing. Identities
// of 64 bits (fixed64) are strings. Names and types are checked before any row is seen, and errors point into the expression.
//
// Called by cmd/shardmanager. It has no clock and no I/O.
package filter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common"
	"github.com/google/cel-go/ext"
	"google.golang.org/protobuf/proto"
)

const (
	// maxExpressionBytes bounds an expression.
	maxExpressionBytes = 4096
	// maxCost bounds what one row may cost, in CEL's units.
	maxCost = 1_000_000
)

// Filter is a compiled expression. Nil takes every row.
type Filter struct {
	program cel.Program
}

// New compiles an expression over rows like the one given; name says where it was written, for errors of several lines. An empty one is nil.
func New(name, expression string, row proto.Message) (*Filter, error) {
	switch {
	case expression == "":
		return nil, nil //nolint:nilnil // nil takes every row
	case len(expression) > maxExpressionBytes:
		return nil, fmt.Errorf("%s: expected at most %d bytes, not %d", name, maxExpressionBytes, len(expression))
	}
	kinds := newKinds(row.ProtoReflect().Descriptor())
	options := []cel.EnvOption{cel.CustomTypeProvider(kinds), cel.OptionalTypes(), ext.Strings()}
	fields := row.ProtoReflect().Descriptor().Fields()
	var names []string
	for i := range fields.Len() {
		field := fields.Get(i)
		names = append(names, field.JSONName())
		options = append(options, cel.Variable(field.JSONName(), typeOf(field)))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	checked, issues := env.CompileSource(common.NewStringSource(expression, name))
	if issues.Err() != nil {
		slices.Sort(names)
		text := strings.ReplaceAll(issues.Err().Error(), "ERROR: ", "") + "\na row has " + strings.Join(names, ", ")
		return nil, fmt.Errorf("%s", text)
	}
	if checked.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("%s: expected a condition, true or false of each row, not a value of type %s", name, checked.OutputType())
	}
	program, err := env.Program(checked, cel.CostLimit(maxCost))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Filter{program}, nil
}

// Takes reports whether the expression is true of a row.
func (f *Filter) Takes(row proto.Message) (bool, error) {
	if f == nil {
		return true, nil
	}
	value, _, err := f.program.Eval(valueOf(row.ProtoReflect(), nil))
	if err != nil {
		return false, fmt.Errorf("filter: %w", err)
	}
	return value.Value() == true, nil
}

// Rows are those of a list that a filter takes, in their order.
func Rows[M proto.Message](f *Filter, rows []M) ([]M, error) {
	if f == nil {
		return rows, nil
	}
	var taken []M
	for _, row := range rows {
		switch takes, err := f.Takes(row); {
		case err != nil:
			return nil, err
		case takes:
			taken = append(taken, row)
		}
	}
	return taken, nil
}
