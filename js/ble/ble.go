// Package ble serves the browser module for Bluetooth health devices from a Go
// program. ble.js documents the module.
package ble

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"time"
)

//go:embed ble.js
var module []byte

// Handler serves ble.js as an ES module, to GET and HEAD on any path. Its ETag
// is that of the content. It may be used concurrently.
func Handler() http.Handler {
	sum := sha256.Sum256(module)
	tag := `"` + hex.EncodeToString(sum[:12]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("ETag", tag)
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(module))
	})
}
