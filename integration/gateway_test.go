package integration

import (
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/process"
)

var needShell = needed{"bash with nc and curl", func() error {
	return exec.Command("bash", "-c", "command -v nc && command -v curl").Run()
}}

// What the gateway's README types into a shell does what it says: the patient
// comes to the page by ADT, the numbers by HL7 and by FHIR.
func TestGatewayReadme(t *testing.T) {
	need(t, needShell, needNode, needChromium)
	text, err := os.ReadFile("../examples/gateway/README.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	require.Len(t, blocks, 5)

	addr, mllp := process.FreeAddr(t), process.FreeAddr(t)
	r := process.Start(t, exec.Command(program(t, "gateway"), "-addr", addr, "-mllp", mllp, "-data", t.TempDir()))
	r.Log.Await(t, 0, "open the page")
	_, port, err := net.SplitHostPort(mllp)
	require.NoError(t, err)
	now := time.Now().UTC().Format("20060102150405")
	run := func(n int) string {
		t.Helper()
		script := strings.NewReplacer("127.0.0.1:8080", addr, "127.0.0.1 2575", "127.0.0.1 "+port).Replace(blocks[n][1])
		cmd := exec.Command("bash", "-c", script)
		cmd.Env = append(os.Environ(), "now="+now)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	page := openBrowser(t).open("page", "http://"+addr+"/#token=nurse-ada")
	require.Contains(t, run(0), "MSA|AA|1\r")
	page.shows("main", "p-17")
	require.Contains(t, run(1), "MSA|AA|2\r")
	page.shows("main", "72")
	require.Contains(t, run(1), "MSA|AA|2\r", "the same again")
	require.Contains(t, run(2), "201 Created")
	page.shows("main", "75")
	history := run(3)
	require.Equal(t, 2, strings.Count(history, `"fullUrl"`), history)
	require.Contains(t, history, `"value":72`)
	require.Contains(t, history, `"value":75`)
}
