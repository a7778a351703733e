package integration

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// What package ble makes of each characteristic, the module for browsers makes too.
func TestBluetoothInJavaScript(t *testing.T) {
	t.Parallel()
	need(t, needed{"Node", func() error { return exec.Command("node", "--version").Run() }})
	cmd := exec.Command("node", "--test", "ble.test.js")
	cmd.Dir = "../js/ble"
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "# fail 0")
}
