package main

import (
	"bytes"
	"fmt"
	"html"
	"time"
)

// timeline draws the alerts of all rules, each variant a line, with the number of
// alerts behind it. The picture stands by itself: it has a title and a text for
// those who do not see it.
func timeline(r *report) []byte {
	const left, right, width, line = 210, 110, 900, 16
	height := 40 + line*len(r.Rules)*max(1, len(r.Patients))
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11" role="img">`+"\n", left+width+right, height)
	fmt.Fprintf(&b, "<title>Alerts of %d rules over %.1f hours</title>\n", len(r.Rules), r.Hours)
	y := 24
	for _, patient := range r.Patients {
		from, to := r.from[patient], r.to[patient]
		length := max(to.Sub(from), time.Second)
		x := func(t time.Time) float64 { return left + width*float64(t.Sub(from))/float64(length) }
		for i := range r.Rules {
			m := &r.Rules[i]
			n := 0
			var bars bytes.Buffer
			for _, e := range m.Episodes {
				if e.Patient == patient {
					n++
					fmt.Fprintf(&bars, `<rect x="%.1f" y="%d" width="%.1f" height="10" fill="%s"/>`+"\n", x(e.Raised), y-9, max(1.5, x(e.Ended)-x(e.Raised)), colour(m.Variant))
				}
			}
			if n == 0 {
				continue
			}
			fmt.Fprintf(&b, `<text x="4" y="%d">%s %s</text><line x1="%d" x2="%d" y1="%d" y2="%d" stroke="#ddd"/>`+"\n", y, html.EscapeString(m.Rule), m.Variant, left, left+width, y-4, y-4)
			b.Write(bars.Bytes())
			fmt.Fprintf(&b, `<text x="%d" y="%d">%d, %s</text>`+"\n", left+width+6, y, n, seconds(m.TotalSeconds))
			y += line
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#555">%s: %.1f h</text>`+"\n", left, y+2, html.EscapeString(patient), length.Hours())
		y += line + 6
	}
	fmt.Fprintln(&b, "</svg>")
	return b.Bytes()
}

// colour is dark for the rule as it is, and pale for its variants.
func colour(variant string) string {
	if variant == "both" {
		return "#a40000"
	}
	return "#7a9cc6"
}
