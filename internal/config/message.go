package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ErrTooLarge marks contents beyond their limit.
var ErrTooLarge = errors.New("too large")

// Document says where the fields of a message were written.
type Document struct {
	file string
	// lines has the line of each field that was set, by its path in the message; that of the whole is "".
	lines map[string]int
}

// Place is `file:line` of a field by its path, such as `goals[2].spread.label`; "" is the whole document. False if the file does not set it.
func (d *Document) Place(path string) (place string, ok bool) {
	line, ok := d.lines[path]
	if !ok {
		return "", false
	}
	return fmt.Sprintf("%s:%d", d.file, line), true
}

// ParseMessage reads the contents of a YAML or JSON file into a message, strictly. what names it in errors, `the spec of an app`. Fields are
// those of the message; case, - and _ in their names do not matter. Enumerations are written without their prefix. The message may hold
// fields of kinds string, bool, uint32, uint64, int64, enumeration and message, lists of them, and maps from strings to scalars.
//
// More than limit bytes are refused unread, with ErrTooLarge. Each other error names file, line and field. After an error the message is of no use.
func ParseMessage(file string, contents []byte, limit int, m proto.Message, what string) (*Document, error) {
	if len(contents) > limit {
		return nil, fmt.Errorf("%s: %w: expected at most %d bytes, not %d", file, ErrTooLarge, limit, len(contents))
	}
	p := &problems{}
	d, err := parseMessage(file, contents, m.ProtoReflect(), what, func(string) bool { return false }, p)
	if err == nil {
		err = p.err()
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// parseMessage is ParseMessage without the limit. What is wrong inside the document goes to p.
func parseMessage(file string, contents []byte, m protoreflect.Message, what string, unsupported func(path string) bool, p *problems) (*Document, error) {
	root, err := parse(file, contents)
	if err != nil {
		return nil, err
	}
	r := &messageReader{doc: &Document{file: file, lines: map[string]int{}}, unsupported: unsupported,
		fields: map[protoreflect.FullName]map[string]protoreflect.FieldDescriptor{}}
	switch {
	case root == nil:
		p.add(file+":1", "expected %s: the file is empty", what)
	case root.Kind != yaml.MappingNode:
		p.add(r.place(root), "expected %s, not %s", what, describe(root))
	default:
		r.doc.lines[""] = root.Line
		r.message(root, m, "", p)
	}
	return r.doc, nil
}

// messageReader fills messages from nodes.
type messageReader struct {
	doc *Document
	// unsupported says which unknown paths are refused with other words than typing errors.
	unsupported func(path string) bool
	fields      map[protoreflect.FullName]map[string]protoreflect.FieldDescriptor // of the messages met
}

func (r *messageReader) place(n *yaml.Node) string { return fmt.Sprintf("%s:%d", r.doc.file, n.Line) }

// normal is a name without what does not matter in it.
func normal(name string) string {
	return strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(name, "_", ""), "-", ""))
}

// message fills a message from a mapping.
func (r *messageReader) message(n *yaml.Node, m protoreflect.Message, path string, p *problems) {
	byName := r.fieldsOf(m.Descriptor())
	set := map[protoreflect.Name]string{} // alternatives of a oneof that were taken
	for _, entry := range pairs(n, r.doc.file, path, normal, p) {
		written := join(path, entry.key.Value)
		field, ok := byName[normal(entry.key.Value)]
		switch {
		case !ok && r.unsupported(written):
			p.add(r.place(entry.key), "%s: not supported yet", written)
			continue
		case !ok:
			p.add(r.place(entry.key), "%s: unknown field%s", written, suggest(entry.key.Value, namesOf(m.Descriptor())))
			continue
		}
		written = join(path, string(field.Name()))
		if group := field.ContainingOneof(); group != nil {
			if before, twice := set[group.Name()]; twice {
				p.add(r.place(entry.key), "%s: expected one %s: %s is set too", written, group.Name(), before)
				continue
			}
			set[group.Name()] = string(field.Name())
		}
		r.doc.lines[written] = entry.key.Line
		r.field(entry.value, m, field, written, p)
	}
}

// fieldsOf are the fields of a message by what matters of their names.
func (r *messageReader) fieldsOf(m protoreflect.MessageDescriptor) map[string]protoreflect.FieldDescriptor {
	byName := r.fields[m.FullName()]
	if byName == nil {
		byName = map[string]protoreflect.FieldDescriptor{}
		for i := range m.Fields().Len() {
			byName[normal(string(m.Fields().Get(i).Name()))] = m.Fields().Get(i)
		}
		r.fields[m.FullName()] = byName
	}
	return byName
}

func namesOf(m protoreflect.MessageDescriptor) []string {
	var names []string
	for i := range m.Fields().Len() {
		names = append(names, string(m.Fields().Get(i).Name()))
	}
	return names
}

func (r *messageReader) field(n *yaml.Node, m protoreflect.Message, field protoreflect.FieldDescriptor, path string, p *problems) {
	switch {
	case field.IsMap():
		r.mapping(n, m.Mutable(field).Map(), field, path, p)
	case field.IsList():
		r.list(n, m.Mutable(field).List(), field, path, p)
	case field.Kind() == protoreflect.MessageKind:
		if n.Kind != yaml.MappingNode {
			p.add(r.place(n), "%s: expected a mapping, not %s", path, describe(n))
			return
		}
		r.message(n, m.Mutable(field).Message(), path, p)
	default:
		if value, ok := r.scalar(n, field, path, p); ok {
			m.Set(field, value)
		}
	}
}

func (r *messageReader) mapping(n *yaml.Node, m protoreflect.Map, field protoreflect.FieldDescriptor, path string, p *problems) {
	if n.Kind != yaml.MappingNode {
		p.add(r.place(n), "%s: expected a mapping, not %s", path, describe(n))
		return
	}
	for _, entry := range pairs(n, r.doc.file, path, func(k string) string { return k }, p) {
		key := join(path, entry.key.Value)
		r.doc.lines[key] = entry.key.Line
		if value, ok := r.scalar(entry.value, field.MapValue(), key, p); ok {
			m.Set(protoreflect.ValueOfString(entry.key.Value).MapKey(), value)
		}
	}
}

func (r *messageReader) list(n *yaml.Node, l protoreflect.List, field protoreflect.FieldDescriptor, path string, p *problems) {
	if n.Kind != yaml.SequenceNode {
		p.add(r.place(n), "%s: expected a list, not %s", path, describe(n))
		return
	}
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		r.doc.lines[at] = item.Line
		switch {
		case field.Kind() != protoreflect.MessageKind:
			if value, ok := r.scalar(item, field, at, p); ok {
				l.Append(value)
			}
		case item.Kind != yaml.MappingNode:
			p.add(r.place(item), "%s: expected a mapping, not %s", at, describe(item))
		default:
			r.message(item, l.AppendMutable().Message(), at, p)
		}
	}
}

// scalar reads the kinds of scalar that messages may have.
func (r *messageReader) scalar(n *yaml.Node, field protoreflect.FieldDescriptor, path string, p *problems) (protoreflect.Value, bool) {
	refuse := func(expected string) (protoreflect.Value, bool) {
		p.add(r.place(n), "%s: expected %s, not %s", path, expected, describe(n))
		return protoreflect.Value{}, false
	}
	plain := func(tag string) bool { return n.Kind == yaml.ScalarNode && n.Tag == tag }
	switch field.Kind() {
	case protoreflect.StringKind:
		if !plain("!!str") {
			return refuse("a string")
		}
		return protoreflect.ValueOfString(n.Value), true
	case protoreflect.BoolKind:
		if !plain("!!bool") {
			return refuse("true or false")
		}
		return protoreflect.ValueOfBool(strings.EqualFold(n.Value, "true")), true // as YAML writes it: true, True or TRUE
	case protoreflect.EnumKind:
		return r.enum(n, field.Enum(), path, p)
	case protoreflect.Uint32Kind:
		number, err := strconv.ParseUint(n.Value, 10, 32)
		if !plain("!!int") || err != nil {
			return refuse(fmt.Sprintf("a whole number from 0 to %d", uint32(math.MaxUint32)))
		}
		return protoreflect.ValueOfUint32(uint32(number)), true
	case protoreflect.Uint64Kind:
		number, err := strconv.ParseUint(n.Value, 10, 64)
		if !plain("!!int") && !plain("!!str") || err != nil { // JSON of protobuf writes 64-bit numbers as strings
			return refuse("a whole number, 0 or more")
		}
		return protoreflect.ValueOfUint64(number), true
	case protoreflect.Int64Kind:
		number, err := strconv.ParseInt(n.Value, 10, 64)
		if !plain("!!int") && !plain("!!str") || err != nil {
			return refuse("a whole number")
		}
		return protoreflect.ValueOfInt64(number), true
	default:
		p.add(r.place(n), "%s: not supported yet", path)
		return protoreflect.Value{}, false
	}
}

func (r *messageReader) enum(n *yaml.Node, enum protoreflect.EnumDescriptor, path string, p *problems) (protoreflect.Value, bool) {
	values := enum.Values()
	prefix := strings.TrimSuffix(string(values.ByNumber(0).Name()), "UNSPECIFIED")
	var expected []string
	for i := range values.Len() {
		value := values.Get(i)
		if value.Number() == 0 {
			continue
		}
		full := string(value.Name())
		short := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(full, prefix), "_", "-"))
		if got := normal(n.Value); n.Kind == yaml.ScalarNode && n.Tag == "!!str" && (got == normal(short) || got == normal(full)) {
			return protoreflect.ValueOfEnum(value.Number()), true
		}
		expected = append(expected, short)
	}
	p.add(r.place(n), "%s: expected %s, not %s", path, strings.Join(expected, " or "), describe(n))
	return protoreflect.Value{}, false
}
