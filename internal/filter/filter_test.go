package filter

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func servers() []*pb.ServerStatus {
	return []*pb.ServerStatus{
		{Server: &pb.Server{Id: "a.kv", App: "kv", Incarnation: 1 << 63, Locality: &pb.Locality{Region: "eu"}, Labels: map[string]string{"tier": "gold"}}, State: pb.ServerState_SERVER_STATE_ATTACHED, Shards: 12, LastRenewalMs: 40},
		{Server: &pb.Server{Id: "b.kv", App: "kv"}, State: pb.ServerState_SERVER_STATE_SUSPECT, Draining: true, LastRenewalMs: -1},
	}
}

func TestRows(t *testing.T) {
	for expression, want := range map[string]string{
		"":                                "a.kv b.kv",
		"true":                            "a.kv b.kv",
		`state == "SERVER_STATE_SUSPECT"`: "b.kv",
		`!draining && shards > 10`:        "a.kv",
		`server.locality.region == "eu"`:  "a.kv",
		`server.locality.region == ""`:    "b.kv", // not set
		`lastRenewalMs < 0`:               "b.kv",
		`server.incarnation == "9223372036854775808"`: "a.kv",
		`server.labels[?"tier"].orValue("") != ""`:    "a.kv",
		`"tier" in server.labels`:                     "a.kv",
		`server.id.startsWith("b")`:                   "b.kv",
		`server.id.split(".")[1] == "kv"`:             "a.kv b.kv",
	} {
		f, err := New("--filter", expression, new(pb.ServerStatus))
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		rows, err := Rows(f, servers())
		var got []string
		for _, r := range rows {
			got = append(got, r.GetServer().GetId())
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: got %q (%v), want %q", expression, got, err, want)
		}
	}
}

func TestErrorsPointIntoTheExpression(t *testing.T) {
	for expression, want := range map[string][]string{
		`stat == "x"`:                    {"--filter:1:1: undeclared reference to 'stat'", "\n | stat == \"x\"\n | ^\n", "a row has agentVersion, draining, "},
		`server.locality.regoin == "eu"`: {"--filter:1:16: undefined field 'regoin'"},
		`shards == "x"`:                  {"--filter:1:8: found no matching overload"},
		`shards >`:                       {"--filter:1:9: Syntax error"},
		`server.id`:                      {"--filter: expected a condition", "string"},
		strings.Repeat("a", 5000):        {"at most 4096 bytes"},
	} {
		_, err := New("--filter", expression, new(pb.ServerStatus))
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%.40s: got %v, want %q", expression, err, w)
			}
		}
	}
	f, err := New("--filter", `server.labels["x"] == "y"`, new(pb.ServerStatus))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Rows(f, servers()); err == nil || !strings.Contains(err.Error(), "no such key: x") {
		t.Errorf("a key that is not there: %v", err)
	}
}

// Every kind of row that commands filter can be: none holds itself for ever.
func TestKindsOfRows(t *testing.T) {
	for _, row := range []proto.Message{&pb.ServerStatus{}, &pb.MoveStatus{}, &pb.Event{}, &pb.AppSpec{Policy: &pb.Policy{}}, &pb.ShardMapRow{}} {
		f, err := New("--filter", "true", row)
		if err != nil {
			t.Fatal(err)
		}
		if takes, err := f.Takes(row); !takes || err != nil {
			t.Errorf("%T: %v, %v", row, takes, err)
		}
	}
}
