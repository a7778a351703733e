//go:build linux || darwin

package wsconn

import (
	"runtime"
	"syscall"
)

// limitUnsent makes a write wait while the kernel holds n bytes that it has not
// sent yet (TCP_NOTSENT_LOWAT).
func limitUnsent(c syscall.Conn, n int) {
	option := 0x19
	if runtime.GOOS == "darwin" {
		option = 0x201
	}
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, option, n) })
	}
}

// canWriteNow says that writeNow works here.
const canWriteNow = true

// writeNow writes as much as the kernel takes at once.
func writeNow(fd uintptr, p []byte) (n int, err error) {
	for {
		switch n, err = syscall.Write(int(fd), p); err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, nil
		}
		return n, err
	}
}
