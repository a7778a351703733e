// Package javascript holds a page that shows the four steps of a client in a
// browser. The ward example serves it at /simple.
package javascript

import _ "embed"

// Page is the page.
//
//go:embed index.html
var Page []byte
