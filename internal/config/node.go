package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxFileBytes is the largest file that is read; a larger one is refused.
const MaxFileBytes = 1 << 20

// maxProblems is how many problems of one file are told; more help nobody.
const maxProblems = 20

// problems gathers what is wrong, in order.
type problems struct{ found []error }

func (p *problems) add(place, format string, args ...any) {
	if len(p.found) < maxProblems {
		p.found = append(p.found, fmt.Errorf("%s: %s", place, fmt.Sprintf(format, args...)))
	}
}

func (p *problems) err() error { return errors.Join(p.found...) }

// ReadFile reads what people wrote, up to the limit.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	contents, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(contents) > MaxFileBytes {
		return nil, fmt.Errorf("%s: expected at most %d bytes", path, MaxFileBytes)
	}
	return contents, nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// parse reads one YAML document, JSON included. None at all is nil.
func parse(name string, contents []byte) (root *yaml.Node, err error) {
	defer func() { // the parser is foreign and its input is anybody's
		if cause := recover(); cause != nil {
			root, err = nil, fmt.Errorf("%s: expected YAML or JSON: %v", name, cause)
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(contents))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		line := "1"
		if found := yamlLine.FindStringSubmatch(err.Error()); found != nil && found[1] != "" {
			line = found[1]
		}
		return nil, fmt.Errorf("%s:%s: expected YAML or JSON: %s", name, line, yamlLine.ReplaceAllString(err.Error(), ""))
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s:%d: expected one document, found another", name, max(second.Line, document.Line))
	}
	if len(document.Content) != 1 {
		return nil, nil
	}
	return document.Content[0], nil
}

// pair is one entry of a mapping.
type pair struct{ key, value *yaml.Node }

// pairs splits a mapping. Whatever is no plain key is a problem. same says which keys mean the same, for duplicates.
func pairs(n *yaml.Node, file, path string, same func(string) string, p *problems) []pair {
	var out []pair
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		place := fmt.Sprintf("%s:%d", file, key.Line)
		if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
			p.add(place, "%sexpected a plain key", prefixed(path))
			continue
		}
		if before, ok := lines[same(key.Value)]; ok {
			p.add(place, "%s: duplicate, already set in line %d", join(path, key.Value), before)
			continue
		}
		lines[same(key.Value)] = key.Line
		out = append(out, pair{key, value})
	}
	return out
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func prefixed(path string) string {
	if path == "" {
		return ""
	}
	return path + ": "
}

// describe says what a value is, for "expected …, not …".
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias: aliases are not supported"
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!null":
			return "nothing"
		case "!!str":
			return fmt.Sprintf("%q", shortened(n.Value))
		case "!!int", "!!float":
			return "the number " + shortened(n.Value)
		case "!!bool":
			return "the boolean " + shortened(n.Value)
		}
		return shortened(n.Value)
	case yaml.DocumentNode:
		return "a document"
	}
	return "nothing"
}

// shortened keeps values out of errors that fill the screen.
func shortened(s string) string {
	const most = 60
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// suggest names the candidate that was probably meant, as "; did you mean x?", or lists a few that are possible.
func suggest(got string, candidates []string) string {
	const few = 12
	best, distance := "", len(got)/3+2
	for _, c := range candidates {
		if d := edits(got, c); d < distance {
			best, distance = c, d
		}
	}
	switch {
	case best != "":
		return "; did you mean " + best + "?"
	case len(candidates) > 0 && len(candidates) <= few:
		sorted := slices.Sorted(slices.Values(candidates))
		return "; expected one of " + strings.Join(sorted, ", ")
	}
	return ""
}

// edits is the Levenshtein distance: how many letters must be put, taken or changed to make b of a.
func edits(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
