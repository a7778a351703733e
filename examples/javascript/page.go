// Package javascript holds two pages: the four steps of a client in a browser,
// which the ward example serves at /simple, and one that uses the client.
package javascript

import _ "embed"

// Page is the page.
//
//go:embed index.html
var Page []byte

// Wave is a page that shows a heart rate and an electrocardiogram. The ward
// example serves it at /wave.
//
//go:embed wave.html
var Wave []byte
