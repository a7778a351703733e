// Package javascript holds pages that the ward example serves: the four steps of a
// client in a browser at /simple, one that uses the client, and one of elements.
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

// Ward is a ward of nothing but elements. The ward example serves it at /elements.
//
//go:embed ward.html
var Ward []byte
