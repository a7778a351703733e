package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/hl7v2"
	"github.com/carewire/carewire/internal/process"
)

// opened is a gateway in the test's own process.
type opened struct {
	*gateway
	t *testing.T
	n int
}

func open(t *testing.T, m *manager) *opened {
	g, err := newGateway(carewire.NewMemoryStore(nil), "http://gateway.test/fhir", time.UTC, m, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), process.Patience)
		defer cancel()
		require.NoError(t, g.shutdown(ctx))
	})
	return &opened{gateway: g, t: t}
}

// send gives the gateway an HL7 message and returns its acknowledgement's code.
func (g *opened) send(kind string, segments ...string) string {
	g.t.Helper()
	g.n++
	header := `MSH|^~\&|X|ICU|CW|HOSP|` + time.Now().UTC().Format("20060102150405") + "+0000||" + kind + "|" + strconv.Itoa(g.n) + "|P|2.6"
	answer, err := hl7v2.Parse(g.hl7.Handle(g.t.Context(), hl7v2.Peer{}, []byte(header+"\r"+strings.Join(segments, "\r")+"\r")), nil)
	require.NoError(g.t, err)
	return answer.Segment("MSA").Field(1).String()
}

const (
	whom  = "PID|||p-17^^^HOSP^MR"
	where = "PV1||I|5^1^B-4"
)

func heart(rate string) []string {
	return []string{whom, "OBR|1", "OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1|" + rate + "|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R"}
}

// An alarm manager is told of an alert and of its page, reports back, and is told
// that it is over when the patient goes home.
func TestManager(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	told := make(chan *hl7v2.Message, 100)
	go manage(ln, told)
	m, err := newManager(ln.Addr().String(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	g := open(t, m)
	next := func(phase string) *hl7v2.Message {
		t.Helper()
		for {
			select {
			case m := <-told:
				if m.Segments()[6].Field(5).String() == phase {
					return m
				}
			case <-time.After(process.Patience):
				t.Fatal("the manager is not told: " + phase)
			}
		}
	}
	require.Equal(t, "AA", g.send("ADT^A01", "EVN|A01", whom, where))
	require.Equal(t, "AA", g.send("ORU^R01^ORU_R01", heart("140")...))
	start := next("start")
	require.Equal(t, "140", start.Segments()[5].Field(5).String())
	require.Equal(t, "-130", start.Segments()[5].Field(7).String())
	page := start
	for page.Segment("OBR").Field(2).Raw() == page.Segment("OBR").Field(3).Raw() { // the page comes with the start, or after it
		page = next("continue")
	}
	report := func(outcome string) string {
		return g.send("ORA^R41^ORA_R41", "MSA|AA|"+page.ControlID(), "OBX|1|ST|x||"+outcome+"|||||||||||nurse-ada")
	}
	require.Equal(t, "AA", report("delivered"))
	require.Equal(t, "AE", report("lost"))
	require.Equal(t, "AA", report("accepted"))
	require.Equal(t, "alert-acknowledged", next("update").Segments()[8].Field(5).String())
	require.Equal(t, "AA", g.send("ADT^A03", "EVN|A03", whom, where))
	require.Equal(t, "inactive", next("end").Segments()[7].Field(5).String())
	require.Equal(t, "AE", g.send("ORU^R01^ORU_R01", heart("75")...), "nobody of that name is here")
}

// manage plays an alarm manager: it takes each message that comes to ln.
func manage(ln net.Listener, told chan<- *hl7v2.Message) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			in := bufio.NewReader(conn)
			for {
				text, err := in.ReadString('\x1c')
				if err != nil {
					return
				}
				m, err := hl7v2.Parse([]byte(strings.Trim(text, "\x0b\x1c\r")+"\r"), nil)
				if err != nil {
					return
				}
				told <- m
				fmt.Fprintf(conn, "\x0bMSH|^~\\&|AM||CW||20260105120001+0000||ACK|1|P|2.6\rMSA|AA|%s\r\x1c\r", m.ControlID())
			}
		}()
	}
}
