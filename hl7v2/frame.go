package hl7v2

import (
	"bufio"
	"errors"
	"io"
)

// The bytes of the Minimal Lower Layer Protocol: a message stands between VT
// and FS CR.
const (
	vt = 0x0b
	fs = 0x1c
	cr = 0x0d
)

// ErrFrame means that the input is not an MLLP frame; the connection cannot
// continue.
var ErrFrame = errors.New("hl7v2: not a frame of MLLP")

// ErrTooLong means that a message is longer than the limit.
var ErrTooLong = errors.New("hl7v2: message too long")

// frames reads the messages of one connection.
type frames struct {
	r   *bufio.Reader
	max int
}

// begin waits for the first byte of the next message. White space between
// messages is skipped. io.EOF means that the peer has ended.
func (f *frames) begin() error {
	for skipped := 0; ; skipped++ {
		c, err := f.r.ReadByte()
		switch {
		case err != nil:
			return err
		case c == vt:
			return nil
		case c != cr && c != '\n' && c != ' ' || skipped == 1024:
			return ErrFrame
		}
	}
}

// rest reads the rest of a message. A VT inside begins it anew: the sender did
// not finish the message before, which never becomes a part of another. Of a
// message that is too long, rest returns the beginning, with ErrTooLong.
func (f *frames) rest() ([]byte, error) {
	var b []byte
	for {
		c, err := f.r.ReadByte()
		switch {
		case err == io.EOF:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		case c == vt:
			b = b[:0]
			continue
		case c == fs: // the CR after it is skipped as white space
			return b, nil
		case len(b) == f.max:
			return b, ErrTooLong
		}
		b = append(b, c)
	}
}

// skip reads on to the end of a message that is too long, or as far as eight
// times the limit: many senders read no answer before they have sent all.
func (f *frames) skip() {
	for range 8 * f.max {
		if c, err := f.r.ReadByte(); err != nil || c == fs {
			return
		}
	}
}

// frame returns a message as it goes onto the line.
func frame(message []byte) []byte {
	b := make([]byte, 0, len(message)+3)
	return append(append(append(b, vt), message...), fs, cr)
}
