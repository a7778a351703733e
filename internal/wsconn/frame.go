package wsconn

import (
	"encoding/binary"
	"iter"
)

// The first byte of a single-frame message, by its type.
const (
	FirstText  = 0x81
	FirstClose = 0x88
	FirstPing  = 0x89
	FirstPong  = 0x8a
)

// HeaderSize is the room that Frame needs before a payload.
const HeaderSize = 10

// Frame makes one ready frame of b, whose payload begins after HeaderSize bytes.
// Frames of servers carry no mask, so the same bytes serve every watcher.
func Frame(b []byte, first byte) []byte {
	switch n := len(b) - HeaderSize; {
	case n < 126:
		b = b[HeaderSize-2:]
		b[0], b[1] = first, byte(n)
	case n < 1<<16:
		b = b[HeaderSize-4:]
		b[0], b[1] = first, 126
		binary.BigEndian.PutUint16(b[2:], uint16(n))
	default:
		b[0], b[1] = first, 127
		binary.BigEndian.PutUint64(b[2:], uint64(n))
	}
	return b
}

// CutFrame takes the first of our own frames off b.
func CutFrame(b []byte) (first byte, payload, rest []byte) {
	first, n, b := b[0], int(b[1]), b[2:]
	switch n {
	case 126:
		n, b = int(binary.BigEndian.Uint16(b)), b[2:]
	case 127:
		n, b = int(binary.BigEndian.Uint64(b)), b[8:]
	}
	return first, b[:n], b[n:]
}

// Texts yields the texts of our own frames, without control frames.
func Texts(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			first, text, rest := CutFrame(b)
			if b = rest; first == FirstText && !yield(text) {
				return
			}
		}
	}
}
