package sse

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/feed"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/suggest"
)

// Parameters of the query.
const (
	paramFrom   = "from"
	paramApp    = "app"
	paramKind   = "kind"
	paramFollow = "follow"
)

var parameters = []string{paramFrom, paramApp, paramKind, paramFollow}

// request is what a reader asks for.
type request struct {
	from   events.Position
	newest bool // from the newest event on, whichever that is
	filter feed.Filter
	follow bool
}

// lastID is the header that a reader resumes by. A browser sends it with the address it began with, so it counts more than what that says.
const lastID = "Last-Event-ID"

// parse reads a request. The error names the parameter.
func parse(r *http.Request) (request, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return request{}, fmt.Errorf("the query cannot be read: %w", err)
	}
	for name, values := range query {
		if !slices.Contains(parameters, name) {
			return request{}, fmt.Errorf("expected the parameters %s, not %q%s", strings.Join(parameters, ", "), name, suggest.Or(name, slices.Values(parameters)))
		}
		if len(values) > 1 && name != paramKind {
			return request{}, fmt.Errorf("%s: expected it once, not %d times", name, len(values))
		}
	}
	out := request{follow: true, filter: feed.Filter{App: shard.App(query.Get(paramApp))}}
	place, from := paramFrom, query.Get(paramFrom)
	if last := r.Header.Get(lastID); last != "" {
		place, from = lastID, last
	}
	switch {
	case from == "":
	case from == "now" && place == paramFrom:
		out.newest = true
	default:
		if out.from, err = feed.ParsePosition(from); err != nil {
			return request{}, fmt.Errorf("%s: %w", place, err)
		}
	}
	for _, list := range query[paramKind] {
		for name := range strings.SplitSeq(list, ",") {
			kind, err := feed.ParseKind(name)
			if err != nil {
				return request{}, fmt.Errorf("%s: %w", paramKind, err)
			}
			out.filter.Kinds = append(out.filter.Kinds, kind)
		}
	}
	switch text := query.Get(paramFollow); text {
	case "", "true":
	case "false":
		out.follow = false
	default:
		return request{}, fmt.Errorf("%s: expected true or false, not %q", paramFollow, text)
	}
	return out, nil
}
