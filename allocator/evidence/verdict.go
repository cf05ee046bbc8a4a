package evidence

// Outcome of a probe; the numbers are those of the wire.
type Outcome uint8

// Outcomes.
const (
	Answered Outcome = iota + 1
	Refused
	Silent
)

// Place is where a server is.
type Place struct{ Region, Zone string }

// Testimony is one prober's answer "tried, and found".
type Testimony struct {
	Place       Place // of the prober
	Agent       Outcome
	Application Outcome
}

// Verdict is what probes say of a server.
type Verdict uint8

// Verdicts. The zero Verdict: no round of probes is complete yet.
const (
	NobodyAsks   Verdict = iota + 1 // nobody is there to probe
	Unreachable                     // agent and application answer nobody
	AgentDown                       // only the application answers
	Hung                            // only the agent answers
	Partitioned                     // both answer others
	Inconclusive                    // too few probers answered
)

func (v Verdict) String() string {
	switch v {
	case NobodyAsks:
		return "nobody can probe it"
	case Unreachable:
		return "agent and application answer nobody"
	case AgentDown:
		return "its application answers others, its agent does not"
	case Hung:
		return "its agent answers others, its application does not"
	case Partitioned:
		return "others reach it"
	case Inconclusive:
		return "too few probes were answered"
	}
	return "probes are under way"
}

// Health is what a verdict makes of a server that is lost.
func (v Verdict) Health() Health {
	switch v {
	case Unreachable:
		return Gone
	case Partitioned, AgentDown, Hung:
		return Reached
	case NobodyAsks, Inconclusive:
	}
	return Lost
}

// weigh reads the answers of one round. That something does not answer needs so many agents in so many zones that tried it in vain; that it
// does needs one (PROTOCOL R15).
func weigh(heard []Testimony, agents, zones int) Verdict {
	places := map[Place]struct{}{}
	agent, app := false, false
	for _, t := range heard {
		places[t.Place] = struct{}{}
		agent = agent || t.Agent == Answered
		app = app || t.Application == Answered
	}
	enough := len(heard) >= agents && len(places) >= zones
	switch {
	case agent && (app || !enough):
		return Partitioned
	case agent:
		return Hung
	case app:
		return AgentDown
	case enough:
		return Unreachable
	default:
		return Inconclusive
	}
}
