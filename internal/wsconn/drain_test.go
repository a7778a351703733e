package wsconn

import (
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Input after Drain is read at once up to a bound, and slowly behind it.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		n := &Conn{Conn: ours}
		go io.Copy(theirs, endless{})
		begun, b := time.Now(), make([]byte, 32<<10)
		read := func(bytes int) {
			for bytes > 0 {
				c, err := n.Read(b)
				require.NoError(t, err)
				bytes -= c
			}
		}
		read(1 << 20)
		n.Drain()
		read(drainFast)
		require.Zero(t, time.Since(begun))
		ours.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err := n.Read(b)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.GreaterOrEqual(t, n.drained, drainMost)
		require.LessOrEqual(t, n.drained, drainMost+64<<10+int(5*time.Second/drainPause)*readBuffer)
		ours.Close()
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
