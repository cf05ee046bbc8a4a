package apidocs

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close() // it was read
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

func served(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	Handle(mux)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// Every method that operators reach is described, and every reference leads somewhere.
func TestDescriptionIsWhole(t *testing.T) {
	answer, text := get(t, served(t)+"/v1/openapi.json")
	if got := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK || got != "application/json" {
		t.Errorf("status %d, type %s", answer.StatusCode, got)
	}
	var api struct {
		OpenAPI    string
		Info       struct{ Title string }
		Paths      map[string]map[string]any
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal([]byte(text), &api); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(api.OpenAPI, "3.1.") || api.Info.Title != "Shard Manager" {
		t.Errorf("openapi %s, title %s", api.OpenAPI, api.Info.Title)
	}
	methods := 0
	for _, descriptor := range []protoreflect.ServiceDescriptor{
		pb.File_shardmanager_v1_admin_proto.Services().Get(0), pb.File_shardmanager_v1_shardmap_proto.Services().Get(0), pb.File_shardmanager_v1_snapshot_proto.Services().Get(0),
	} {
		for i := range descriptor.Methods().Len() {
			methods++
			path := "/" + string(descriptor.FullName()) + "/" + string(descriptor.Methods().Get(i).Name())
			if api.Paths[path]["post"] == nil {
				t.Errorf("%s is not described: run make gen", path)
			}
		}
	}
	if methods != len(api.Paths) || methods < 30 {
		t.Errorf("%d methods, %d paths", methods, len(api.Paths))
	}
	for _, ref := range regexp.MustCompile(`"#/components/schemas/([^"]+)"`).FindAllStringSubmatch(text, -1) {
		if api.Components.Schemas[ref[1]] == nil {
			t.Errorf("%s leads nowhere", ref[0])
		}
	}
}

// The page has all its parts here, and asks nobody else.
func TestPageIsSelfContained(t *testing.T) {
	url := served(t)
	answer, page := get(t, url+"/v1/docs") // a redirect
	if answer.StatusCode != http.StatusOK || !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html") ||
		!strings.Contains(answer.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("status %d, %v", answer.StatusCode, answer.Header)
	}
	for _, part := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		answer, text := get(t, url+"/v1/docs/"+part[1])
		if answer.StatusCode != http.StatusOK || strings.Contains(part[1], "://") || strings.HasSuffix(part[1], ".js") && strings.Contains(text, "innerHTML") {
			t.Errorf("%s: status %d", part[1], answer.StatusCode)
		}
	}
	if answer, _ := get(t, url+"/v1/docs/nonsense"); answer.StatusCode != http.StatusNotFound {
		t.Errorf("what is not there: status %d", answer.StatusCode)
	}
}
