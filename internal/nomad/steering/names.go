package steering

import (
	"strconv"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// Prefixes of the ids of events that this package asks for.
const (
	drainPrefix      = "nomad-drain-"
	deploymentPrefix = "nomad-deployment-"
)

// Lengths of Nomad's ids.
const (
	idLength    = 36
	shortLength = 8
)

// AllocationOf is the id of a server's allocation, or its first eight digits: the end of its agent's name, after a -. Empty: it names none.
func AllocationOf(id shard.ServerID) string {
	agent, _, _ := strings.Cut(string(id), ".")
	for _, n := range []int{idLength, shortLength} {
		if at := len(agent) - n; at == 0 || at > 0 && agent[at-1] == '-' {
			if end := agent[at:]; isID(end) {
				return end
			}
		}
	}
	return ""
}

// isID reports whether a text is a UUID, or the first part of one.
func isID(text string) bool {
	for i, c := range text {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		digit := c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
		if dash != (c == '-') || !dash && !digit {
			return false
		}
	}
	return true
}

// Ours reports whether an event is one that a controller asked for.
func Ours(id string) bool {
	return strings.HasPrefix(id, drainPrefix) || strings.HasPrefix(id, deploymentPrefix)
}

// DeploymentOf is the id of the deployment that an event was asked for; empty: it is another kind of event.
func DeploymentOf(id string) string {
	rest, ok := strings.CutPrefix(id, deploymentPrefix)
	base, _, numbered := cutNumber(rest)
	if !ok || !numbered {
		return ""
	}
	return base
}

// drainID is what all requests for one drain begin with: a node may be drained many times.
func drainID(node string, started time.Time) string {
	return drainPrefix + node + "-" + strconv.FormatInt(started.UnixMilli(), 10)
}

// cutNumber takes the number of a request off its id.
func cutNumber(id string) (base string, n int, ok bool) {
	at := strings.LastIndexByte(id, '.')
	if at < 0 {
		return id, 0, false
	}
	n, err := strconv.Atoi(id[at+1:])
	return id[:at], n, err == nil
}
