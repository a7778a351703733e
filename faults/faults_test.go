package faults

import (
	"flag"
	"os"
	"os/exec"
	"testing"

	"github.com/carewire/carewire/faults/drive"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "8") // they wait most of the time
	os.Exit(drive.Main(m))
}

// inCI reports whether everything must be there that a test needs.
func inCI() bool { return os.Getenv("CI") != "" }

// need skips the test if something is missing that it needs. In CI it fails.
func need(t testing.TB, name string, err error) {
	t.Helper()
	if err != nil && inCI() {
		t.Fatalf("%s is needed: %v", name, err)
	}
	if err != nil {
		t.Skipf("%s is needed: %v", name, err)
	}
}

func needStrace(t testing.TB) {
	t.Helper()
	need(t, "strace", exec.Command("strace", "-o", "/dev/null", "true").Run())
}
