package hop

import (
	"context"
	"maps"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// envelope is a message of a type known at run time only.
type envelope struct{ message proto.Message }

// envelopeCodec is protobuf for envelopes.
type envelopeCodec struct{}

func (envelopeCodec) Name() string { return "proto" }

func (envelopeCodec) Marshal(v any) ([]byte, error) { return proto.Marshal(v.(*envelope).message) }

func (envelopeCodec) Unmarshal(data []byte, v any) error {
	return proto.Unmarshal(data, v.(*envelope).message)
}

// CallUnary makes a call that came in to the server at address (host:port), with messages that are known by their descriptors only; extra
// headers are added.
func CallUnary(
	ctx context.Context, transport http.RoundTripper, address string, method protoreflect.MethodDescriptor, call connect.AnyRequest,
	message proto.Message, extra http.Header,
) (connect.AnyResponse, error) {
	client := connect.NewClient[envelope, envelope](
		&http.Client{Transport: transport}, "http://"+address+call.Spec().Procedure,
		connect.WithSchema(method), connect.WithCodec(envelopeCodec{}),
		connect.WithResponseInitializer(func(_ connect.Spec, message any) error {
			message.(*envelope).message = dynamicpb.NewMessage(method.Output())
			return nil
		}),
	)
	out := connect.NewRequest(&envelope{message: message})
	for key, values := range call.Header() {
		if !ofProtocol(key) {
			out.Header()[key] = values
		}
	}
	maps.Copy(out.Header(), extra)
	response, err := client.CallUnary(ctx, out)
	if err != nil {
		return nil, err
	}
	answer := connect.NewResponse(response.Msg.message.(*dynamicpb.Message))
	copyHeaders(answer.Header(), response.Header())
	copyHeaders(answer.Trailer(), response.Trailer())
	return answer, nil
}

func copyHeaders(into, from http.Header) {
	for key, values := range from {
		if !ofProtocol(key) {
			into[key] = values
		}
	}
}

// ofProtocol tells headers that Connect and HTTP write themselves for each hop.
func ofProtocol(key string) bool {
	switch key {
	case "Content-Type", "Content-Length", "Content-Encoding", "Accept", "Accept-Encoding", "Accept-Post", "Host", "User-Agent", "Date", "Te",
		"Trailer", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "Expect":
		return true
	}
	return len(key) > 5 && (key[:5] == "Grpc-" || len(key) > 8 && key[:8] == "Connect-")
}
