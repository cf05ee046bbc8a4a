package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// envPrefix begins the variable of every setting.
const envPrefix = "SHARDMANAGER_"

// Help is the line of a setting in the help of its command.
type Help struct {
	Text   string
	Hidden bool // works, and is not shown
}

// Set is the settings of one command: the fields of its configurations, and where each value came from. The configurations hold the
// defaults before Load and the result after it.
type Set struct {
	fields map[string]*field // by key
	flags  *pflag.FlagSet
}

type field struct {
	key    string
	value  reflect.Value
	kind   kind
	source string // where the value comes from; empty: the default
}

// New makes a set of the fields, with yaml tags, of the structs that the targets point to. Keys must differ.
func New(targets ...any) (*Set, error) {
	s := &Set{fields: map[string]*field{}}
	for _, target := range targets {
		pointer := reflect.ValueOf(target)
		if pointer.Kind() != reflect.Pointer || pointer.Elem().Kind() != reflect.Struct {
			return nil, fmt.Errorf("config: expected a pointer to a struct, not %T", target)
		}
		for i := range pointer.Elem().NumField() {
			key := pointer.Elem().Type().Field(i).Tag.Get("yaml")
			if key == "" || key == "-" {
				continue
			}
			value := pointer.Elem().Field(i)
			k, ok := kindOf(value.Type())
			if !ok {
				return nil, fmt.Errorf("config: %s: no setting can be a %s", key, value.Type())
			}
			if s.fields[key] != nil {
				return nil, fmt.Errorf("config: %s: two fields", key)
			}
			s.fields[key] = &field{key: key, value: value, kind: k}
		}
	}
	return s, nil
}

// Keys are the keys of all settings, in order.
func (s *Set) Keys() []string {
	keys := make([]string, 0, len(s.fields))
	for key := range s.fields {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// FlagOf is the flag of a key.
func FlagOf(key string) string { return strings.ReplaceAll(key, "_", "-") }

// EnvOf is the variable of a key.
func EnvOf(key string) string { return envPrefix + strings.ToUpper(key) }

// AddFlags gives every setting with help its flag; the others can be set by file and environment only. Values are checked by Load.
func (s *Set) AddFlags(flags *pflag.FlagSet, help map[string]Help) {
	s.flags = flags
	for _, key := range s.Keys() {
		h, ok := help[key]
		if !ok {
			continue
		}
		f := s.fields[key]
		flags.Var(&rawValue{text: show(f.value), kind: f.kind.name}, FlagOf(key), h.Text)
		if f.kind.name == "bool" {
			flags.Lookup(FlagOf(key)).NoOptDefVal = "true"
		}
		flags.Lookup(FlagOf(key)).Hidden = h.Hidden
	}
}

// rawValue keeps what was written after a flag until Load knows what it means.
type rawValue struct{ text, kind string }

func (r *rawValue) String() string { return r.text }
func (r *rawValue) Type() string   { return r.kind }
func (r *rawValue) Set(text string) error {
	r.text = text
	return nil
}

// Load reads the file (an empty path: none), then the environment (as os.Environ gives it), then the flags, the later over the earlier.
// The error tells everything that is wrong, each with its place.
func (s *Set) Load(path string, environ []string) error {
	p := &problems{}
	if path != "" {
		contents, err := ReadFile(path)
		if err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
		root, err := parse(path, contents)
		if err != nil {
			return err
		}
		s.loadFile(path, root, p)
	}
	s.loadEnvironment(environ, p)
	s.loadFlags(p)
	return p.err()
}

func (s *Set) loadFile(path string, root *yaml.Node, p *problems) {
	if root == nil {
		return
	}
	if root.Kind != yaml.MappingNode {
		p.add(fmt.Sprintf("%s:%d", path, root.Line), "expected settings such as `name: value`, not %s", describe(root))
		return
	}
	s.loadMapping(path, root, "", "", p)
}

// loadMapping takes settings whose keys begin with prefix; shown is what the reader wrote to get here.
func (s *Set) loadMapping(path string, n *yaml.Node, prefix, shown string, p *problems) {
	for _, entry := range pairs(n, path, shown, func(k string) string { return k }, p) {
		key, written := prefix+entry.key.Value, join(shown, entry.key.Value)
		place := fmt.Sprintf("%s:%d", path, entry.key.Line)
		f, known := s.fields[key]
		switch {
		case !known && entry.value.Kind == yaml.MappingNode && len(s.under(key+"_")) > 0:
			s.loadMapping(path, entry.value, key+"_", written, p)
		case !known:
			p.add(place, "%s: unknown field%s", written, suggest(entry.key.Value, s.under(prefix)))
		case f.source != "":
			p.add(place, "%s: duplicate, already set in %s", written, f.source)
		default:
			f.source = place
			if wrong, ok := f.kind.setNode(f.value, entry.value); !ok {
				p.add(fmt.Sprintf("%s:%d", path, wrong.Line), "%s: expected %s, not %s", written, f.kind.expected, describe(wrong))
			}
		}
	}
}

// under lists the keys that begin with a prefix, without it.
func (s *Set) under(prefix string) []string {
	var keys []string
	for _, key := range s.Keys() {
		if rest, ok := strings.CutPrefix(key, prefix); ok && rest != "" {
			keys = append(keys, rest)
		}
	}
	return keys
}

func (s *Set) loadEnvironment(environ []string, p *problems) {
	values := map[string]string{}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			values[name] = value
		}
	}
	for _, key := range s.Keys() {
		if text, ok := values[EnvOf(key)]; ok {
			s.fields[key].setText(text, EnvOf(key), p)
		}
	}
}

func (s *Set) loadFlags(p *problems) {
	if s.flags == nil {
		return
	}
	for _, key := range s.Keys() {
		if flag := s.flags.Lookup(FlagOf(key)); flag != nil && flag.Changed {
			s.fields[key].setText(flag.Value.String(), "--"+flag.Name, p)
		}
	}
}

func (f *field) setText(text, place string, p *problems) {
	f.source = place
	if !f.kind.text(f.value, text) {
		p.add(place, "%s: expected %s, not %q", f.key, f.kind.expected, shortened(text))
	}
}

var keyInError = regexp.MustCompile(`[a-z][a-z0-9_]*`)

// Explain puts the place of the setting, or how to set it, before each error of a Validate method that names a key.
func (s *Set) Explain(err error) error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var explained []error
		for _, e := range joined.Unwrap() {
			explained = append(explained, s.Explain(e))
		}
		return errors.Join(explained...)
	}
	if lines := strings.Split(err.Error(), "\n"); len(lines) > 1 { // several, wrapped as one
		var explained []error
		for _, line := range lines {
			explained = append(explained, s.Explain(errors.New(line)))
		}
		return errors.Join(explained...)
	}
	for part := range strings.SplitSeq(err.Error(), ": ") {
		f, ok := s.fields[keyInError.FindString(part)]
		switch {
		case !ok:
			continue
		case f.source != "":
			return fmt.Errorf("%s: %w", f.source, err)
		default:
			return fmt.Errorf("%w (set it by --%s, %s or %s in the file)", err, FlagOf(f.key), EnvOf(f.key), f.key)
		}
	}
	return err
}
