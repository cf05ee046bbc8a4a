package events

import (
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/report"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// States remembers the state of every server, to tell what is new. The zero States knows none. It is not safe for concurrent use.
type States struct {
	servers map[shard.ServerID][]report.ServerStatus
}

// News is what decisions say, each followed by what it changed about the server that it names.
func (s *States) News(list []ledger.Decision, of func(shard.ServerID) []report.ServerStatus) []Body {
	var news []Body
	for _, d := range list {
		news = append(news, Decided{d})
		if d.Server != "" {
			news = append(news, s.Changes(d.Server, of(d.Server))...)
		}
	}
	return news
}

// Changes compares a server's incarnations with what was known of them, and remembers them. An incarnation that is not there any more is
// over.
func (s *States) Changes(id shard.ServerID, now []report.ServerStatus) []Body {
	var news []Body
	for _, v := range now {
		old, known := find(s.servers[id], v.Server.Incarnation)
		if !known || old.State != v.State || old.Draining != v.Draining {
			news = append(news, ServerChanged{v})
		}
	}
	for _, old := range s.servers[id] {
		if _, there := find(now, old.Server.Incarnation); !there && old.State != report.Over {
			old.State, old.Reason = report.Over, "gone"
			news = append(news, ServerChanged{old})
		}
	}
	if s.servers == nil {
		s.servers = map[shard.ServerID][]report.ServerStatus{}
	}
	if s.servers[id] = now; len(now) == 0 {
		delete(s.servers, id)
	}
	return news
}

func find(list []report.ServerStatus, i shard.Incarnation) (report.ServerStatus, bool) {
	for _, v := range list {
		if v.Server.Incarnation == i {
			return v, true
		}
	}
	return report.ServerStatus{}, false
}
