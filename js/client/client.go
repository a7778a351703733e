// Package client serves carewire's client for browsers from a Go program.
// README.md beside this file documents the client.
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

// Handler serves the client as one ES module, to GET and HEAD on any path. Its
// ETag is that of the content: a browser asks each time, and gets 304 if its
// copy is current. It may be used concurrently.
func Handler() http.Handler { return webmodule.Handler(module) }

// Waves is Handler for the module waves.js, which reads and draws waves.
func Waves() http.Handler { return webmodule.Handler(waves) }
