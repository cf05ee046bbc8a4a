package eligibility

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
)

// reads is what an expression can see of a server. Servers that are equal in it have the same answer.
type reads struct {
	fields []string // strings, and maps that are read as a whole; sorted
	keys   []key    // of maps that are read by key only; sorted
}

// key is one entry of a map.
type key struct{ field, name string }

// readsOf walks a checked expression.
func readsOf(e ast.Expr) reads {
	w := walk{fields: map[string]bool{}, keys: map[key]bool{}}
	w.visit(e)
	r := reads{fields: slices.Sorted(maps.Keys(w.fields))}
	for k := range w.keys {
		if !w.fields[k.field] {
			r.keys = append(r.keys, k)
		}
	}
	slices.SortFunc(r.keys, func(a, b key) int { return strings.Compare(a.field+" "+a.name, b.field+" "+b.name) })
	return r
}

type walk struct {
	fields map[string]bool
	keys   map[key]bool
}

func (w *walk) visit(e ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind:
		w.fields[plain(e.AsIdent())] = true // names of variables inside of the expression too: they do no harm
	case ast.SelectKind:
		if s := e.AsSelect(); isMap(s.Operand()) {
			w.keys[key{plain(s.Operand().AsIdent()), s.FieldName()}] = true
		} else {
			w.visit(s.Operand())
		}
	case ast.CallKind:
		w.call(e.AsCall())
	case ast.ListKind:
		w.all(e.AsList().Elements())
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			w.visit(entry.AsMapEntry().Key())
			w.visit(entry.AsMapEntry().Value())
		}
	case ast.StructKind:
		for _, field := range e.AsStruct().Fields() {
			w.visit(field.AsStructField().Value())
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		w.all([]ast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()})
	case ast.LiteralKind, ast.UnspecifiedExprKind:
	}
}

func (w *walk) all(list []ast.Expr) {
	for _, e := range list {
		w.visit(e)
	}
}

// call finds maps that are read by a key that is written out: m["k"], m[?"k"], m.?k and "k" in m.
func (w *walk) call(c ast.CallExpr) {
	args := c.Args()
	if len(args) == 2 {
		container, name := args[0], args[1]
		switch c.FunctionName() {
		case operators.In:
			container, name = args[1], args[0]
			fallthrough
		case operators.Index, operators.OptIndex, operators.OptSelect:
			if text, ok := literal(name); ok && isMap(container) {
				w.keys[key{plain(container.AsIdent()), text}] = true
				return
			}
		}
	}
	if c.IsMemberFunction() {
		w.visit(c.Target())
	}
	w.all(args)
}

func isMap(e ast.Expr) bool {
	if e.Kind() != ast.IdentKind {
		return false
	}
	switch plain(e.AsIdent()) {
	case fieldLabels, fieldMetadata, fieldCapacity:
		return true
	}
	return false
}

func literal(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().(types.String)
	return string(text), ok
}

// plain is a name without the dot that makes it absolute.
func plain(name string) string { return strings.TrimPrefix(name, ".") }

// appendKey appends what is read of a server, so that equal bytes are equal values.
func (r *reads) appendKey(to []byte, s *Server) []byte {
	for _, field := range r.fields {
		switch field {
		case fieldID:
			to = appendText(to, s.ID)
		case fieldHost:
			to = appendText(to, s.Host)
		case fieldRack:
			to = appendText(to, s.Rack)
		case fieldZone:
			to = appendText(to, s.Zone)
		case fieldRegion:
			to = appendText(to, s.Region)
		case fieldLabels:
			to = appendMap(to, s.Labels, appendText)
		case fieldMetadata:
			to = appendMap(to, s.Metadata, appendText)
		case fieldCapacity:
			to = appendMap(to, s.Capacity, binary.AppendVarint)
		}
	}
	for _, k := range r.keys {
		switch k.field {
		case fieldLabels:
			to = appendEntry(to, s.Labels, k.name, appendText)
		case fieldMetadata:
			to = appendEntry(to, s.Metadata, k.name, appendText)
		case fieldCapacity:
			to = appendEntry(to, s.Capacity, k.name, binary.AppendVarint)
		}
	}
	return to
}

func appendText(to []byte, text string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(text))), text...)
}

func appendMap[V any](to []byte, m map[string]V, appendValue func([]byte, V) []byte) []byte {
	to = binary.AppendUvarint(to, uint64(len(m)))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		to = appendValue(appendText(to, name), m[name])
	}
	return to
}

func appendEntry[V any](to []byte, m map[string]V, name string, appendValue func([]byte, V) []byte) []byte {
	value, ok := m[name]
	if !ok {
		return append(to, 0)
	}
	return appendValue(append(to, 1), value)
}
