package main

import (
	"fmt"
	"html"
	"strings"
)

// A bar of a plot, with the extremes of its runs.
type bar struct {
	label              string
	value, least, most float64
	ours               bool
}

// plot draws horizontal bars.
func plot(title string, bars []bar) string {
	const width, left, right, row = 760, 190, 90, 24
	top := 0.0
	for _, b := range bars {
		top = max(top, b.most)
	}
	at := func(v float64) float64 { return left + v/max(top, 1e-9)*(width-left-right) }
	var s strings.Builder
	height := 40 + row*len(bars)
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n", width, height)
	fmt.Fprintf(&s, `<rect width="%d" height="%d" fill="#fff"/><text x="10" y="20" font-weight="bold">%s</text>`+"\n", width, height, html.EscapeString(title))
	for i, b := range bars {
		y, color := 34+row*i, "#9aa5b1"
		if b.ours {
			color = "#1769aa"
		}
		fmt.Fprintf(&s, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`,
			left-8, y+14, html.EscapeString(b.label), left, y+2, at(b.value)-left, row-8, color)
		fmt.Fprintf(&s, `<path d="M%.1f %d H%.1f" stroke="#222"/><text x="%.1f" y="%d">%s</text>`+"\n", at(b.least), y+10, at(b.most), at(b.most)+6, y+14, digits3(b.value))
	}
	return s.String() + "</svg>\n"
}

// digits3 writes a figure so that three digits count.
func digits3(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.2g", v)
}
