package main

import (
	"context"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func (p *plane) ListWebhooks(context.Context, *pb.ListWebhooksRequest) (*pb.ListWebhooksResponse, error) {
	return &pb.ListWebhooksResponse{Webhooks: []*pb.WebhookStatus{
		{Name: "audit", State: pb.WebhookState_WEBHOOK_STATE_DELIVERING, Delivered: 12, Url: "https://audit.example/in"},
		{Name: "pager", State: pb.WebhookState_WEBHOOK_STATE_RETRYING, Failed: 3, Lag: 40, Dead: 2, Url: "https://pager.example", LastError: "it answered 503"},
	}}, p.refuse()
}

func noWebhook(name string) error {
	if name == "pager" || name == "audit" {
		return nil
	}
	return wire.Error(connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID, "name", "expected a target of the allocator's setting webhooks", "")
}

func (p *plane) ListDeadLetters(_ context.Context, r *pb.ListDeadLettersRequest) (*pb.ListDeadLettersResponse, error) {
	return &pb.ListDeadLettersResponse{Dropped: 7, Letters: []*pb.DeadLetter{
		{Id: "decision_c1.0.17.42", Attempts: 10, Error: "it answered 500", Body: `{"type":"decision"}`},
	}}, noWebhook(r.GetName())
}

func (p *plane) ReplayDeadLetters(_ context.Context, r *pb.ReplayDeadLettersRequest) (*pb.ReplayDeadLettersResponse, error) {
	return &pb.ReplayDeadLettersResponse{Letters: 2}, noWebhook(r.GetName())
}

func (p *plane) TestWebhook(_ context.Context, r *pb.TestWebhookRequest) (*pb.TestWebhookResponse, error) {
	if r.GetName() == "audit" {
		return &pb.TestWebhookResponse{Delivered: true, TookMs: 12}, nil
	}
	return &pb.TestWebhookResponse{Error: "it answered 503", TookMs: 34}, noWebhook(r.GetName())
}

func TestWebhookVerbs(t *testing.T) {
	admin := serve(t, &plane{})
	for _, test := range []struct {
		line string
		code int
		want string
	}{
		{"webhooks list", exitOK, "pager retrying 0 3 40 2 https://pager.example it answered 503"},
		{"webhooks list -o json", exitOK, `"lastError": "it answered 503"`},
		{"webhooks dead pager", exitOK, `decision_c1.0.17.42 10 it answered 500 {"type":"decision"}`},
		{"webhooks dead pager", exitOK, "7 older ones are not kept any more"},
		{"webhooks dead pagr", exitFailure, "expected a target of the allocator's setting webhooks"},
		{"webhooks dead", exitUsage, "expected NAME"},
		{"webhooks replay pager", exitOK, "2 dead letters are sent to pager again"},
		{"webhooks test audit", exitOK, "webhook audit took the test in 12ms"},
		{"webhooks test pager", exitFailure, "webhook pager did not take the test within 34ms: it answered 503"},
		{"webhooks lst", exitUsage, "did you mean list?"},
		{"events --kind severs", exitUsage, `--kind: expected decision or server or leader, not "severs"; did you mean server?`},
	} {
		args := strings.Fields(test.line)
		if test.line != "webhooks lst" {
			args = append(args, "--admin", admin)
		}
		code, out, errs := shell(t, args...)
		if text := strings.Join(strings.Fields(out+errs), " "); code != test.code || !strings.Contains(text, test.want) {
			t.Errorf("%s: exit %d, stdout %q, stderr %q, want exit %d and %q", test.line, code, out, errs, test.code, test.want)
		}
	}
	code, out, _ := shell(t, "__complete", "webhooks", "dead", "--admin", admin, "pa")
	if code != exitOK || !strings.Contains(out, "pager") || strings.Contains(out, "audit") {
		t.Errorf("completion: exit %d, %q", code, out)
	}
}
