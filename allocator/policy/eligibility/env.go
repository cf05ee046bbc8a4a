package eligibility

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common"
)

// Limits of one expression, and of an Env.
const (
	// MaxExpressionBytes is the longest expression.
	MaxExpressionBytes = 4096
	// MaxCost is how much one evaluation may cost, in CEL's units: about one for each operation and each element gone through.
	MaxCost = 10_000

	// maxNodes and maxDepth keep what is compiled small.
	maxNodes = 4096
	maxDepth = 64
	// interruptEvery is after how many elements of a list the context is looked at.
	interruptEvery = 64
	// maxCompiled is how many expressions an Env keeps; when it is full it forgets all of them.
	maxCompiled = 4096
	// maxIssues is how many errors of one expression are told.
	maxIssues = 3
)

// ErrExpression marks an expression that cannot be compiled, or whose value is no bool.
var ErrExpression = errors.New("expression")

// Env compiles expressions. It is for one goroutine.
type Env struct {
	env      *cel.Env
	compiled map[string]*program // by expression
}

// program is a compiled expression; predicates with the same expression share it.
type program struct {
	text    string
	code    cel.Program
	reads   reads
	answers map[string]answer // by what was read of a server
}

// NewEnv makes an Env. The error is a defect of this package.
func NewEnv() (*Env, error) {
	text, texts := cel.StringType, cel.MapType(cel.StringType, cel.StringType)
	env, err := cel.NewEnv(
		cel.Variable(fieldID, text), cel.Variable(fieldHost, text), cel.Variable(fieldRack, text), cel.Variable(fieldZone, text), cel.Variable(fieldRegion, text),
		cel.Variable(fieldLabels, texts), cel.Variable(fieldMetadata, texts), cel.Variable(fieldCapacity, cel.MapType(cel.StringType, cel.IntType)),
		cel.OptionalTypes(), cel.EagerlyValidateDeclarations(true),
		cel.ParserExpressionSizeLimit(MaxExpressionBytes), cel.ParserRecursionLimit(maxDepth), cel.ExpressionNodeLimit(maxNodes),
	)
	if err != nil {
		return nil, fmt.Errorf("eligibility: environment: %w", err)
	}
	return &Env{env: env, compiled: map[string]*program{}}, nil
}

// Compile compiles an expression. subject names it in errors, as in `app kv, policy.yaml:12`. The error is ErrExpression and says where in
// the expression what is wrong.
func (e *Env) Compile(subject, expression string) (*Predicate, error) {
	if p, ok := e.compiled[expression]; ok {
		return &Predicate{subject: subject, program: p}, nil
	}
	p, err := e.compile(expression)
	if err != nil {
		return nil, fmt.Errorf("eligibility of %s: %w: %w", subject, ErrExpression, err)
	}
	if len(e.compiled) >= maxCompiled {
		clear(e.compiled)
	}
	e.compiled[expression] = p
	return &Predicate{subject: subject, program: p}, nil
}

func (e *Env) compile(expression string) (p *program, err error) {
	defer func() { // the compiler is foreign and its input is anybody's
		if cause := recover(); cause != nil {
			p, err = nil, fmt.Errorf("cannot be compiled: %v", cause)
		}
	}()
	switch {
	case strings.TrimSpace(expression) == "":
		return nil, errors.New("expected a condition on server, not nothing")
	case len(expression) > MaxExpressionBytes:
		return nil, fmt.Errorf("expected at most %d bytes, not %d", MaxExpressionBytes, len(expression))
	}
	checked, issues := e.env.Compile(expression)
	if issues != nil && issues.Err() != nil {
		return nil, told(issues.Errors())
	}
	if !checked.OutputType().IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("expected a bool, not a value of type %s", checked.OutputType())
	}
	code, err := e.env.Program(checked,
		cel.EvalOptions(cel.OptOptimize, cel.OptTrackCost), cel.CostLimit(MaxCost), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return nil, err
	}
	return &program{text: expression, code: code, reads: readsOf(checked.NativeRep().Expr()), answers: map[string]answer{}}, nil
}

// told makes one line of what the compiler found.
func told(found []*common.Error) error {
	var parts []string
	for i, issue := range found {
		if i == maxIssues {
			parts = append(parts, fmt.Sprintf("and %d more", len(found)-i))
			break
		}
		message := strings.TrimSuffix(issue.Message, " (in container '')")
		if strings.HasPrefix(message, "undeclared reference to 'server'") {
			message = "unknown field of server: expected id, host, rack, zone, region, labels, metadata or capacity"
		}
		parts = append(parts, fmt.Sprintf("line %d, column %d: %s", issue.Location.Line(), issue.Location.Column()+1, strings.ReplaceAll(message, "\n", " ")))
	}
	return errors.New(strings.Join(parts, "; "))
}
