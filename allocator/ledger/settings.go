package ledger

import "time"

// Limits and delays that nobody needs to configure.
const (
	settleExtra    = 2 * time.Second  // a new leader gathers no evidence for V and this (PROTOCOL R15)
	lateLoop       = time.Second      // a loop this late restarts all evidence (PROTOCOL R15)
	attemptsMost   = 3                // failures of one callback before another way is taken
	answerSlack    = time.Second      // an agent's answer may come this much after the deadline of its command
	avoidFor       = 30 * time.Second // a server whose callback failed is not asked again for the shard
	helloPatience  = 5 * time.Second  // a hello whose key cannot be read is refused after this
	restMost       = 30 * time.Second // longest rest (PROTOCOL R19)
	wishesMost     = 1000             // wishes in the queue; more are refused with NotNow
	stuckFactor    = 3                // step deadlines until a target that does not stop is fenced (PROTOCOL R10)
	turnMost       = 4096             // shards of an app that a tick looks at
	rowBytes       = 12
	writeBytesMost = 300 << 10

	solvePatience = time.Minute            // a plan that takes longer is asked for again
	solveMissing  = 15 * time.Second       // between two attempts to place secondaries that are missing
	solveSoon     = 250 * time.Millisecond // between two solves while a server drains or caps bind
	joinSettle    = 300 * time.Millisecond // shards that never had an owner wait for servers that join together
)
