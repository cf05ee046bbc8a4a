package report

// Joined is a reason with another one after it, if there is one.
func Joined(why, more string) string {
	if more == "" {
		return why
	}
	return why + "; " + more
}

// Asked is the reason for what an operator asked for, with the operator's own.
func Asked(why string) string {
	if why == "" {
		return "an operator asked for it"
	}
	return "an operator asked for it: " + why
}

// Detached is why a server is detached.
func Detached(reset bool) string {
	if reset {
		return "the connection broke"
	}
	return "closed by the agent"
}
