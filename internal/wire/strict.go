package wire

import (
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// StrictJSON makes a service refuse JSON with fields that it does not know: in what people write, such a field is a mistake, and to leave
// it out would do something else than was asked for. Programs send the binary form, where unknown fields are those of a newer version.
func StrictJSON() connect.HandlerOption {
	return connect.WithHandlerOptions(connect.WithCodec(strictJSON("json")), connect.WithCodec(strictJSON("json; charset=utf-8")))
}

// strictJSON is a codec; its value is its name.
type strictJSON string

var errNoMessage = errors.New("expected a protobuf message")

func (s strictJSON) Name() string { return string(s) }

func (strictJSON) Marshal(message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, errNoMessage
	}
	return protojson.Marshal(m)
}

func (strictJSON) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return errNoMessage
	}
	if len(data) == 0 {
		return errors.New("expected a JSON object, {} at least")
	}
	return protojson.Unmarshal(data, m)
}
