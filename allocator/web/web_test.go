package web

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

func get(t *testing.T, path string, header http.Header) *http.Response {
	t.Helper()
	mux := http.NewServeMux()
	Mount(mux)
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for key, values := range header {
		r.Header[key] = values
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	all, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

// Every address that the page makes up gets the page; the files that it names are there, for ever; what is not there is not found.
func TestAddresses(t *testing.T) {
	if r := get(t, "/", nil); r.StatusCode != http.StatusFound || r.Header.Get("Location") != Path {
		t.Errorf("/: %d, to %q", r.StatusCode, r.Header.Get("Location"))
	}
	page := body(t, get(t, Path, nil))
	for _, address := range []string{"/ui/servers/node-1.kv", "/ui/apps/kv/shards/a%2Fb", "/ui/events?search=x", "/ui/index.html"} {
		r := get(t, address, nil)
		if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "text/html; charset=utf-8" || body(t, r) != page {
			t.Errorf("%s: %d %q is not the page", address, r.StatusCode, r.Header.Get("Content-Type"))
		}
		if r.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %q may be kept: a new version would not be seen", address, r.Header.Get("Cache-Control"))
		}
	}
	assets := regexp.MustCompile(`/ui/assets/[^"]+`).FindAllString(page, -1)
	if len(assets) != 2 {
		t.Fatalf("the page names %q: expected a style and a script", assets)
	}
	for _, asset := range assets {
		r := get(t, asset, nil)
		if r.StatusCode != http.StatusOK || !strings.Contains(r.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %q", asset, r.StatusCode, r.Header.Get("Cache-Control"))
		}
	}
	if r := get(t, "/ui/assets/app-OLD.js", nil); r.StatusCode != http.StatusNotFound {
		t.Errorf("an asset that is not there: %d", r.StatusCode)
	}
	if r := get(t, "/elsewhere", nil); r.StatusCode != http.StatusNotFound {
		t.Errorf("an address that is not the page's: %d", r.StatusCode)
	}
}

func TestHeaders(t *testing.T) {
	for _, address := range []string{Path, "/ui/licences.txt"} {
		r := get(t, address, nil)
		if got := r.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'self';") || strings.Contains(got, "unsafe") || strings.Contains(got, "http") {
			t.Errorf("%s: policy %q", address, got)
		}
		if r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %v", address, r.Header)
		}
	}
}

// A browser that has a file asks whether it is still that one; one that can unpack gets less.
func TestEntityTags(t *testing.T) {
	plain := get(t, Path, nil)
	packed := get(t, Path, http.Header{"Accept-Encoding": {"gzip, br"}})
	if packed.Header.Get("Content-Encoding") != "gzip" || packed.Header.Get("ETag") == plain.Header.Get("ETag") {
		t.Errorf("packed: %v; plain: %v", packed.Header, plain.Header)
	}
	again := get(t, Path, http.Header{"If-None-Match": {plain.Header.Get("ETag")}})
	if again.StatusCode != http.StatusNotModified || body(t, again) != "" {
		t.Errorf("asked again: %d", again.StatusCode)
	}
	if other := get(t, Path, http.Header{"If-None-Match": {`"other"`}}); other.StatusCode != http.StatusOK {
		t.Errorf("asked again with another version: %d", other.StatusCode)
	}
}

func TestUnknownFile(t *testing.T) {
	if _, err := load(fstest.MapFS{"dist/x.wasm": {Data: []byte("x")}}); err == nil || !strings.Contains(err.Error(), `not ".wasm"`) {
		t.Errorf("a file without a content type: %v", err)
	}
}

// The built files are those of the sources: a build writes down the digests of both. `make checkui` builds again and compares; this needs no npm.
func TestBuiltFilesAreFresh(t *testing.T) {
	for _, problem := range stale(t, ".") {
		t.Error(problem)
	}
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(string) error{
		"ui/src/main.tsx":  func(p string) error { return os.WriteFile(p, []byte("changed"), 0o600) },
		"ui/src/added.ts":  func(p string) error { return os.WriteFile(p, []byte("new"), 0o600) },
		"dist/index.html":  os.Remove,
		"ui/src/style.css": os.Remove,
	} {
		if err := change(filepath.Join(copied, name)); err != nil {
			t.Fatal(err)
		}
		if found := strings.Join(stale(t, copied), "\n"); !strings.Contains(found, name) {
			t.Errorf("%s is changed, and nobody noticed: %s", name, found)
		}
	}
}

// stale says which files of a tree are not those of the last build.
func stale(t *testing.T, root string) []string {
	t.Helper()
	list, err := os.Open(filepath.Join(root, "dist", "sums.sha256"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = list.Close() }()
	known := map[string]string{}
	for lines := bufio.NewScanner(list); lines.Scan(); {
		sum, name, _ := strings.Cut(lines.Text(), "  ")
		known[name] = sum
	}
	var problems []string
	err = fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == "ui/node_modules" || name == "ui/src/gen":
			return fs.SkipDir
		case entry.IsDir() || !strings.Contains(name, "/") || name == "dist/sums.sha256":
			return nil
		}
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		if known[name] != hex.EncodeToString(sum[:]) {
			problems = append(problems, name+" is not what the page was built with: run make ui")
		}
		delete(known, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range known {
		problems = append(problems, name+" was there when the page was built, and is gone: run make ui")
	}
	return problems
}
