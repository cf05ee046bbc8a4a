package daemon

import (
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/agent/roster"
)

// An agent is ready when every application that is beside it may serve.
func TestNotReady(t *testing.T) {
	process := roster.Process{PID: 7}
	tests := map[string]struct {
		v    roster.View
		want string
	}{
		"serves":                          {roster.View{Life: roster.Live, Remaining: time.Second, Attached: true, Application: process}, ""},
		"its lease ran out":               {roster.View{Life: roster.Live, Attached: true, Application: process}, "no lease"},
		"the store vouches for it":        {roster.View{Life: roster.Live, Remaining: time.Second, Application: process}, "not attached to the leader"},
		"after a restart of the agent":    {roster.View{Life: roster.Resuming, Application: process}, "resuming"},
		"on its way":                      {roster.View{Life: roster.Registering, Application: process}, "registering"},
		"refused":                         {roster.View{Life: roster.Waiting, Application: process, Problem: "held by agent b"}, "held by agent b"},
		"no application":                  {roster.View{Life: roster.Waiting}, ""},
		"its application was stopped":     {roster.View{Life: roster.Waiting, Problem: "the application (pid 7) died"}, ""},
		"it does not let go":              {roster.View{Life: roster.Ending, Problem: "fenced by the leader"}, "fenced by the leader"},
		"another application that serves": {roster.View{Life: roster.Live, Remaining: time.Second, Attached: true}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := notReady(test.v); got != test.want {
				t.Errorf("%q, expected %q", got, test.want)
			}
		})
	}
}
