package faults

import (
	"os"
	"testing"

	"github.com/carewire/carewire/faults/drive"
)

func TestMain(m *testing.M) { os.Exit(drive.Main(m)) }

// inCI reports whether everything must be there that a test needs.
func inCI() bool { return os.Getenv("CI") != "" }
