//go:build !linux && !darwin

package carewire

import "syscall"

// limitUnsent does nothing: this system has no such option.
func limitUnsent(syscall.Conn, int) {}
