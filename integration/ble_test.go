package integration

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// The module for browsers reads each characteristic as package ble does.
func TestBluetoothInJavaScript(t *testing.T) {
	t.Parallel()
	need(t, needed{"Node", func() error { return exec.Command("node", "--version").Run() }})
	cmd := exec.Command("node", "--test", "ble.test.js")
	cmd.Dir = "../js/ble"
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "# fail 0")
}
