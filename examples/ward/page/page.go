// Package page is the page of the ward, which other examples show too.
package page

import "embed"

// Files are the files of the page.
//
//go:embed *.html *.css *.js *.json *.svg
var Files embed.FS
