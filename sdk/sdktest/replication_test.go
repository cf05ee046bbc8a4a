package sdktest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/sdk"
)

// mirror keeps one value a shard in memory, at every replica. Its primary sends each write to the members and waits for them.
type mirror struct {
	fault string
	mu    sync.Mutex
	kept  map[string]*mirrored
}

type mirrored struct {
	term, sequence uint64 // of the value
	promised       uint64 // highest term heard of: nothing lower is taken
	value          string
	members        map[string]bool // addresses; in sync or not
	changed        chan struct{}   // closed when members change
}

func newMirror(fault string) *mirror { return &mirror{fault: fault, kept: map[string]*mirrored{}} }

// at is the replica of a shard, under the lock that do holds.
func (m *mirror) at(id string, do func(*mirrored) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept[id] == nil {
		m.kept[id] = &mirrored{changed: make(chan struct{})}
	}
	return do(m.kept[id])
}

func (m *mirror) AddShard(_ context.Context, s sdk.Shard) error {
	return m.at(s.ID, func(k *mirrored) error { return nil })
}

func (m *mirror) DropShard(_ context.Context, s sdk.Shard) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.kept, s.ID)
	return nil
}

func (m *mirror) Activate(_ context.Context, s sdk.Shard, _ []byte) error {
	return m.at(s.ID, func(k *mirrored) error {
		if s.Term > k.promised { // and not again, when the answer was lost
			k.promised, k.term, k.sequence = s.Term, s.Term, k.sequence+1
		}
		return nil
	})
}

func (m *mirror) ChangeRole(_ context.Context, s sdk.Shard, _, to sdk.Role) error {
	return m.at(s.ID, func(k *mirrored) error {
		if to == sdk.RolePrimary && m.fault == "forgets as a primary" {
			k.value = ""
		}
		return nil
	})
}

func (m *mirror) UpdateMembership(ctx context.Context, s sdk.Shard, members []sdk.Member) error {
	_ = m.at(s.ID, func(k *mirrored) error {
		k.members = map[string]bool{}
		for _, member := range members {
			k.members[member.DataAddress] = true
		}
		close(k.changed)
		k.changed = make(chan struct{})
		return nil
	})
	if m.fault == "joins without state" {
		return nil
	}
	for _, member := range members {
		if err := m.deliver(ctx, s, member.DataAddress); err != nil {
			if m.fault == "believes in the unreachable" {
				continue
			}
			return err
		}
	}
	return nil
}

// deliver sends the present value to a member until it has it, it is none any more, or the context ends.
func (m *mirror) deliver(ctx context.Context, s sdk.Shard, address string) error {
	for {
		var text, place string
		var member bool
		var changed chan struct{}
		_ = m.at(s.ID, func(k *mirrored) error {
			place = fmt.Sprintf("%d/%d", k.term, k.sequence)
			text, member, changed = k.value, k.members[address], k.changed
			return nil
		})
		if !member && m.fault != "waits for who left" {
			return nil
		}
		err := m.post(ctx, s, address, place, text)
		if err == nil || errors.Is(err, errLower) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-time.After(10 * time.Millisecond):
		}
		if m.fault == "believes in the unreachable" {
			return err
		}
	}
}

var errLower = errors.New("the member has seen a higher term")

func (m *mirror) post(ctx context.Context, s sdk.Shard, address, place, text string) error {
	url := fmt.Sprintf("http://%s/mirror/%d/%s/%s", address, s.Term, place, strings.ReplaceAll(s.ID, " ", "%20"))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(text))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusConflict:
		return errLower
	}
	return errors.New(response.Status)
}

// ServeHTTP is the member's side.
func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	number := func(name string) uint64 {
		n, _ := strconv.ParseUint(r.PathValue(name), 10, 64)
		return n
	}
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = m.at(r.PathValue("shard"), func(k *mirrored) error {
			if number("by") < k.promised && m.fault != "takes lower terms" {
				return errLower
			}
			k.promised = max(k.promised, number("by"))
			if term, sequence := number("term"), number("sequence"); term > k.term || term == k.term && sequence >= k.sequence {
				k.term, k.sequence, k.value = term, sequence, string(text)
			}
			return nil
		})
	}
	if err != nil {
		w.WriteHeader(http.StatusConflict)
	}
}

func (m *mirror) write(ctx context.Context, s sdk.Shard, value string) error {
	var to []string
	err := m.at(s.ID, func(k *mirrored) error {
		if k.promised > s.Term {
			return errLower
		}
		k.sequence, k.value = k.sequence+1, value
		for address := range k.members {
			to = append(to, address)
		}
		return nil
	})
	if err != nil || m.fault == "acknowledges first" {
		return err
	}
	for _, address := range to {
		if err := m.deliver(ctx, s, address); err != nil {
			return err
		}
	}
	return nil
}

func mirrorApp(fault string) App {
	return App{
		New: func(testing.TB, string) sdk.Handler { return newMirror(fault) },
		Mount: func(h sdk.Handler, _ *sdk.Host, mux *http.ServeMux) {
			mux.Handle("POST /mirror/{by}/{term}/{sequence}/{shard}", h.(*mirror))
		},
		Write: func(ctx context.Context, h sdk.Handler, s sdk.Shard, value string) error {
			return h.(*mirror).write(ctx, s, value)
		},
		Read: func(_ context.Context, h sdk.Handler, s sdk.Shard) (value string, err error) {
			err = h.(*mirror).at(s.ID, func(k *mirrored) error { value = k.value; return nil })
			return value, err
		},
	}
}

func TestCheckPassesReplication(t *testing.T) { Check(t, mirrorApp("")) }

func TestCheckFindsFaultsInReplication(t *testing.T) {
	for _, test := range []struct{ fault, scenario, want string }{
		{"forgets as a primary", "secondary takes over", "reading at b.app"},
		{"joins without state", "secondary follows", "reading at the secondary b.app"},
		{"believes in the unreachable", "membership replaced", "nobody can reach"},
		{"waits for who left", "secondary lost", "waits for a secondary that is a member no more"},
		{"takes lower terms", "secondary takes over", "a.app acknowledged a write with term 1"},
		{"acknowledges first", "secondary takes over", "reading at b.app"},
		{"acknowledges first", "secondary lost", "cannot have"},
	} {
		t.Run(test.fault+" "+test.scenario, func(t *testing.T) {
			t.Parallel()
			for _, s := range scenarios {
				if s.name == test.scenario {
					found := strings.Join(s.violations(t, mirrorApp(test.fault)), "\n")
					if !strings.Contains(found, test.want) {
						t.Errorf("violations %q, want one that says %q", found, test.want)
					}
					return
				}
			}
			t.Errorf("no scenario %q", test.scenario)
		})
	}
}
