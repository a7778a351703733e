// Package smalldisk runs a test on a file system of its own that is small
// enough to be filled.
package smalldisk

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

const (
	env     = "SMALLDISK"
	skipped = "smalldisk: no file system can be mounted here"
	admin   = 21 // CAP_SYS_ADMIN
)

// Run calls f in a child process, with a directory in which there is room for
// size, such as "8m". The file system is seen by that process and its children
// only, and goes with them. Where nothing can be mounted the test is skipped.
// Run must be the first that a top-level test calls.
func Run(t *testing.T, size string, f func(t *testing.T, dir string)) {
	if os.Getenv(env) == t.Name() {
		dir, err := os.MkdirTemp("", "smalldisk")
		if err == nil {
			err = os.Chmod(dir, 0o755) // others' servers are to find it
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		err = syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
		if err == nil {
			err = syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0777,size="+size)
		}
		if err != nil {
			t.Skip(skipped, err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
		f(t, dir)
		return
	}
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60m")
	cmd.Env = append(os.Environ(), env+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{admin}
	}
	out, err := cmd.CombinedOutput()
	switch exit := new(exec.ExitError); {
	case err != nil && !errors.As(err, &exit), bytes.Contains(out, []byte(skipped)):
		t.Skip(skipped, err)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	default:
		t.Logf("%s", out)
	}
}

// Fill takes all the room that is left in a directory, except for so many
// bytes, and returns the function that gives it back.
func Fill(t *testing.T, dir string, leave int64) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "ballast")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(file, endless{})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal("a file system that does not fill: ", err)
	}
	if err := errors.Join(file.Truncate(max(n-leave, 0)), file.Close()); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
