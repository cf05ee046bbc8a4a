package operator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/internal/wire"
)

// Explain makes one clear line of a failed call: who did not answer and what to do, or what the other side said.
func Explain(err error, who, remedy string) error {
	var dial *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &dial) && dial.Op == "dial":
		return fmt.Errorf("cannot reach %s: %w: %s", who, dial.Err, remedy)
	case errors.Is(err, context.DeadlineExceeded), connect.CodeOf(err) == connect.CodeDeadlineExceeded:
		return fmt.Errorf("%s did not answer in time: look at its log", who)
	case connect.CodeOf(err) == connect.CodeUnimplemented: // so say older versions, and listeners that are for something else
		return fmt.Errorf("%s does not know the request: it is of an older version than this program, which it has to be upgraded to, or that is another listener's address", who)
	case strings.Contains(err.Error(), "looked like an HTTP/1.1 header"):
		return fmt.Errorf("%s is a listener of another program, which does not speak HTTP/2: %s", who, remedy)
	}
	if detail, ok := wire.DetailOf(err); ok && detail.GetExpected() != "" {
		return fmt.Errorf("%s refused: %w", who, errors.New(messageOf(err)))
	}
	return fmt.Errorf("%s: %s", who, messageOf(err))
}

// messageOf is what the other side said, without the code that programs go by.
func messageOf(err error) string {
	var answer *connect.Error
	if errors.As(err, &answer) && answer.Message() != "" {
		return answer.Message()
	}
	return err.Error()
}
