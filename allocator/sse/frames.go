package sse

import (
	"fmt"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/shardmanager/shardmanager/allocator/events"
	"github.com/shardmanager/shardmanager/allocator/feed"
)

// framesKept is how many events are kept as they are sent: readers that keep up share them. Others have theirs made anew.
const framesKept = 1024

// frames are events as they are sent, made by the first reader that needs them. The zero value has none.
type frames struct {
	kept [framesKept]atomic.Pointer[frame]
}

type frame struct {
	position events.Position
	text     []byte
}

// of is an event as it is sent.
func (f *frames) of(e events.Event) ([]byte, error) {
	if _, gap := e.Body.(events.Gap); gap { // made for one reader; its position is that of the event before it
		return encode(e)
	}
	slot := &f.kept[e.Position.Sequence%framesKept]
	if have := slot.Load(); have != nil && have.position == e.Position {
		return have.text, nil
	}
	text, err := encode(e)
	if err == nil {
		slot.Store(&frame{e.Position, text})
	}
	return text, err
}

func encode(e events.Event) ([]byte, error) {
	data, err := protojson.Marshal(feed.ToProto(e)) // one line
	if err != nil {
		return nil, fmt.Errorf("event %s: %w", feed.Written(e.Position), err)
	}
	return fmt.Appendf(nil, "id: %s\nevent: %s\ndata: %s\n\n", feed.Written(e.Position), feed.TypeOf(e), data), nil
}
