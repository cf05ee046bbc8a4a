package sdk_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/transport"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/sdktest"
)

// greeter is an application that serves a Connect service; any will do.
type greeter struct {
	shardmanagerv1connect.UnimplementedAgentServiceHandler
	name string
}

func (greeter) AddShard(context.Context, sdk.Shard) error  { return nil }
func (greeter) DropShard(context.Context, sdk.Shard) error { return nil }

func (g greeter) Register(ctx context.Context, req *pb.RegisterRequest) (*pb.RegisterResponse, error) {
	s, ok := sdk.ShardFromContext(ctx)
	if !ok {
		return nil, errors.New("no shard in the context")
	}
	if req.GetApp() == "bad" {
		return nil, connect.NewError(connect.CodeAlreadyExists, errors.New(g.name+" has it"))
	}
	if info, ok := connect.CallInfoForHandlerContext(ctx); ok {
		info.ResponseHeader().Set("Greeted-By", g.name)
		info.ResponseTrailer().Set("Greeted-Late", info.RequestHeader().Get("Greet-As"))
	}
	return &pb.RegisterResponse{Server: req.GetApp() + " from " + g.name, Incarnation: s.Term}, nil
}

func (g greeter) Drain(ctx context.Context, _ *pb.DrainRequest, out *connect.ServerStream[pb.DrainResponse]) error {
	for n := range uint32(3) {
		if err := out.Send(&pb.DrainResponse{Remaining: n}); err != nil {
			return err
		}
	}
	return nil
}

// greeterMounts are the two ways to guard a Connect handler. forwardsStreams: a server's stream goes to the new owner too.
var greeterMounts = []struct {
	name            string
	mount           func(h *sdk.Host, g greeter) (string, http.Handler)
	forwardsStreams bool
}{
	{"interceptor", func(h *sdk.Host, g greeter) (string, http.Handler) {
		return shardmanagerv1connect.NewAgentServiceHandler(g, connect.WithInterceptors(h.Interceptor()))
	}, false},
	{"middleware", func(h *sdk.Host, g greeter) (string, http.Handler) {
		path, handler := shardmanagerv1connect.NewAgentServiceHandler(g)
		return path, h.Middleware(handler)
	}, true},
	{"both", func(h *sdk.Host, g greeter) (string, http.Handler) {
		path, handler := shardmanagerv1connect.NewAgentServiceHandler(g, connect.WithInterceptors(h.Interceptor()))
		return path, h.Middleware(handler)
	}, true},
}

var protocols = []struct {
	name string
	opts []connect.ClientOption
}{
	{"connect", nil},
	{"connect with json", []connect.ClientOption{connect.WithProtoJSON()}},
	{"grpc", []connect.ClientOption{connect.WithGRPC()}},
	{"grpc-web", []connect.ClientOption{connect.WithGRPCWeb()}},
}

func greet(ctx context.Context, s *sdktest.Server, shardID, text string, opts ...connect.ClientOption) (
	answer *pb.RegisterResponse, info connect.CallInfo, err error,
) {
	endpoint, err := transport.Dial(s.Address)
	if err != nil {
		return nil, nil, err
	}
	defer endpoint.Close()
	client := shardmanagerv1connect.NewAgentServiceClient(endpoint.Client, endpoint.URL, opts...)
	ctx, info = connect.NewClientContext(ctx)
	if shardID != "" {
		info.RequestHeader().Set(sdk.HeaderShard, shardID)
	}
	info.RequestHeader().Set("Greet-As", "guest")
	answer, err = client.Register(ctx, &pb.RegisterRequest{App: text, Labels: map[string]string{"k": "v"}})
	return answer, info, err
}

func drain(ctx context.Context, s *sdktest.Server) (received int, err error) {
	client := shardmanagerv1connect.NewAgentServiceClient(http.DefaultClient, "http://"+s.Address)
	ctx, info := connect.NewClientContext(ctx)
	info.RequestHeader().Set(sdk.HeaderShard, testShard)
	stream, err := client.Drain(ctx, &pb.DrainRequest{})
	if err != nil {
		return 0, err
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		received++
	}
	return received, stream.Err()
}

func TestConnectHandlers(t *testing.T) {
	for _, guard := range greeterMounts {
		t.Run(guard.name, func(t *testing.T) {
			ctx := testContext(t)
			cluster := sdktest.NewCluster(t, "kv")
			start := func(name string) *sdktest.Server {
				g := greeter{name: name}
				return cluster.Start(name, g, func(h *sdk.Host, mux *http.ServeMux) { mux.Handle(guard.mount(h, g)) })
			}
			a, b := start("a"), start("b")
			must(t, cluster.Grant(ctx, testShard, a))
			refusesStrangers(t, ctx, a)
			greetsAs(t, ctx, a, "hi from a", 1)
			if n, err := drain(ctx, a); n != 3 || err != nil {
				t.Errorf("stream: %d messages, %v", n, err)
			}

			must(t, b.PrepareAddShard(ctx, testShard, move, a))
			_, err := a.PrepareDropShard(ctx, testShard, move, b, 0)
			must(t, err)
			greetsAs(t, ctx, a, "hi from b", 2) // forwarded
			_, _, err = greet(ctx, a, testShard, "bad")
			if connect.CodeOf(err) != connect.CodeAlreadyExists || err.Error() != "already_exists: b has it" {
				t.Errorf("the application's error, forwarded: %v", err)
			}
			if _, said := sdk.OutcomeOf(err); said {
				t.Errorf("the application's error has an outcome: %v", err)
			}
			if n, err := drain(ctx, a); guard.forwardsStreams && (n != 3 || err != nil) || !guard.forwardsStreams && (n != 0 || !notExecuted(err)) {
				t.Errorf("stream during the hand-over: %d messages, %v", n, err)
			}
			must(t, b.AddShard(ctx, testShard, move))
			must(t, a.DropShard(ctx, testShard, move))
			_, _, err = greet(ctx, a, testShard, "hi")
			if hint, _ := sdk.HintOf(err); !notExecuted(err) || hint != b.Address {
				t.Errorf("after DropShard: %v, hint %q, want not executed and %s", err, hint, b.Address)
			}
		})
	}
}

func refusesStrangers(t *testing.T, ctx context.Context, s *sdktest.Server) {
	t.Helper()
	if _, _, err := greet(ctx, s, "", "hi"); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("without a shard: %v, want invalid_argument", err)
	}
	for _, protocol := range protocols {
		if _, _, err := greet(ctx, s, "99", "hi", protocol.opts...); connect.CodeOf(err) != connect.CodeUnavailable || !notExecuted(err) {
			t.Errorf("%s: another shard: %v, want unavailable, not executed", protocol.name, err)
		}
	}
}

// greetsAs checks the answer, header and trailer in every protocol.
func greetsAs(t *testing.T, ctx context.Context, s *sdktest.Server, want string, term uint64) {
	t.Helper()
	for _, protocol := range protocols {
		answer, info, err := greet(ctx, s, testShard, "hi", protocol.opts...)
		if err != nil || answer.GetServer() != want || answer.GetIncarnation() != term {
			t.Errorf("%s: %v, %v, want %q at term %d", protocol.name, answer, err, want, term)
			continue
		}
		if got := info.ResponseHeader().Get("Greeted-By"); got != want[len(want)-1:] {
			t.Errorf("%s: header %q, want the server's name", protocol.name, got)
		}
		if got := info.ResponseTrailer().Get("Greeted-Late"); got != "guest" {
			t.Errorf("%s: trailer %q, want the request's header", protocol.name, got)
		}
	}
}

func notExecuted(err error) bool {
	outcome, ok := sdk.OutcomeOf(err)
	return ok && outcome == sdk.NotExecuted
}
