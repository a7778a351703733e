//go:build !linux && !darwin

package wsconn

import "syscall"

// limitUnsent does nothing: this system has no such option.
func limitUnsent(syscall.Conn, int) {}

const canWriteNow = false

func writeNow(uintptr, []byte) (int, error) { return 0, nil }
