//go:build linux || darwin

package boltstore

import "syscall"

// diskFree returns how many bytes the file system of a path has for us; negative: not known.
func diskFree(path string) int64 {
	var fs syscall.Statfs_t
	if syscall.Statfs(path, &fs) != nil {
		return -1
	}
	return int64(fs.Bavail) * int64(fs.Bsize)
}
