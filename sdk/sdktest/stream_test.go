package sdktest

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/shardmanager/shardmanager/sdk"
	"github.com/shardmanager/shardmanager/sdk/statestream"
)

var (
	_ statestream.Source = (*streamed)(nil)
	_ statestream.Target = (*streamed)(nil)
)

// streamed is memory that streams its values; its faults are what Check has to find.
type streamed struct {
	memory
	changed  map[uint64]bool // by target: since its snapshot
	received map[string]*string
}

func (m *streamed) StreamState(_ context.Context, s sdk.Shard, to sdk.Peer, w io.Writer) error {
	m.mu.Lock()
	m.changed[to.Incarnation] = m.fault == "notes too late"
	value := m.values[s.ID]
	m.mu.Unlock()
	_, err := io.WriteString(w, value)
	if m.fault == "hides a broken stream" {
		return nil
	}
	return err
}

func (m *streamed) StateDelta(_ context.Context, s sdk.Shard, to sdk.Peer) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault == "has no delta" || !m.changed[to.Incarnation] {
		return nil, nil
	}
	if m.fault == "a delta once" {
		m.changed[to.Incarnation] = false
	}
	return []byte(m.values[s.ID]), nil
}

func (m *streamed) EndState(_ sdk.Shard, to sdk.Peer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.changed, to.Incarnation)
}

func (m *streamed) ReceiveState(_ context.Context, s sdk.Shard, _ sdk.Peer, r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil && m.fault != "keeps half a stream" {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	value := string(content)
	m.received[s.ID] = &value
	return nil
}

func (m *streamed) Activate(_ context.Context, s sdk.Shard, state []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	staged := m.received[s.ID]
	if m.fault == "takes the snapshot once" {
		delete(m.received, s.ID)
	}
	switch {
	case state == nil:
	case len(state) == 0 && staged != nil:
		m.values[s.ID] = *staged
	default:
		m.values[s.ID] = string(state)
	}
	return nil
}

func (m *streamed) DropShard(ctx context.Context, s sdk.Shard) error {
	m.mu.Lock()
	delete(m.received, s.ID)
	m.mu.Unlock()
	return m.memory.DropShard(ctx, s)
}

func streamedApp(fault string) App {
	return App{
		New: func(testing.TB, string) sdk.Handler {
			return &streamed{memory: memory{values: map[string]string{}, fault: fault}, changed: map[uint64]bool{}, received: map[string]*string{}}
		},
		Write: func(_ context.Context, h sdk.Handler, s sdk.Shard, value string) error {
			m := h.(*streamed)
			m.mu.Lock()
			defer m.mu.Unlock()
			m.values[s.ID] = value
			for to := range m.changed {
				m.changed[to] = true
			}
			return nil
		},
		Read: func(_ context.Context, h sdk.Handler, s sdk.Shard) (string, error) {
			m := h.(*streamed)
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.values[s.ID], nil
		},
	}
}

func TestCheckPassesAStreamingApplication(t *testing.T) { Check(t, streamedApp("")) }

func TestCheckFindsFaultsOfStreams(t *testing.T) {
	for _, test := range []struct{ fault, scenario, want string }{
		{"hides a broken stream", "planned move and back", "want the writer's error"},
		{"has no delta", "delta after a snapshot", `got "before the snapshot"`},
		{"a delta once", "delta after a snapshot", `got "before the snapshot"`},
		{"keeps half a stream", "planned move and back", "for a stream that broke"},
		{"takes the snapshot once", "planned move and back", "reading at b.app"},
	} {
		t.Run(test.fault, func(t *testing.T) {
			for _, s := range scenarios {
				if s.name != test.scenario {
					continue
				}
				found := strings.Join(s.violations(t, streamedApp(test.fault)), "\n")
				if !strings.Contains(found, test.want) {
					t.Errorf("violations %q, want one that says %q", found, test.want)
				}
			}
		})
	}
}

// halfStreamed has one of the two callbacks.
type halfStreamed struct {
	*memory
}

func (*halfStreamed) ReceiveState(context.Context, sdk.Shard, sdk.Peer, io.Reader) error { return nil }

func TestCheckFindsHalfAStream(t *testing.T) {
	app := App{New: func(testing.TB, string) sdk.Handler { return &halfStreamed{&memory{values: map[string]string{}}} }}
	if found := strings.Join(scenarios[0].violations(t, app), "\n"); !strings.Contains(found, "needs both") {
		t.Errorf("violations %q", found)
	}
}
