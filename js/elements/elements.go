// Package elements serves carewire's custom elements for browsers from a Go
// program. README.md beside this file documents the elements.
package elements

import (
	_ "embed"
	"net/http"

	"github.com/carewire/carewire/internal/webmodule"
)

//go:embed elements.min.js
var module []byte

// Handler serves the elements, with the client that they need, as one ES
// module, to GET and HEAD on any path. Its ETag is that of the content: a
// browser asks each time, and gets 304 if its copy is current. It may be used
// concurrently.
func Handler() http.Handler { return webmodule.Handler(module) }
