package integration

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/hl7v2"
	"github.com/carewire/carewire/internal/process"
)

var needShell = needed{"bash with nc and curl", func() error {
	return exec.Command("bash", "-c", "command -v nc && command -v curl").Run()
}}

// The commands in the gateway's README work as it says: the patient comes to
// the page by ADT, the numbers by HL7 and by FHIR.
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
	page.shows("cw-patients article", "p-17")
	require.Contains(t, run(1), "MSA|AA|2\r")
	page.shows("cw-patients article", "72")
	require.Contains(t, run(1), "MSA|AA|2\r", "the same again")
	require.Contains(t, run(2), "201 Created")
	page.shows("cw-patients article", "75")
	history := run(3)
	require.Equal(t, 2, strings.Count(history, `"fullUrl"`), history)
	require.Contains(t, history, `"value":72`)
	require.Contains(t, history, `"value":75`)
}

// The README's block about an alarm manager: nc, which plays one, is told of the
// alert that a heart rate of 140 raises.
func TestGatewayReadmeManager(t *testing.T) {
	need(t, needShell)
	text, err := os.ReadFile("../examples/gateway/README.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	require.Len(t, blocks, 5)
	addr, mllp, manager := process.FreeAddr(t), process.FreeAddr(t), process.FreeAddr(t)
	port := func(addr string) string {
		_, port, err := net.SplitHostPort(addr)
		require.NoError(t, err)
		return port
	}
	as := strings.NewReplacer("go run ./examples/gateway", "exec "+program(t, "gateway")+" -addr "+addr+" -mllp "+mllp+" -data "+t.TempDir(),
		"127.0.0.1:2576", manager, "127.0.0.1 2576", "127.0.0.1 "+port(manager), "127.0.0.1 2575", "127.0.0.1 "+port(mllp), "|72|", "|140|")
	cmd := exec.Command("bash", "-c", as.Replace(blocks[4][1]))
	cmd.Env = append(os.Environ(), "wait="+fmt.Sprint(process.Patience.Seconds()))
	r := process.Start(t, cmd)
	r.Log.Await(t, 0, "open the page")
	for _, n := range []int{0, 1} {
		out, err := exec.Command("bash", "-c", as.Replace(blocks[n][1])).CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), "MSA|AA|")
	}
	_, n := r.Out.Await(t, 0, `ORU\^R40`)
	_, n = r.Out.Await(t, n, `\|start\|`)
	_, n = r.Out.Await(t, n, `\|active\|`)
	r.Out.Await(t, n, `\|PH\|`)
}

// The pages of two wards look the same, whether their measurements come by HL7
// version 2 or by FHIR.
func TestGatewaysLookTheSame(t *testing.T) {
	b := openBrowser(t)
	at := time.Now().UTC().Truncate(time.Second)
	hl7 := []string{"147842^MDC_ECG_HEART_RATE^MDC|1.1.1|72|264864^MDC_DIM_BEAT_PER_MIN^MDC", "150456^MDC_PULS_OXIM_SAT_O2^MDC|1.1.2|88|262688^MDC_DIM_PERCENT^MDC",
		"150344^MDC_TEMP^MDC|1.1.3|36.80|268192^MDC_DIM_DEGC^MDC", "150021^MDC_PRESS_BLD_NONINV_SYS^MDC|1.2.1.1|121|266016^MDC_DIM_MMHG^MDC",
		"150022^MDC_PRESS_BLD_NONINV_DIA^MDC|1.2.1.2|79|266016^MDC_DIM_MMHG^MDC"}
	number := func(loinc, value, unit string) string {
		return fmt.Sprintf(`"code":{"coding":[{"system":"http://loinc.org","code":%q}]},"valueQuantity":{"value":%s,"system":"http://unitsofmeasure.org","code":%q}`, loinc, value, unit)
	}
	observations := []string{number("8867-4", "72", "/min"), number("59408-5", "88", "%"), number("8310-5", "36.80", "Cel"),
		`"code":{"coding":[{"system":"http://loinc.org","code":"85354-9"}]},"component":[{` + number("8480-6", "121", "mm[Hg]") + `},{` + number("8462-4", "79", "mm[Hg]") + `}]`}

	var pages []tab
	for _, language := range []string{"hl7", "fhir"} {
		addr, mllp := process.FreeAddr(t), process.FreeAddr(t)
		r := process.Start(t, exec.Command(program(t, "gateway"), "-addr", addr, "-mllp", mllp, "-data", t.TempDir()))
		r.Log.Await(t, 0, "open the page")
		client, err := hl7v2.NewClient(hl7v2.ClientOptions{Dial: func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", mllp) }})
		require.NoError(t, err)
		defer client.Close()
		send := func(kind, id string, segments ...string) {
			t.Helper()
			header := `MSH|^~\&|X|ICU|CW|HOSP|` + at.Format("20060102150405") + "+0000||" + kind + "|" + id + "|P|2.6\rPID|||p-17^^^HOSP^MR\r"
			_, err := client.Send(t.Context(), []byte(header+strings.Join(segments, "\r")+"\r"))
			require.NoError(t, err)
		}
		send("ADT^A01", "1", "PV1||I|5^1^B-4")
		if language == "hl7" {
			segments := []string{"OBR|1|||x|||" + at.Format("20060102150405") + "+0000"}
			for i, obx := range hl7 {
				segments = append(segments, fmt.Sprintf("OBX|%d|NM|%s|||||R", i+1, obx))
			}
			send("ORU^R01^ORU_R01", "2", segments...)
		} else {
			for _, o := range observations {
				r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+"/fhir/Observation", strings.NewReader(
					`{"resourceType":"Observation","status":"final","subject":{"reference":"Patient/p-17"},"effectiveDateTime":"`+at.Format(time.RFC3339)+`",`+o+"}"))
				require.NoError(t, err)
				r.Header.Set("Authorization", "Bearer ehr")
				r.Header.Set("Content-Type", "application/fhir+json")
				answer, err := http.DefaultClient.Do(r)
				require.NoError(t, err)
				answer.Body.Close()
				require.Equal(t, http.StatusCreated, answer.StatusCode)
			}
		}
		page := b.open(language, "http://"+addr+"/#token=nurse-ada")
		page.shows(card("p-17", "Pressure"), "121/79")
		page.shows("#alerts .line2", "SpO₂ 88 < 90")
		pages = append(pages, page)
	}
	for _, find := range []string{"cw-patients h3", "cw-patients dt", "cw-patients .value", "#alerts .line2"} {
		one, two := pages[0].texts(find), pages[1].texts(find)
		require.NotEmpty(t, one, find)
		require.Equal(t, one, two, find)
	}
}
