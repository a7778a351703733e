//go:build !linux && !darwin

package boltstore

func diskFree(string) int64 { return -1 }
