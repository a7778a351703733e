package wsconn

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// closing is the frame that stands for the library's own.
func closing(code uint16) []byte {
	return Frame(binary.BigEndian.AppendUint16(make([]byte, HeaderSize), code), FirstClose)
}

// A tape is a net.Conn that keeps the written bytes, at most room of them.
type tape struct {
	net.Conn
	got       bytes.Buffer
	room      int
	deadlines []time.Time
}

func (c *tape) Write(p []byte) (int, error) {
	n, err := c.got.Write(p[:min(len(p), c.room)])
	if c.room -= n; n < len(p) && err == nil {
		err = io.ErrShortWrite
	}
	return n, err
}

func (c *tape) SetWriteDeadline(t time.Time) error {
	c.deadlines = append(c.deadlines, t)
	return nil
}

func TestOutputOfTheWrapper(t *testing.T) {
	text, bye := Frame(append(make([]byte, HeaderSize), `{"a":1}`...), FirstText), closing(1012)
	echo := []byte{FirstClose, 8, 0x10, 0xe1, 'c', 'a', 'n', 'a', 'r', 'y'}
	own := closing(4321)
	for _, c := range []struct {
		name string
		room int
		do   func(n *Conn)
		want [][]byte
	}{
		{"frames, then a close frame, then nothing", 1000, func(n *Conn) {
			require.NoError(t, n.WriteFrames(text, false))
			require.NoError(t, n.WriteFrames(bye, true))
			require.Error(t, n.WriteFrames(text, false))
			require.Error(t, n.WriteFrames(bye, true))
			n.Write(echo)
		}, [][]byte{text, bye}},
		{"the library's close frame, in our words, then nothing", 1000, func(n *Conn) {
			got, err := n.Write(echo)
			require.NoError(t, err)
			require.Equal(t, len(echo), got)
			require.Error(t, n.WriteFrames(text, false))
		}, [][]byte{own}},
		{"the library's data, ping and pong: not at all", 1000, func(n *Conn) {
			for _, first := range []byte{0x00, 1, FirstText, 0x82, FirstPing, FirstPong} {
				got, err := n.Write([]byte{first, 2, 'h', 'i'})
				require.NoError(t, err)
				require.Equal(t, 4, got)
			}
			require.NoError(t, n.WriteFrames(text, false))
		}, [][]byte{text}},
		{"nothing after half a frame", 5, func(n *Conn) {
			require.Error(t, n.WriteFrames(text, false))
			n.Conn.(*tape).room = 1000
			require.Error(t, n.WriteFrames(text, false))
			require.Error(t, n.WriteFrames(bye, true))
			n.Write(echo)
		}, [][]byte{text[:5]}},
		{"nothing after half a close frame", 3, func(n *Conn) {
			n.Write(echo)
			n.Conn.(*tape).room = 1000
			n.Write(echo)
			require.Error(t, n.WriteFrames(text, false))
		}, [][]byte{own[:3]}},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := &tape{room: c.room}
			begun := time.Now()
			c.do(&Conn{Conn: to, closeFrame: closing})
			require.Equal(t, string(bytes.Join(c.want, nil)), to.got.String())
			for _, d := range to.deadlines { // of the library's close frames: the Hub's clock looks after our own
				require.WithinRange(t, d, begun.Add(WriteWithin), time.Now().Add(WriteWithin))
			}
		})
	}
}

func TestFramesAreCutAsTheyWereMade(t *testing.T) {
	var all []byte
	sizes := []int{0, 1, 125, 126, 1<<16 - 1, 1 << 16}
	for _, n := range sizes {
		all = append(all, Frame(append(make([]byte, HeaderSize), bytes.Repeat([]byte{'x'}, n)...), FirstText)...)
		all = append(all, Frame(make([]byte, HeaderSize), FirstPing)...)
	}
	var got []int
	for text := range Texts(all) {
		got = append(got, len(text))
	}
	require.Equal(t, sizes, got)
}
