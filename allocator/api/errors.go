package api

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/allocator/appspec"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/message"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

var errSlowReader = connect.NewError(connect.CodeResourceExhausted, errors.New("attach: too many messages wait to be read: read faster, or attach again"))

// errClosed says why the ledger closed a stream.
type errClosed string

func (e errClosed) Error() string { return "attach: closed: " + string(e) }

// notLeader refuses what only the leader does, and says where it is.
func notLeader(s Status, hint string) error {
	expected := "the leader, which is not known at present: try again soon"
	switch {
	case s.Leader != "":
		expected = "the leader, which is " + s.Leader
	case s.Barred != "":
		expected = "a leader, but nobody may lead: " + s.Barred
	}
	return wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_NOT_LEADER, "allocator "+s.Name, expected, hint)
}

// invalid refuses input that a conversion found wrong.
func invalid(err error) error {
	if unsupported := (*appspec.UnsupportedError)(nil); errors.As(err, &unsupported) {
		return wire.Error(connect.CodeUnimplemented, pb.ErrorReason_ERROR_REASON_UNSUPPORTED, unsupported.Field, unsupported.Expected, "")
	}
	if field := (*wire.FieldError)(nil); errors.As(err, &field) {
		return wire.Error(connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, field.Field, "expected "+field.Expected, "")
	}
	return wire.Error(connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, "", err.Error(), "")
}

// refused is the answer to a hello that the ledger rejects.
func refused(r message.Refuse) error {
	switch {
	case r.Duplicate:
		return wire.Error(connect.CodeAlreadyExists, pb.ErrorReason_ERROR_REASON_DUPLICATE_SERVER, "server.id", r.Reason, "")
	case r.Retry:
		return wire.Error(connect.CodeUnavailable, pb.ErrorReason_ERROR_REASON_STORE, "server.id", r.Reason, "")
	default:
		return wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_STALE, "server.incarnation", r.Reason, "")
	}
}

// codeOf is the one table of how refused wishes are told.
func codeOf(kind ledger.ErrorKind) (connect.Code, pb.ErrorReason) {
	switch kind {
	case ledger.Invalid:
		return connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID
	case ledger.NotFound:
		return connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID
	case ledger.AlreadyExists:
		return connect.CodeAlreadyExists, pb.ErrorReason_ERROR_REASON_CONFLICT
	case ledger.Conflict:
		return connect.CodeAborted, pb.ErrorReason_ERROR_REASON_CONFLICT
	case ledger.Unsupported:
		return connect.CodeUnimplemented, pb.ErrorReason_ERROR_REASON_UNSUPPORTED
	case ledger.NotNow:
		return connect.CodeUnavailable, pb.ErrorReason_ERROR_REASON_STORE
	default:
		return connect.CodeInternal, pb.ErrorReason_ERROR_REASON_UNSPECIFIED
	}
}

// answerTo turns the ledger's refusal into an error.
func answerTo(e *ledger.RequestError) error {
	code, reason := codeOf(e.Kind)
	return wire.Error(code, reason, e.Subject, e.Expected, "")
}

// interrupted is the answer to a wish whose fate is not known: the leadership ended, or the caller's time did.
func interrupted(err error, s Status) error {
	if errors.Is(err, ErrNotLeading) {
		return wire.Error(connect.CodeUnavailable, pb.ErrorReason_ERROR_REASON_UNKNOWN_OUTCOME, "allocator "+s.Name,
			"stepped down while this was under way: look whether it was done, then ask the leader again", s.LeaderAdmin)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return wire.Error(connect.CodeDeadlineExceeded, pb.ErrorReason_ERROR_REASON_UNKNOWN_OUTCOME, "allocator "+s.Name,
			"the store did not take it in time: look whether it was done, then ask again", "")
	}
	return err
}
