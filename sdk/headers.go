package sdk

// HTTP headers that routers, hosts and applications exchange, the same for plain HTTP and for Connect.
const (
	// HeaderShard names the shard that a request is for. The Router sets it; a Host refuses requests without it.
	HeaderShard = "Shardmanager-Shard"
	// HeaderForward marks a request that the source of a move forwarded: `<term>/<move>`. It is never forwarded again (PROTOCOL R21).
	HeaderForward = "Shardmanager-Forward"
	// HeaderRequestID names a request that the application deduplicates: the Router may repeat it although its outcome is unknown.
	HeaderRequestID = "Shardmanager-Request-Id"
	// HeaderOutcome is set on every refusal by a Host: OutcomeNotExecuted or OutcomeUnknown. Its presence, not the HTTP status, tells a
	// refusal by the Host from an answer of the application.
	HeaderOutcome = "Shardmanager-Outcome"
	// HeaderHint accompanies a refusal where the Host knows who serves the shard instead: host:port.
	HeaderHint = "Shardmanager-Hint"
	// HeaderRead marks a request that only reads and may be answered by any replica: ReadAny. Without it a secondary refuses.
	HeaderRead = "Shardmanager-Read"
	// HeaderRole is RoleSecondary's name on answers that a secondary gave; absent on a primary's.
	HeaderRole = "Shardmanager-Role"
	// HeaderTerm accompanies HeaderRole: the term at which the secondary was added.
	HeaderTerm = "Shardmanager-Term"
	// HeaderStaleness accompanies HeaderRole where the application stated it (SetStaleness): milliseconds, rounded up.
	HeaderStaleness = "Shardmanager-Staleness-Ms"
)

// ReadAny is the value of HeaderRead.
const ReadAny = "any"

// Values of HeaderOutcome.
const (
	OutcomeNotExecuted = "not-executed"
	OutcomeUnknown     = "unknown"
)
