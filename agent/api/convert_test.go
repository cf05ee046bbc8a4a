package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// The version is a label, too, unless the application has a label of that name.
func TestVersionIsALabel(t *testing.T) {
	for _, c := range []struct {
		version      string
		stated, want map[string]string
	}{
		{"", nil, nil},
		{"v2", nil, map[string]string{"version": "v2"}},
		{"v2", map[string]string{"tier": "gold"}, map[string]string{"tier": "gold", "version": "v2"}},
		{"v2", map[string]string{"version": "green"}, map[string]string{"version": "green"}},
	} {
		r, err := registration(&pb.RegisterRequest{App: "kv", Pid: 1, HostAddress: "http://a:1", DataAddress: "a:2", Version: c.version, Labels: c.stated})
		if diff := cmp.Diff(c.want, r.Application.Labels); err != nil || diff != "" {
			t.Errorf("version %q, labels %v: %v, %s", c.version, c.stated, err, diff)
		}
		if _, leaked := c.stated["version"]; leaked && len(c.stated) == 2 {
			t.Error("the request was modified")
		}
	}
}
