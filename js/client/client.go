// Package client serves carewire's client for browsers from a Go program. What
// it does there is told in README.md beside this file.
package client

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

//go:embed client.min.js
var module []byte

//go:embed waves.js
var waves []byte

// Handler serves the client as one ES module, to GET and HEAD at whatever path
// it is mounted. Its ETag is that of the content: a browser asks each time, and
// is answered 304 while it has the present one. It may be used concurrently.
func Handler() http.Handler { return serve(module) }

// Waves is Handler for the module waves.js, which reads and draws waves.
func Waves() http.Handler { return serve(waves) }

func serve(module []byte) http.Handler {
	sum := sha256.Sum256(module)
	tag := hex.EncodeToString(sum[:12])
	var packed bytes.Buffer
	z, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	z.Write(module)
	z.Close()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, content, name := w.Header(), module, tag
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			content, name = packed.Bytes(), tag+"-gzip"
			h.Set("Content-Encoding", "gzip")
		}
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("ETag", `"`+name+`"`)
		h.Set("Cache-Control", "no-cache")
		h.Set("Vary", "Accept-Encoding")
		h.Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
}
