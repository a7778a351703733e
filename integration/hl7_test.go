package integration

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/hl7v2"
	"github.com/carewire/carewire/internal/process"
)

const debianPython = "/usr/bin/python3"

var (
	needPythonHL7 = needed{"Python with hl7 (Debian's python3-hl7)", func() error { return exec.Command(debianPython, "-c", "import hl7, hl7.client").Run() }}
	needSimpleHL7 = needed{"Node with simple-hl7 (npm ci in integration)", func() error {
		if _, err := os.Stat(filepath.Join("node_modules", "simple-hl7")); err != nil {
			return err
		}
		return exec.Command("node", "--version").Run()
	}}
)

// oru is a message as a monitor sends it; its third OBX is no number.
const oru = `MSH|^~\&|MON|ICU|CW|HOSP|20260105120001+0000||ORU^R01^ORU_R01|M1|P|2.6|||NE|AL` + "\r" +
	"PID|||p-17^^^HOSP^MR||Doe^Jane\r" + "OBR|1|||182777000^monitoring of patient^SCT|||20260105120000+0000\r" +
	"OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1|72|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R\r" +
	"OBX|2|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.1.2|97|262688^MDC_DIM_PERCENT^MDC|||||R\r" +
	"OBX|3|NM|150344^MDC_TEMP^MDC|1.1.3|warm|268192^MDC_DIM_DEGC^MDC|||||R\r"

// serveHL7 is a Hub with an MLLP server before it; newest returns the patient's
// newest values.
func serveHL7(t *testing.T) (port string, newest func() map[string]string) {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	hub, err := carewire.New(carewire.AuthenticatorFunc(nil), carewire.NewMemoryStore(nil), &carewire.Options{Logger: quiet})
	require.NoError(t, err)
	server, err := hl7v2.NewServer(hub, &hl7v2.ServerOptions{Logger: quiet})
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(ln) }()
	t.Cleanup(func() {
		_ = server.Shutdown(context.Background())
		<-done
		_ = hub.Shutdown(context.Background())
	})
	_, port, err = net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)
	return port, func() map[string]string {
		events, _, err := hub.Latest(t.Context(), "p-17")
		require.NoError(t, err)
		values := make(map[string]string)
		for _, e := range events {
			values[e.Vital.Code] = string(e.Vital.Value)
		}
		return values
	}
}

// said is a foreign sender's reading of an acknowledgement.
type said struct {
	Code, ID string
	Errors   int
}

// Messages of python3-hl7 and simple-hl7 are taken, and they read the answer.
func TestForeignersSendHL7(t *testing.T) {
	t.Parallel()
	const script = `
import sys, json, hl7
from hl7.client import MLLPClient
with MLLPClient("127.0.0.1", int(sys.argv[1])) as client:
    answer = hl7.parse(client.send_message(hl7.parse(sys.stdin.read())).strip(b"\x0b\x1c\r").decode())
msa = answer.segment("MSA")
print(json.dumps({"code": str(msa[1]), "id": str(msa[2]), "errors": len(answer.segments("ERR"))}))
`
	for _, row := range []struct {
		name string
		need needed
		cmd  func(port string) *exec.Cmd
	}{
		{"python3-hl7", needPythonHL7, func(port string) *exec.Cmd { return exec.Command(debianPython, "-c", script, port) }},
		{"simple-hl7", needSimpleHL7, func(port string) *exec.Cmd { return exec.Command("node", "js/hl7.mjs", "send", port) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			need(t, row.need)
			port, newest := serveHL7(t)
			cmd := row.cmd(port)
			cmd.Stdin = strings.NewReader(oru)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			var answer said
			require.NoError(t, json.Unmarshal(out, &answer), string(out))
			require.Equal(t, said{"AE", "M1", 1}, answer)
			require.Equal(t, map[string]string{"8867-4": "72", "59408-5": "97"}, newest())
		})
	}
}

// alarm is an alert, and the parts of its message that a foreign program must read.
var alarm = carewire.Alert{Patient: "p-17", Key: "spo2", ID: "A1", Rev: 1, Code: "59408-5", System: carewire.LOINC, Text: "SpO2 low | now", Priority: carewire.PriorityHigh,
	Condition: carewire.ConditionPresent, Source: carewire.Source{Limits: "90-", Value: "84", Unit: "%"}, Updated: time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)}

// python3-hl7 reads an alert, every facet of it, and writes the same again.
func TestPythonReadsAlerts(t *testing.T) {
	t.Parallel()
	need(t, needPythonHL7)
	const script = `
import sys, json, hl7
text = sys.stdin.buffer.read().decode()
m = hl7.parse(text)
obx = m.segments("OBX")
print(json.dumps({"type": str(m.segment("MSH")[9]), "same": str(m).rstrip("\r") == text.rstrip("\r"), "metric": m.extract_field("OBX", 3, 3, 1, 2),
    "text": m.unescape(str(obx[1][5])), "facets": [str(s[5]) for s in obx[2:]]}))
`
	cmd := exec.Command(debianPython, "-c", script)
	cmd.Stdin = strings.NewReader(string(new(hl7v2.Writer).Message(hl7v2.PhaseStart, &alarm, alarm.Updated)))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.JSONEq(t, `{"type":"ORU^R40^ORU_R40","same":true,"metric":"MDC_PULS_OXIM_SAT_O2","text":"SpO2 low | now",
		"facets":["84","start","active","enabled","PH","SP"]}`, string(out))
}

// simple-hl7 is sent an alert, reads every facet, and its acknowledgement is
// taken for the one that it is.
func TestSimpleHL7ReceivesAlerts(t *testing.T) {
	t.Parallel()
	need(t, needSimpleHL7)
	addr := process.FreeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	r := process.Start(t, exec.Command("node", "js/hl7.mjs", "serve", port))
	_, next := r.Out.Await(t, 0, "ready")
	var dialer net.Dialer
	client, err := hl7v2.NewClient(hl7v2.ClientOptions{Dial: func(ctx context.Context) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", addr)
	}})
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), process.Patience)
	defer cancel()
	for _, phase := range []hl7v2.Phase{hl7v2.PhaseStart, hl7v2.PhaseUpdate} {
		ack, err := client.Send(ctx, new(hl7v2.Writer).Message(phase, &alarm, alarm.Updated))
		require.NoError(t, err)
		require.Equal(t, hl7v2.AckAccept, ack.Code)
		_, next = r.Out.Await(t, next, `"id":"`+ack.ControlID+`".*"metric":"MDC_PULS_OXIM_SAT_O2","value":"84","facets":\["`+string(phase)+`","active","enabled","PH","SP"\]`)
	}
}
