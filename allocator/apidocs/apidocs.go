// Package apidocs serves the description of the HTTP API and a page to read it with: /v1/openapi.json (OpenAPI 3.1) and /v1/docs/.
//
// The description is generated from the .proto files (make gen) with base.yaml around it. The page asks nobody but this server. Called by the allocator.
package apidocs

import (
	"embed"
	"net/http"
)

//go:embed openapi.json index.html page.js page.css
var files embed.FS

// policy lets the page load its own parts alone.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handle adds both to what an allocator serves to operators.
func Handle(mux *http.ServeMux) {
	for path, name := range map[string]string{
		"/v1/openapi.json": "openapi.json", "/v1/docs/{$}": "index.html", "/v1/docs/page.js": "page.js", "/v1/docs/page.css": "page.css",
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", policy)
			w.Header().Set("X-Content-Type-Options", "nosniff")
			http.ServeFileFS(w, r, files, name)
		})
	}
	mux.Handle("GET /v1/docs", http.RedirectHandler("/v1/docs/", http.StatusMovedPermanently))
}
