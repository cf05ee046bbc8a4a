package wire_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func chunk() *pb.AssignmentChunk {
	c := &pb.AssignmentChunk{Servers: []*pb.ChunkServer{{Id: "a.kv", Incarnation: 7}}}
	for i := range uint64(8192) {
		c.Terms, c.Moves = append(c.Terms, i%3+1), append(c.Moves, i%5)
		c.Primaries, c.PrimaryTerms = append(c.Primaries, 1), append(c.PrimaryTerms, i%3+1)
	}
	return c
}

func encode(t testing.TB, m proto.Message) []byte {
	b, err := wire.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sealed puts a right checksum behind any body, so that what lies beneath it is reached.
func sealed(body []byte) []byte {
	sum := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
	return binary.BigEndian.AppendUint32(slices.Clone(body), sum)
}

func TestStoredValuesRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		want := &pb.AgentState{
			Cluster: rapid.String().Draw(rt, "cluster"), Incarnation: rapid.Uint64().Draw(rt, "incarnation"), Pid: rapid.Int64().Draw(rt, "pid"),
		}
		got := new(pb.AgentState)
		if err := wire.Decode(encode(t, want), got); err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			rt.Fatal(diff)
		}
	})
	if size := len(encode(t, chunk())); size > 64<<10 {
		t.Errorf("a full chunk takes %d bytes, more than 64 KiB (DESIGN §7)", size)
	}
	if !slices.Equal(encode(t, chunk()), encode(t, chunk())) {
		t.Error("equal messages have different stored forms")
	}
}

func TestEveryDamageIsNoticed(t *testing.T) {
	t.Parallel()
	good := encode(t, &pb.AgentState{Cluster: "c", Server: "a.kv", Incarnation: 42})
	for at := range good {
		for bit := range 8 {
			bad := slices.Clone(good)
			bad[at] ^= 1 << bit
			if err := wire.Decode(bad, new(pb.AgentState)); !errors.Is(err, wire.ErrCorrupt) {
				t.Fatalf("byte %d, bit %d flipped: got %v, expected ErrCorrupt", at, bit, err)
			}
		}
	}
	for n := range good {
		if err := wire.Decode(good[:n], new(pb.AgentState)); !errors.Is(err, wire.ErrCorrupt) {
			t.Fatalf("cut to %d bytes: got %v, expected ErrCorrupt", n, err)
		}
	}
}

func TestCorruptionSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer encoder.Close()
	good := encode(t, &pb.AgentState{Cluster: "c"})
	bomb := encoder.EncodeAll(make([]byte, wire.MaxDecoded+1), []byte{1})
	for _, c := range []struct {
		name  string
		value []byte
		says  string
	}{
		{"nothing", nil, "empty"},
		{"another format", append([]byte{9}, good[1:]...), "unknown format 9"},
		{"a few bytes", good[:4], "truncated"},
		{"the last byte missing", good[:len(good)-1], "checksum"},
		{"no zstd frame", sealed([]byte{1, 'h', 'e', 'l', 'l', 'o'}), "decompression"},
		{"too large when decompressed", sealed(bomb), "decompression"},
		{"no message", sealed(encoder.EncodeAll([]byte{0xff}, []byte{1})), "no message of this kind"},
	} {
		err := wire.Decode(c.value, new(pb.AgentState))
		if !errors.Is(err, wire.ErrCorrupt) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, expected ErrCorrupt that says %q", c.name, err, c.says)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(f, &pb.AgentState{Cluster: "c", Pid: 3}))
	f.Add(sealed([]byte{1, 0x28, 0xb5, 0x2f, 0xfd, 0, 0}))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, v := range [][]byte{value, sealed(append([]byte{1}, value...))} {
			m := new(pb.AgentState)
			if err := wire.Decode(v, m); err != nil {
				if !errors.Is(err, wire.ErrCorrupt) {
					t.Fatalf("an error that is not ErrCorrupt: %v", err)
				}
				continue
			}
			again := new(pb.AgentState)
			if err := wire.Decode(encode(t, m), again); err != nil || !proto.Equal(m, again) {
				t.Fatalf("decoded %v, encoded and decoded again %v (%v)", m, again, err)
			}
		}
	})
}

func TestStateFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "server.state")
	got := new(pb.AgentState)
	if found, err := wire.ReadFile(path, got); found || err != nil {
		t.Fatalf("no file: got %v, %v", found, err)
	}
	for _, session := range []string{"one", "two"} {
		if err := wire.WriteFile(path, &pb.AgentState{Session: session}); err != nil {
			t.Fatal(err)
		}
		if found, err := wire.ReadFile(path, got); !found || err != nil || got.Session != session {
			t.Fatalf("session %s: got %v, %v, %v", session, got, found, err)
		}
	}
	if err := os.WriteFile(path, []byte{1, 2, 3}, 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := wire.ReadFile(path, got)
	if found || !errors.Is(err, wire.ErrCorrupt) || !strings.Contains(err.Error(), path) {
		t.Fatalf("a corrupt file: got %v, %v; expected ErrCorrupt that names it", found, err)
	}
	aside, err := wire.MoveAside(path)
	if err != nil || !strings.HasPrefix(aside, path+".corrupt-") {
		t.Fatalf("moved to %q, %v", aside, err)
	}
	if found, err := wire.ReadFile(path, got); found || err != nil {
		t.Fatalf("after moving aside: got %v, %v", found, err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, ".*")); len(files) > 0 {
		t.Errorf("temporary files are left: %v", files)
	}
	if err := wire.WriteFile(filepath.Join(dir, "none", "x"), got); err == nil {
		t.Error("writing into a directory that is not there must fail")
	}
}

func TestTypedErrors(t *testing.T) {
	t.Parallel()
	err := error(wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_NOT_LEADER, "attach", "the leader", "h:7410"))
	detail, ok := wire.DetailOf(errors.Join(errors.New("attach"), err))
	want := &pb.ErrorDetail{Reason: pb.ErrorReason_ERROR_REASON_NOT_LEADER, Subject: "attach", Expected: "the leader", Hint: "h:7410"}
	if diff := cmp.Diff(want, detail, protocmp.Transform()); !ok || diff != "" {
		t.Errorf("detail (%v): %s", ok, diff)
	}
	if got := err.Error(); got != "failed_precondition: not leader: attach: the leader (try h:7410)" {
		t.Errorf("message %q", got)
	}
	for _, plain := range []error{nil, errors.New("x"), connect.NewError(connect.CodeInternal, errors.New("x"))} {
		if _, ok := wire.DetailOf(plain); ok {
			t.Errorf("%v has no detail", plain)
		}
	}
}
