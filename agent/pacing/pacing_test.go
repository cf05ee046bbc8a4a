package pacing

import (
	"errors"
	"io"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Pauses grow while it is in vain, each kind to its own limit, and begin anew once a stream lasted.
func TestPacing(t *testing.T) {
	for name, test := range map[string]struct {
		turn Turn
		most time.Duration
	}{
		"nobody leads":             {Turn{}, Longest},
		"streams break at once":    {Turn{Lasted: time.Millisecond}, Longest},
		"streams break soon":       {Turn{Lasted: steady - 1}, Longest},
		"the hello is refused":     {Turn{Refused: true}, Refused},
		"every message is refused": {Turn{Lasted: time.Millisecond, Refused: true}, Refused},
	} {
		t.Run(name, func(t *testing.T) {
			p := New()
			const spread = 2 // a pause is at most half as long again as meant, and at least half as long
			first, rounds := p.After(test.turn), 0
			for p.After(test.turn) < test.most/spread {
				if rounds++; rounds > 20 {
					t.Fatalf("never near %v", test.most)
				}
			}
			for range 100 {
				if d := p.After(test.turn); d < test.most/spread || d > test.most*3/2 {
					t.Fatalf("a pause of %v at last, expected about %v", d, test.most)
				}
			}
			if first > Shortest*3/2 {
				t.Errorf("a first pause of %v", first)
			}
			for _, worked := range []Turn{{Lasted: steady}, {Lasted: time.Hour, Refused: true}} {
				if d := p.After(worked); d > Shortest*3/2 {
					t.Errorf("a pause of %v after a stream that lasted", d)
				}
			}
		})
	}
	if d := New().After(Turn{Stuck: true}); d != Refused {
		t.Errorf("a pause of %v where only a person can help", d)
	}
}

func TestRefusal(t *testing.T) {
	for _, err := range []error{nil, io.EOF, errors.New("no wire"), connect.NewError(connect.CodeInvalidArgument, errors.New("made here"))} {
		if IsRefusal(err) {
			t.Errorf("%v is taken for a refusal", err)
		}
	}
	if IsRefusal(wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_NOT_LEADER, "attach", "the leader", "")) {
		t.Error("whoever leads no more is taken for one that refuses")
	}
}
