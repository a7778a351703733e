package carewire

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// validText reports whether s is text of at most max characters. It refuses
// controls except tabs and line breaks, noncharacters, marks that stand for no
// text, and embeddings, overrides and isolates of the writing direction that do
// not end in their line, with which a text can look like another one.
func validText(s string, max int) bool {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > max {
		return false
	}
	var open []rune // the ends that are to come in this line
	for i, r := range s {
		switch {
		case r == '\n' || r == '\r' && strings.HasPrefix(s[i+1:], "\n"):
			if len(open) > 0 {
				return false
			}
		case r == '\t':
		case r == '\u202a', r == '\u202b', r == '\u202d', r == '\u202e':
			open = append(open, '\u202c')
		case r >= '\u2066' && r <= '\u2068':
			open = append(open, '\u2069')
		case r == '\u202c', r == '\u2069':
			last := len(open) - 1
			if last < 0 || open[last] != r {
				return false
			}
			open = open[:last]
		case unicode.Is(unicode.Cc, r), r == '\u2028', r == '\u2029', unicode.Is(unicode.Noncharacter_Code_Point, r):
			return false
		case r == '\ufeff', r >= '\ufff9' && r <= '\ufffb', r >= '\u206a' && r <= '\u206f':
			return false // marks of a file, of another text, and such as nobody is to use
		}
	}
	return len(open) == 0
}

// validWriting reports whether people may write s: whether cleanText makes
// valid text of it, and it has at most max characters before that.
func validWriting(s string, max int) bool {
	return utf8.RuneCountInString(s) <= max && validText(cleanText(s), max)
}

var cleaner = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n", "\ufeff", "")

// cleanText returns what people wrote with line breaks of one kind, and without
// byte order marks.
func cleanText(s string) string { return cleaner.Replace(s) }

// blank reports whether s shows nothing.
func blank(s string) bool {
	for _, r := range s {
		if !unicode.IsSpace(r) && !unicode.Is(unicode.Cf, r) && !strings.ContainsRune("\u115f\u1160\u2800\u3164\uffa0\u034f", r) && !unicode.Is(unicode.Variation_Selector, r) {
			return false
		}
	}
	return true
}

// validName reports whether s may name a principal: printable, 1 to 128 bytes, one line.
func validName(s string) bool {
	return !blank(s) && len(s) <= 128 && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) && !strings.ContainsRune("\u200c\u200d\u00a0\u202f", r) })
}

// maxName is how many characters of a Principal's Name are kept.
const maxName = 256

// cleanName returns a name without characters that cannot be shown.
func cleanName(name string) string {
	if validText(name, maxName) {
		return name
	}
	var b strings.Builder
	n := 0
	for _, r := range name { // invalid UTF-8 comes as U+FFFD
		if c := string(r); n < maxName && validText(c, 1) {
			b.WriteString(c)
			n++
		}
	}
	return b.String()
}
