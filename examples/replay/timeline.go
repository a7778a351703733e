package main

import (
	"bytes"
	"fmt"
	"html"
	"slices"
	"time"
)

// The places of the timeline, in pixels.
const (
	left, right, width, line = 210, 40, 900, 16
)

// timeline draws the alerts of all rules, each variant a line, over the hours of
// each recording, with the numbers of the table under it. The picture stands by
// itself: it has a title for those who do not see it.
func timeline(r *report) []byte {
	var b bytes.Buffer
	y := 24
	for _, patient := range r.Patients {
		y = r.draw(&b, patient, y)
	}
	y = r.numbers(&b, y+line)
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11" role="img">`+"\n", left+width+right, y+line)
	fmt.Fprintf(&out, "<title>Alerts of %d rules over %.1f hours</title>\n", len(r.Rules), r.Hours)
	out.Write(b.Bytes())
	fmt.Fprintln(&out, "</svg>")
	return out.Bytes()
}

// draw draws one patient's alerts and the hours under them, from y on.
func (r *report) draw(b *bytes.Buffer, patient string, y int) int {
	from := r.from[patient]
	length := max(r.to[patient].Sub(from), time.Second)
	x := func(t time.Time) float64 { return left + width*float64(t.Sub(from))/float64(length) }
	fmt.Fprintf(b, `<text x="4" y="%d" font-weight="bold">%s, %.1f h</text>`+"\n", y, html.EscapeString(patient), length.Hours())
	y += line
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
		fmt.Fprintf(b, `<text x="4" y="%d">%s %s</text><line x1="%d" x2="%d" y1="%d" y2="%d" stroke="#ddd"/>`+"\n", y, html.EscapeString(m.Rule), m.Variant, left, left+width, y-4, y-4)
		b.Write(bars.Bytes())
		fmt.Fprintf(b, `<text x="%d" y="%d">%d</text>`+"\n", left+width+6, y, n)
		y += line
	}
	every := step(length)
	for t := time.Duration(0); t <= length; t += every {
		at := x(from.Add(t))
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#555"/><text x="%.1f" y="%d" fill="#555" text-anchor="middle">%s</text>`+"\n",
			at, at, y-10, y-6, at, y+4, seconds(t.Seconds()))
	}
	return y + 2*line
}

// step is how far apart the marks of a time axis are: at most twelve of them.
func step(length time.Duration) time.Duration {
	for _, s := range []time.Duration{30 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour} {
		if length <= 12*s {
			return s
		}
	}
	return 24 * time.Hour * (1 + length/(12*24*time.Hour))
}

// numbers writes the table's row of each rule, from y on.
func (r *report) numbers(b *bytes.Buffer, y int) int {
	row := func(cells ...string) {
		at := 4
		for i, c := range cells {
			fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`, at, y, html.EscapeString(c))
			at += []int{206, 60, 90, 110, 80, 90, 50, 100, 60, 110, 90}[min(i, 10)]
		}
		fmt.Fprintln(b)
		y += line
	}
	row("rule", "alerts", "/patient/day", "/operator/10min", "median", "total", "flaps", "high/med/low", "floods", "later: median", "most")
	quiet := r.quiet()
	for i := range r.Rules {
		m := &r.Rules[i]
		if slices.Contains(quiet, m.Rule) {
			continue
		}
		row(m.Rule+" "+m.Variant, fmt.Sprint(m.Alerts), fmt.Sprintf("%.1f", m.PerPatientDay), fmt.Sprintf("%.2f", m.PerOperator10), seconds(m.MedianSeconds),
			seconds(m.TotalSeconds), fmt.Sprint(m.Flaps), m.split.String(), fmt.Sprint(m.Floods), seconds(m.MedianLater), seconds(m.GreatestLater))
	}
	row("all, as they are", "", "", "", "", "", "", r.split.String(), fmt.Sprint(r.Floods))
	return y
}

// colour is dark for the rule as it is, and pale for its variants.
func colour(variant string) string {
	if variant == "both" {
		return "#a40000"
	}
	return "#7a9cc6"
}
