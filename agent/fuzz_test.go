package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// FuzzStateFile: whatever a server's file says, it is taken whole and says the same when it is written again, refused by its name, or
// moved aside as it was; of a damaged one nothing is used.
func FuzzStateFile(f *testing.F) {
	for _, state := range []*pb.AgentState{
		{}, {Cluster: "c1", Server: "a1.kv", Incarnation: 7, Session: "s", CreateIndex: 3, BootId: "b", Pid: 5, PidStartTicks: 6, ExitProves: true, ServeOn: true},
		{Cluster: "c1", Server: "a1.kv", Ended: true, ProvenDead: true, Pid: -1}, {Cluster: "c2", Server: "a1.kv"},
	} {
		good, err := wire.Encode(state)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(good, false)
		f.Add(good[:len(good)-1], false)
		raw, err := proto.Marshal(state)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, true)
	}
	f.Fuzz(func(t *testing.T, contents []byte, sealed bool) {
		state := new(pb.AgentState)
		if sealed { // with its checksum right, so that what lies beneath is reached
			if proto.Unmarshal(contents, state) != nil {
				return
			}
			var err error
			if contents, err = wire.Encode(state); err != nil {
				t.Fatal(err)
			}
		}
		d := &stateDir{path: t.TempDir(), boot: "b", claims: claims{cluster: "c1", agent: "a1"}}
		path := d.file("kv")
		if err := os.WriteFile(path, contents, 0o600); err != nil {
			t.Fatal(err)
		}
		damage := wire.Decode(contents, state)
		list, err := d.load()
		switch {
		case err != nil:
			if damage != nil || !strings.Contains(err.Error(), path) {
				t.Fatalf("refused: %v (damage: %v)", err, damage)
			}
		case damage != nil:
			aside, _ := filepath.Glob(path + ".corrupt-*")
			if len(list) != 1 || list[0].moved == "" || list[0].saved != (loaded{}).saved || len(aside) != 1 {
				t.Fatalf("damaged: %+v, aside %v", list, aside)
			}
			if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, contents) {
				t.Fatalf("moved aside: %q, %v", kept, err)
			}
		default:
			d.boot = state.GetBootId()
			if err := d.save("kv", list[0].saved); err != nil {
				t.Fatal(err)
			}
			again, err := d.load()
			if diff := cmp.Diff(list[0].saved, again[0].saved); err != nil || diff != "" {
				t.Fatalf("written and read again: %v\n%s", err, diff)
			}
		}
	})
}
