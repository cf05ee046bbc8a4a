// Command rules checks the files that operators give to Prometheus and Grafana: it reads rules as Prometheus does, and parses each expression of a dashboard. It
// has a module of its own, so that what it needs does not become ours. Run by make checkrules.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: rules FILE...: rules as .yaml, dashboards as .json")
		os.Exit(2)
	}
	failed := false
	for _, name := range os.Args[1:] {
		n, err := check(name)
		if err == nil && n == 0 {
			err = errors.New("no expression in it")
		}
		if err != nil {
			failed = true
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			continue
		}
		fmt.Printf("%s: %d expressions\n", name, n)
	}
	if failed {
		os.Exit(1)
	}
}

// check reads a file, and returns how many expressions it has.
func check(name string) (int, error) {
	if filepath.Ext(name) != ".json" {
		groups, errs := rulefmt.ParseFile(name, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.Default())
		n := 0
		if groups != nil {
			for _, g := range groups.Groups {
				n += len(g.Rules)
			}
		}
		return n, errors.Join(errs...)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	var dashboard any
	if err := json.Unmarshal(text, &dashboard); err != nil {
		return 0, err
	}
	return dashboardExpressions(dashboard)
}

// variables of Grafana, as something that parses in their place.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$__interval", "1m", "$__range", "1h")

// dashboardExpressions parses every field `expr`, wherever it is.
func dashboardExpressions(v any) (n int, err error) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			m, failed := dashboardExpressions(e)
			n, err = n+m, errors.Join(err, failed)
		}
	case map[string]any:
		for key, e := range v {
			if text, ok := e.(string); ok && key == "expr" {
				n++
				if _, failed := parser.NewParser(parser.Options{}).ParseExpr(variables.Replace(text)); failed != nil {
					err = errors.Join(err, fmt.Errorf("%s: %w", text, failed))
				}
				continue
			}
			m, failed := dashboardExpressions(e)
			n, err = n+m, errors.Join(err, failed)
		}
	}
	return n, err
}
