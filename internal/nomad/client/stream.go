package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// heartbeatTime is how long a stream may be silent: Nomad says something every 30 s.
const heartbeatTime = 90 * time.Second

// Follow reads Nomad's events of nodes, deployments and allocations from after an index on, until the stream or ctx ends, and calls changed with the index of
// each batch. 0: from what Nomad remembers. Only that something changed is told: events may be missed while nobody listens, and so lists are the truth.
func (c *Client) Follow(ctx context.Context, after uint64, changed func(index uint64)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	query := url.Values{"namespace": {c.cfg.Namespace}, "index": {strconv.FormatUint(after, 10)}, "topic": {"Node:*", "Deployment:*", "Allocation:*"}}
	response, err := c.send(ctx, http.MethodGet, "/v1/event/stream", query, nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it has ended
	silence := time.AfterFunc(heartbeatTime, cancel)
	defer silence.Stop()
	for lines := json.NewDecoder(response.Body); ; {
		var batch struct {
			Index  uint64
			Events []struct{}
			Error  *struct{ Message string }
		}
		err := lines.Decode(&batch)
		switch {
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return fmt.Errorf("nomad: events: %w", err)
		case batch.Error != nil:
			return fmt.Errorf("nomad: events: %s", batch.Error.Message)
		}
		silence.Reset(heartbeatTime)
		if len(batch.Events) > 0 && batch.Index > after {
			after = batch.Index
			changed(after)
		}
	}
}
