// Package elements serves carewire's custom elements for browsers from a Go
// program. What they are is told in README.md beside this file.
package elements

import (
	_ "embed"
	"net/http"

	"github.com/carewire/carewire/internal/webmodule"
)

//go:embed elements.min.js
var module []byte

// Handler serves the elements, with the client that they need, as one ES module,
// to GET and HEAD at whatever path it is mounted. Its ETag is that of the content:
// a browser asks each time, and is answered 304 while it has the present one. It
// may be used concurrently.
func Handler() http.Handler { return webmodule.Handler(module) }
