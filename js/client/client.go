// Package client serves carewire's client for browsers from a Go program. What
// it does there is told in README.md beside this file.
package client

import (
	_ "embed"
	"net/http"

	"github.com/carewire/carewire/internal/webmodule"
)

//go:embed client.min.js
var module []byte

//go:embed waves.js
var waves []byte

// Handler serves the client as one ES module, to GET and HEAD at whatever path
// it is mounted. Its ETag is that of the content: a browser asks each time, and
// is answered 304 while it has the present one. It may be used concurrently.
func Handler() http.Handler { return webmodule.Handler(module) }

// Waves is Handler for the module waves.js, which reads and draws waves.
func Waves() http.Handler { return webmodule.Handler(waves) }
