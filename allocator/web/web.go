// Package web serves the operators' page: files that were built from ui/ by `make ui` and are embedded here, so that a Go build needs no other
// tool. The page asks AdminService at its own origin.
//
// Invariants: nothing that is served makes a browser ask anybody else (Content-Security-Policy); an address that the page made up for itself gets
// the page, one of a file that is not there gets 404. Called by package allocator; it never looks at the cluster.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed dist/index.html dist/licences.txt dist/assets
var dist embed.FS

// Path is where the page is, at the listener for operators.
const Path = "/ui/"

// policy lets the page load scripts and styles from here and ask here, and nothing else.
const policy = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".txt": "text/plain; charset=utf-8",
}

// file is one file of the page, ready to be sent.
type file struct {
	contentType, etag string
	plain, compressed []byte
}

// Mount serves the page below Path, and sends the root there.
func Mount(mux *http.ServeMux) {
	files, err := load(dist)
	if err != nil {
		panic(err) // what is embedded is wrong: every test of an allocator sees it
	}
	mux.Handle("GET /{$}", http.RedirectHandler(Path, http.StatusFound))
	mux.Handle("GET "+Path, handler(files))
}

// load reads every file of the page, by its path below dist.
func load(from fs.FS) (map[string]file, error) {
	files := map[string]file{}
	err := fs.WalkDir(from, "dist", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		f := file{contentType: contentTypes[path.Ext(name)]}
		if f.contentType == "" {
			return fmt.Errorf("%s: expected one of the page's content types, not %q", name, path.Ext(name))
		}
		if f.plain, err = fs.ReadFile(from, name); err != nil {
			return err
		}
		if f.compressed, err = compress(f.plain); err != nil {
			return err
		}
		sum := sha256.Sum256(f.plain)
		f.etag = `"` + hex.EncodeToString(sum[:16]) + `"`
		files[strings.TrimPrefix(name, "dist/")] = f
		return nil
	})
	return files, err
}

func compress(plain []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func handler(files map[string]file) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, Path)
		f, found := files[name]
		if !found && strings.HasPrefix(name, "assets/") {
			http.NotFound(w, r)
			return
		}
		if !found {
			f = files["index.html"]
		}
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Content-Type", f.contentType)
		header.Set("Cache-Control", "no-cache") // ask again, by ETag
		if found && strings.HasPrefix(name, "assets/") {
			header.Set("Cache-Control", "public, max-age=31536000, immutable") // the name has a hash of what is in it
		}
		send(w, r, f)
	})
}

// send answers with a file, or that it is the one that the browser has.
func send(w http.ResponseWriter, r *http.Request, f file) {
	body, etag := f.plain, f.etag
	w.Header().Set("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		body, etag = f.compressed, strings.TrimSuffix(f.etag, `"`)+`-gzip"`
		w.Header().Set("Content-Encoding", "gzip")
	}
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.Header().Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // who goes away gets no answer
	}
}
