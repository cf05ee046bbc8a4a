package kvreplica

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	kvv1 "github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1"
)

// mark is what a primary hands to the next owner in a planned move. Its data is nil if secondaries have everything.
type mark struct {
	at   position
	data table
}

func encodeMark(m mark) ([]byte, error) {
	return proto.Marshal(&kvv1.ReplicaMark{Term: m.at.term, Sequence: m.at.sequence, Whole: m.data != nil, Keys: keysToProto(m.data)})
}

// decodeMark is the zero mark without a state.
func decodeMark(state []byte) (mark, error) {
	if len(state) == 0 {
		return mark{}, nil
	}
	p := &kvv1.ReplicaMark{}
	if err := proto.Unmarshal(state, p); err != nil {
		return mark{}, fmt.Errorf("state of the previous owner: %w", err)
	}
	m := mark{at: position{p.GetTerm(), p.GetSequence()}}
	if p.GetWhole() {
		m.data = table{}
		m.data.take(p.GetKeys())
	}
	return m, nil
}

func keysToProto(t table) []*kvv1.KeyState {
	keys := make([]*kvv1.KeyState, 0, len(t))
	for key, r := range t {
		keys = append(keys, keyToProto(key, r))
	}
	return keys
}

func keyToProto(key string, r *record) *kvv1.KeyState {
	p := &kvv1.KeyState{Key: key, Value: r.value, Applied: make([]*kvv1.AppliedRequest, len(r.applied))}
	for i, a := range r.applied {
		p.Applied[i] = &kvv1.AppliedRequest{RequestId: &kvv1.RequestId{Client: a.Client, Number: a.Number}, Value: a.value}
	}
	return p
}

// take adds keys to a table.
func (t table) take(keys []*kvv1.KeyState) {
	for _, p := range keys {
		r := &record{value: p.GetValue(), applied: make([]applied, len(p.GetApplied()))}
		for i, a := range p.GetApplied() {
			r.applied[i] = applied{requestOf(a.GetRequestId()), a.GetValue()}
		}
		t[p.GetKey()] = r
	}
}

func requestOf(p *kvv1.RequestId) RequestID {
	return RequestID{Client: p.GetClient(), Number: p.GetNumber()}
}

func writesToProto(writes []write) []*kvv1.Write {
	list := make([]*kvv1.Write, len(writes))
	for i, w := range writes {
		list[i] = &kvv1.Write{
			Sequence: w.sequence, Key: w.key, Value: w.value, RequestId: &kvv1.RequestId{Client: w.request.Client, Number: w.request.Number},
		}
	}
	return list
}

func writesOf(list []*kvv1.Write) []write {
	writes := make([]write, len(list))
	for i, p := range list {
		writes[i] = write{sequence: p.GetSequence(), key: p.GetKey(), value: p.GetValue(), request: requestOf(p.GetRequestId())}
	}
	return writes
}

func (t taken) toProto() *kvv1.Position {
	p := &kvv1.Position{Term: t.at.term, Sequence: t.at.sequence}
	switch t.state {
	case following:
		p.State = kvv1.ReplicaState_REPLICA_STATE_FOLLOWING
	case behind:
		p.State = kvv1.ReplicaState_REPLICA_STATE_BEHIND
	case refused:
		p.State = kvv1.ReplicaState_REPLICA_STATE_STALE
	}
	return p
}

// takenOf reads an answer; one that this version does not know means that a snapshot may help.
func takenOf(p *kvv1.Position) taken {
	t := taken{state: behind, at: position{p.GetTerm(), p.GetSequence()}}
	switch p.GetState() {
	case kvv1.ReplicaState_REPLICA_STATE_FOLLOWING:
		t.state = following
	case kvv1.ReplicaState_REPLICA_STATE_STALE:
		t.state = refused
	case kvv1.ReplicaState_REPLICA_STATE_BEHIND, kvv1.ReplicaState_REPLICA_STATE_UNSPECIFIED:
	}
	return t
}
