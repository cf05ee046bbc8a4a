package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// kind is a type of setting that people can write.
type kind struct {
	name     string // in the help of a flag
	expected string // in errors
	// text sets from one string: a flag, a variable, a plain scalar.
	text func(v reflect.Value, s string) bool
	// node sets from a list or mapping; nil where there is no such form.
	node func(v reflect.Value, n *yaml.Node) (*yaml.Node, bool)
	// tags are those of the scalars that are accepted in a file.
	tags []string
}

var durationType = reflect.TypeFor[time.Duration]()

// kindOf knows every type that a configuration may have.
func kindOf(t reflect.Type) (kind, bool) {
	switch {
	case t == durationType:
		return kind{name: "duration", expected: "a duration such as 500ms, 6s or 2m", tags: []string{"!!str"}, text: setDuration}, true
	case t == reflect.TypeFor[Tristate]():
		return kind{name: "auto", expected: "auto, true or false", tags: []string{"!!str", "!!bool"}, text: setTristate}, true
	case t.Kind() == reflect.String:
		return kind{name: "string", expected: "a string", tags: []string{"!!str"}, text: func(v reflect.Value, s string) bool {
			v.SetString(s)
			return true
		}}, true
	case t.Kind() == reflect.Bool:
		return kind{name: "bool", expected: "true or false", tags: []string{"!!bool"}, text: setBool}, true
	case t.Kind() == reflect.Int || t.Kind() == reflect.Int64:
		return kind{name: "int", expected: "a whole number", tags: []string{"!!int"}, text: setInt}, true
	case t.Kind() == reflect.Float64:
		return kind{name: "number", expected: "a number such as 0.5", tags: []string{"!!float", "!!int"}, text: setNumber}, true
	case t == reflect.TypeFor[*float64](): // nil: not set
		return kind{name: "number", expected: "a number such as 0.5", tags: []string{"!!float", "!!int"}, text: setOptionalNumber}, true
	case t == reflect.TypeFor[[]string]():
		return kind{name: "list", expected: "a list of strings", tags: []string{"!!str"}, text: setList, node: setSequence}, true
	case t == reflect.TypeFor[map[string]int64]():
		return kind{name: "name=number,…", expected: "names with whole numbers, such as shards=100", tags: []string{"!!str"}, text: setNumbers, node: setMapping}, true
	}
	return kind{}, false
}

// Tristate is a setting that is on, off, or decided by what there is.
type Tristate string

// Values of a Tristate.
const (
	Auto  Tristate = "auto"
	True  Tristate = "true"
	False Tristate = "false"
)

func setTristate(v reflect.Value, s string) bool {
	v.SetString(s)
	return s == string(Auto) || s == string(True) || s == string(False)
}

func setDuration(v reflect.Value, s string) bool {
	d, err := time.ParseDuration(s)
	if err != nil {
		return false
	}
	v.SetInt(int64(d))
	return true
}

func setNumber(v reflect.Value, s string) bool {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return false
	}
	v.SetFloat(f)
	return true
}

func setOptionalNumber(v reflect.Value, s string) bool {
	var f float64
	ok := setNumber(reflect.ValueOf(&f).Elem(), s)
	v.Set(reflect.ValueOf(&f))
	return ok
}

func setBool(v reflect.Value, s string) bool {
	switch s {
	case "true", "True", "TRUE":
		v.SetBool(true)
	case "false", "False", "FALSE":
		v.SetBool(false)
	default:
		return false
	}
	return true
}

func setInt(v reflect.Value, s string) bool {
	n, err := strconv.ParseInt(s, 10, v.Type().Bits())
	if err != nil {
		return false
	}
	v.SetInt(n)
	return true
}

func setList(v reflect.Value, s string) bool {
	list := []string{}
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	v.Set(reflect.ValueOf(list))
	return true
}

func setSequence(v reflect.Value, n *yaml.Node) (*yaml.Node, bool) {
	if n.Kind != yaml.SequenceNode {
		return n, false
	}
	list := make([]string, len(n.Content))
	for i, item := range n.Content {
		if item.Kind != yaml.ScalarNode || item.Tag != "!!str" {
			return item, false
		}
		list[i] = item.Value
	}
	v.Set(reflect.ValueOf(list))
	return nil, true
}

func setNumbers(v reflect.Value, s string) bool {
	numbers := map[string]int64{}
	for part := range strings.SplitSeq(s, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, text, ok := strings.Cut(part, "=")
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		name = strings.TrimSpace(name)
		if _, twice := numbers[name]; !ok || err != nil || name == "" || twice {
			return false
		}
		numbers[name] = n
	}
	v.Set(reflect.ValueOf(numbers))
	return true
}

func setMapping(v reflect.Value, n *yaml.Node) (*yaml.Node, bool) {
	if n.Kind != yaml.MappingNode {
		return n, false
	}
	numbers := map[string]int64{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		number, err := strconv.ParseInt(value.Value, 10, 64)
		if _, twice := numbers[key.Value]; key.Kind != yaml.ScalarNode || twice {
			return key, false
		}
		if value.Kind != yaml.ScalarNode || value.Tag != "!!int" || err != nil {
			return value, false
		}
		numbers[key.Value] = number
	}
	v.Set(reflect.ValueOf(numbers))
	return nil, true
}

// setNode sets a value from a file, or tells which node is wrong.
func (k kind) setNode(v reflect.Value, n *yaml.Node) (wrong *yaml.Node, ok bool) {
	if n.Kind == yaml.ScalarNode {
		return n, slices.Contains(k.tags, n.Tag) && k.text(v, n.Value)
	}
	if k.node == nil {
		return n, false
	}
	return k.node(v, n)
}

// show writes a value as a flag would take it.
func show(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case time.Duration:
		if value == 0 {
			return ""
		}
		return value.String()
	case []string:
		return strings.Join(value, ",")
	case map[string]int64:
		parts := make([]string, 0, len(value))
		for name, n := range value {
			parts = append(parts, fmt.Sprintf("%s=%d", name, n))
		}
		slices.Sort(parts)
		return strings.Join(parts, ",")
	case bool:
		return strconv.FormatBool(value)
	case string:
		return value
	default:
		if v.IsZero() {
			return ""
		}
		return fmt.Sprint(value)
	}
}
