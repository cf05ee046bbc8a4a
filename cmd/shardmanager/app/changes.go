package app

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// updateWould says what to replace the spec of an app would change, a line a field.
func updateWould(c *cobra.Command, a shell.Shell, spec *pb.AppSpec) ([]string, error) {
	current, err := getApp(c, a, spec.GetName())
	if err != nil {
		return nil, err
	}
	lines := changes("", current.ProtoReflect(), spec.ProtoReflect())
	if len(lines) == 0 {
		return []string{"App " + spec.GetName() + ": nothing changes."}, nil
	}
	return append([]string{"App " + spec.GetName() + " changes:"}, lines...), nil
}

// changes are the fields in which two messages of a kind differ, but for the version; path is where they are.
func changes(path string, from, to protoreflect.Message) []string {
	var lines []string
	fields := to.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		name := strings.TrimPrefix(path+"."+string(field.Name()), ".")
		switch {
		case field.Name() == "resource_version" || !from.Has(field) && !to.Has(field) || from.Get(field).Equal(to.Get(field)):
		case field.Message() != nil && !field.IsList() && !field.IsMap() && from.Has(field) && to.Has(field):
			lines = append(lines, changes(name, from.Get(field).Message(), to.Get(field).Message())...)
		default:
			lines = append(lines, fmt.Sprintf("  %s: %s → %s", name, alone(from, field), alone(to, field)))
		}
	}
	return lines
}

// most is how many bytes of a value are shown.
const most = 200

// alone is one field of a message as JSON; a dash if it is not set.
func alone(m protoreflect.Message, field protoreflect.FieldDescriptor) string {
	if !m.Has(field) {
		return "-"
	}
	one := m.New()
	one.Set(field, m.Get(field))
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(one.Interface())
	if err != nil {
		return err.Error()
	}
	_, value, _ := strings.Cut(strings.TrimSuffix(string(text), "}"), ":")
	if value = strings.TrimSpace(value); len(value) > most {
		value = strings.ToValidUTF8(value[:most], "") + "…"
	}
	return value
}
