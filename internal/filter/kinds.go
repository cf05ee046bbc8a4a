package filter

import (
	"math"
	"slices"
	"strconv"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// kinds tells the checker of the fields of messages, by the names that JSON has. Values are maps.
type kinds struct {
	*types.Registry
	messages map[string]protoreflect.MessageDescriptor
}

func newKinds(row protoreflect.MessageDescriptor) *kinds {
	k := &kinds{Registry: types.NewEmptyRegistry(), messages: map[string]protoreflect.MessageDescriptor{}}
	k.add(row)
	return k
}

func (k *kinds) add(m protoreflect.MessageDescriptor) {
	if k.messages[string(m.FullName())] != nil {
		return
	}
	k.messages[string(m.FullName())] = m
	for i := range m.Fields().Len() {
		field := m.Fields().Get(i)
		if field.IsMap() {
			field = field.MapValue()
		}
		if field.Message() != nil {
			k.add(field.Message())
		}
	}
}

// FindStructType implements types.Provider.
func (k *kinds) FindStructType(name string) (*types.Type, bool) {
	if k.messages[name] == nil {
		return k.Registry.FindStructType(name)
	}
	return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
}

// FindStructFieldNames implements types.Provider.
func (k *kinds) FindStructFieldNames(name string) ([]string, bool) {
	m := k.messages[name]
	if m == nil {
		return k.Registry.FindStructFieldNames(name)
	}
	var names []string
	for i := range m.Fields().Len() {
		names = append(names, m.Fields().Get(i).JSONName())
	}
	return names, true
}

// FindStructFieldType implements types.Provider.
func (k *kinds) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	m := k.messages[name]
	if m == nil {
		return k.Registry.FindStructFieldType(name, field)
	}
	found := m.Fields().ByJSONName(field)
	if found == nil {
		return nil, false
	}
	return &types.FieldType{Type: typeOf(found)}, true
}

func typeOf(field protoreflect.FieldDescriptor) *cel.Type {
	switch {
	case field.IsMap():
		return cel.MapType(single(field.MapKey()), single(field.MapValue()))
	case field.IsList():
		return cel.ListType(single(field))
	}
	return single(field)
}

func single(field protoreflect.FieldDescriptor) *cel.Type {
	switch field.Kind() {
	case protoreflect.BoolKind:
		return cel.BoolType
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind, protoreflect.Uint32Kind, protoreflect.Fixed32Kind,
		protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind:
		return cel.IntType
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return cel.DoubleType
	case protoreflect.BytesKind:
		return cel.BytesType
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return cel.ObjectType(string(field.Message().FullName()))
	case protoreflect.StringKind, protoreflect.EnumKind, protoreflect.Fixed64Kind:
	}
	return cel.StringType
}

// valueOf is a message as a map. within are the messages that it is part of: one that is not set, and would hold itself, ends there.
func valueOf(m protoreflect.Message, within []protoreflect.FullName) map[string]any {
	name := m.Descriptor().FullName()
	if !m.IsValid() && slices.Contains(within, name) {
		return map[string]any{}
	}
	within = append(slices.Clip(within), name)
	fields := m.Descriptor().Fields()
	out := make(map[string]any, fields.Len())
	for i := range fields.Len() {
		field := fields.Get(i)
		value := m.Get(field)
		switch {
		case field.IsMap():
			entries := make(map[any]any, value.Map().Len())
			for key, v := range value.Map().Range {
				entries[scalar(field.MapKey(), key.Value(), within)] = scalar(field.MapValue(), v, within)
			}
			out[field.JSONName()] = entries
		case field.IsList():
			list := make([]any, value.List().Len())
			for k := range list {
				list[k] = scalar(field, value.List().Get(k), within)
			}
			out[field.JSONName()] = list
		default:
			out[field.JSONName()] = scalar(field, value, within)
		}
	}
	return out
}

func scalar(field protoreflect.FieldDescriptor, value protoreflect.Value, within []protoreflect.FullName) any {
	switch field.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return valueOf(value.Message(), within)
	case protoreflect.EnumKind:
		if known := field.Enum().Values().ByNumber(value.Enum()); known != nil {
			return string(known.Name())
		}
		return strconv.Itoa(int(value.Enum()))
	case protoreflect.Fixed64Kind:
		return strconv.FormatUint(value.Uint(), 10)
	case protoreflect.Uint64Kind, protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return int64(min(value.Uint(), math.MaxInt64)) //nolint:gosec // bounded
	case protoreflect.BoolKind, protoreflect.StringKind, protoreflect.BytesKind, protoreflect.FloatKind, protoreflect.DoubleKind, protoreflect.Int32Kind,
		protoreflect.Sint32Kind, protoreflect.Sfixed32Kind, protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
	}
	return value.Interface()
}
