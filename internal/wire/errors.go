package wire

import (
	"errors"
	"strings"

	"connectrpc.com/connect"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Error makes a typed refusal: code and message for people, ErrorDetail for programs. Subject is the field, setting or key that it is
// about, expected what would have been right, hint the address to go to instead; each may be empty.
func Error(code connect.Code, reason pb.ErrorReason, subject, expected, hint string) *connect.Error {
	err := connect.NewError(code, errors.New(message(reason, subject, expected, hint)))
	detail, cause := connect.NewErrorDetail(&pb.ErrorDetail{Reason: reason, Subject: subject, Expected: expected, Hint: hint})
	if cause == nil { // it can fail only for text that is not UTF-8; the message says it all even then
		err.AddDetail(detail)
	}
	return err
}

func message(reason pb.ErrorReason, subject, expected, hint string) string {
	name := strings.ToLower(strings.TrimPrefix(reason.String(), "ERROR_REASON_"))
	parts := []string{strings.ReplaceAll(name, "_", " ")}
	for _, part := range []string{subject, expected} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	text := strings.Join(parts, ": ")
	if hint != "" {
		text += " (try " + hint + ")"
	}
	return text
}

// DetailOf finds the ErrorDetail of an error that came over the wire or from Error; false if it has none.
func DetailOf(err error) (*pb.ErrorDetail, bool) {
	var wireError *connect.Error
	if !errors.As(err, &wireError) {
		return nil, false
	}
	for _, d := range wireError.Details() {
		value, err := d.Value()
		if err != nil {
			continue
		}
		if detail, ok := value.(*pb.ErrorDetail); ok {
			return detail, true
		}
	}
	return nil, false
}
