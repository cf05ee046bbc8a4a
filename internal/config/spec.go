package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// AppSpec is the spec of an app as a file gave it.
type AppSpec struct {
	Spec *pb.AppSpec
	file string
	// lines has the line of each field that was set, by its path in the message.
	lines map[string]int
}

// ReadAppSpec reads a spec from a YAML or JSON file. Fields are those of the AppSpec message; case, - and _ in their names do not matter.
// Enumerations are written without their prefix: `replication: primary-only`.
func ReadAppSpec(path string) (*AppSpec, error) {
	contents, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("app spec: %w", err)
	}
	return ParseAppSpec(path, contents)
}

// ParseAppSpec reads a spec from the contents of a file.
func ParseAppSpec(path string, contents []byte) (*AppSpec, error) {
	root, err := parse(path, contents)
	if err != nil {
		return nil, err
	}
	p := &problems{}
	a := &AppSpec{Spec: &pb.AppSpec{}, file: path, lines: map[string]int{}}
	switch {
	case root == nil:
		p.add(path+":1", "expected the spec of an app: the file is empty")
	case root.Kind != yaml.MappingNode:
		p.add(a.place(root), "expected the spec of an app, not %s", describe(root))
	default:
		a.lines[""] = root.Line
		a.message(root, a.Spec.ProtoReflect(), "", p)
	}
	if len(p.found) == 0 {
		a.check(p)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return a, nil
}

// Locate turns the dotted field that a server refused into file, line and field; false if the file does not set it.
func (a *AppSpec) Locate(subject string) (place string, ok bool) {
	path := strings.TrimPrefix(strings.TrimPrefix(subject, "spec"), ".")
	line, ok := a.lines[path]
	if !ok {
		return "", false
	}
	return fmt.Sprintf("%s:%d: %s", a.file, line, path), true
}

func (a *AppSpec) place(n *yaml.Node) string { return fmt.Sprintf("%s:%d", a.file, n.Line) }

// unsupported says which paths DESIGN knows and this version does not have: refused with other words than typing errors.
func unsupported(path string) bool {
	switch normal(path) {
	case "keyspace.range", "keyspace.named", "policy", "maintenance", "placement.regions":
		return true
	}
	return false
}

// normal is a name without what does not matter in it.
func normal(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(name))
}

// message fills a message from a mapping.
func (a *AppSpec) message(n *yaml.Node, m protoreflect.Message, path string, p *problems) {
	fields := m.Descriptor().Fields()
	byName := map[string]protoreflect.FieldDescriptor{}
	var names []string
	for i := range fields.Len() {
		byName[normal(string(fields.Get(i).Name()))] = fields.Get(i)
		names = append(names, string(fields.Get(i).Name()))
	}
	set := map[protoreflect.Name]string{} // alternatives of a oneof that were taken
	for _, entry := range pairs(n, a.file, path, normal, p) {
		written := join(path, entry.key.Value)
		field, ok := byName[normal(entry.key.Value)]
		switch {
		case !ok && unsupported(written):
			p.add(a.place(entry.key), "%s: not supported yet", written)
			continue
		case !ok:
			p.add(a.place(entry.key), "%s: unknown field%s", written, suggest(entry.key.Value, names))
			continue
		}
		written = join(path, string(field.Name()))
		if group := field.ContainingOneof(); group != nil {
			if before, twice := set[group.Name()]; twice {
				p.add(a.place(entry.key), "%s: expected one %s: %s is set too", written, group.Name(), before)
				continue
			}
			set[group.Name()] = string(field.Name())
		}
		a.lines[written] = entry.key.Line
		a.field(entry.value, m, field, written, p)
	}
}

func (a *AppSpec) field(n *yaml.Node, m protoreflect.Message, field protoreflect.FieldDescriptor, path string, p *problems) {
	switch {
	case field.IsMap():
		a.mapping(n, m.Mutable(field).Map(), field, path, p)
	case field.IsList():
		a.list(n, m.Mutable(field).List(), field, path, p)
	case field.Kind() == protoreflect.MessageKind:
		if n.Kind != yaml.MappingNode {
			p.add(a.place(n), "%s: expected a mapping, not %s", path, describe(n))
			return
		}
		a.message(n, m.Mutable(field).Message(), path, p)
	default:
		if value, ok := a.scalar(n, field, path, p); ok {
			m.Set(field, value)
		}
	}
}

func (a *AppSpec) mapping(n *yaml.Node, m protoreflect.Map, field protoreflect.FieldDescriptor, path string, p *problems) {
	if n.Kind != yaml.MappingNode {
		p.add(a.place(n), "%s: expected a mapping, not %s", path, describe(n))
		return
	}
	for _, entry := range pairs(n, a.file, path, func(k string) string { return k }, p) {
		key := join(path, entry.key.Value)
		a.lines[key] = entry.key.Line
		if value, ok := a.scalar(entry.value, field.MapValue(), key, p); ok {
			m.Set(protoreflect.ValueOfString(entry.key.Value).MapKey(), value)
		}
	}
}

func (a *AppSpec) list(n *yaml.Node, l protoreflect.List, field protoreflect.FieldDescriptor, path string, p *problems) {
	if n.Kind != yaml.SequenceNode {
		p.add(a.place(n), "%s: expected a list, not %s", path, describe(n))
		return
	}
	for i, item := range n.Content {
		if value, ok := a.scalar(item, field, fmt.Sprintf("%s[%d]", path, i), p); ok {
			l.Append(value)
		}
	}
}

// scalar reads the kinds of scalar that AppSpec has.
func (a *AppSpec) scalar(n *yaml.Node, field protoreflect.FieldDescriptor, path string, p *problems) (protoreflect.Value, bool) {
	refuse := func(expected string) (protoreflect.Value, bool) {
		p.add(a.place(n), "%s: expected %s, not %s", path, expected, describe(n))
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
		return a.enum(n, field.Enum(), path, p)
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
		p.add(a.place(n), "%s: not supported yet", path)
		return protoreflect.Value{}, false
	}
}

func (a *AppSpec) enum(n *yaml.Node, enum protoreflect.EnumDescriptor, path string, p *problems) (protoreflect.Value, bool) {
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
	p.add(a.place(n), "%s: expected %s, not %s", path, strings.Join(expected, " or "), describe(n))
	return protoreflect.Value{}, false
}

var appName = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)

// check refuses what the message's own comments rule out, so that the file's line is told before anything is sent.
func (a *AppSpec) check(p *problems) {
	at := func(path string) string {
		line, ok := a.lines[path]
		if !ok {
			line = a.lines[""]
		}
		return fmt.Sprintf("%s:%d", a.file, line)
	}
	spec := a.Spec
	if !appName.MatchString(spec.GetName()) {
		p.add(at("name"), "name: expected 1 to 63 of a-z, 0-9 and -, starting with a letter and not ending with -, not %q", shortened(spec.GetName()))
	}
	hash := spec.GetKeySpace().GetHash()
	switch {
	case spec.GetKeySpace().GetNamed() != nil:
		if n := len(spec.GetKeySpace().GetNamed().GetIds()); n > 0 {
			p.add(at("key_space.named.ids"), "key_space.named.ids: expected none, not %d: create shards once the app is there", n)
		}
	case hash == nil:
		p.add(at("key_space"), "key_space: expected `hash: {shards: N}` or `named: {}`")
	case hash.GetShards() == 0 || hash.GetShards() > shard.MaxShards:
		p.add(at("key_space.hash.shards"), "key_space.hash.shards: expected 1 to %d, not %d", shard.MaxShards, hash.GetShards())
	}
	if spec.GetReplication() == pb.Replication_REPLICATION_UNSPECIFIED {
		spec.Replication = pb.Replication_REPLICATION_PRIMARY_ONLY
	}
	exclusive := spec.Exclusive == nil || *spec.Exclusive
	if spec.GetOnCoordinationLoss() == pb.CoordinationLoss_COORDINATION_LOSS_HOLD && exclusive && !spec.GetAcceptOverlap() {
		p.add(at("on_coordination_loss"), "on_coordination_loss: expected fence, because the app is exclusive: if two servers may serve a shard at once, "+
			"set accept_overlap: true; of a cache, exclusive: false")
	}
	for metric, load := range spec.GetPlacement().GetDefaultLoad() {
		if path := "placement.default_load." + metric; load < 0 {
			p.add(at(path), "%s: expected 0 or more, not %d", path, load)
		}
	}
	if proto.Size(spec) > MaxFileBytes {
		p.add(at(""), "expected at most %d bytes", MaxFileBytes)
	}
}
