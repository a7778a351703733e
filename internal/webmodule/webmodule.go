// Package webmodule serves modules for browsers, from memory.
package webmodule

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

// Handler serves an ES module, to GET and HEAD at any path at which it is
// mounted. Its ETag is that of the content: a browser asks each time, and is
// answered 304 while it has the present one. It may be used concurrently.
func Handler(module []byte) http.Handler {
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
