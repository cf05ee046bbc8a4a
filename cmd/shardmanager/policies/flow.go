package policies

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// flow writes a value of JSON in YAML's short form: {tier: 1, drain: {}}.
func flow(value any) string {
	switch v := value.(type) {
	case map[string]any:
		parts := make([]string, 0, len(v))
		for _, key := range slices.SortedFunc(maps.Keys(v), first) {
			parts = append(parts, key+": "+flow(v[key]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = flow(v[i])
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case string:
		return text(v)
	}
	return fmt.Sprint(value)
}

// first orders fields: names and tiers, then what a statement is.
func first(a, b string) int {
	order := func(key string) int { return slices.Index([]string{"weight", "tier", "name"}, key) }
	return cmp.Or(cmp.Compare(order(b), order(a)), cmp.Compare(a, b))
}

// text writes a string: an enumeration without its prefix, and anything with spaces or signs in quotes.
func text(s string) string {
	for _, prefix := range []string{"FAULT_DOMAIN_", "REPLICAS_", "BALANCE_SCOPE_", "BALANCE_KIND_"} {
		if name, ok := strings.CutPrefix(s, prefix); ok {
			return strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		}
	}
	if strings.ContainsFunc(s, func(r rune) bool { return strings.ContainsRune(" \t\n,:{}[]\"'#&*!|>%@`", r) }) || s == "" {
		return fmt.Sprintf("%q", s)
	}
	return s
}
