package api_test

import (
	"testing"

	"go.uber.org/goleak"
)

// No test leaves a goroutine behind. A member of gossip that is shut down may be waiting for the answer to a probe, which memberlist ends
// by its timeout only.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}
