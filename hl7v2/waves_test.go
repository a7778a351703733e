package hl7v2

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/carewire/carewire"
	"github.com/stretchr/testify/require"
)

// waveSink takes waves and vitals.
type waveSink struct {
	sink
	waves []carewire.Wave
	err   error
}

func (s *waveSink) PublishWaves(waves ...carewire.Wave) error {
	s.waves = append(s.waves, waves...)
	return s.err
}

// ecg is a message as monitors send it: lead II, then its description.
func ecg(id, samples string, more ...string) []byte {
	return lines(append([]string{strings.Replace(msh, "|M1|", "|"+id+"|", 1), "PID|||p-17", "OBR|1|||CONTINUOUS WAVEFORM|||20260105120000.000+0000|20260105120001.000+0000",
		"OBX|1|NA|131330^MDC_ECG_ELEC_POTL_II^MDC|1.7.6.131330|" + samples + "|262656^MDC_DIM_DIMLESS^MDC"}, more...)...)
}

const (
	sampRate   = "OBX|2|NM|0^MDC_ATTR_SAMP_RATE^MDC|1.7.6.131330.1|4|264608^MDC_DIM_PER_SEC^MDC"
	resolution = "OBX|3|NM|2327^MDC_ATTR_NU_MSMT_RES^MDC|1.7.6.131330.2|0.00122|266418^MDC_DIM_MILLI_VOLT^MDC"
	inop       = "OBX|4|NM|262196^MDC_EVT_INOP^MDC|1.7.6.131330.3|32767"
)

// Each array becomes these chunks: the offset of the first sample, and the samples.
func TestWaves(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		samples string
		more    []string
		want    []string // of each chunk
		unit    string
		factor  string
		err     string // "CODE OBX[n]-field"
	}{
		{"numbers and a resolution", "80^-88^92", []string{sampRate, resolution}, []string{"0s [80 -88 92]"}, "mV", "0.00122", ""},
		{"a second at most in a chunk", "1^2^3^4^5^6", []string{sampRate}, []string{"0s [1 2 3 4]", "1s [5 6]"}, "1", "", ""},
		{"samples that there are not", "1^32767^3^^5", []string{sampRate, resolution, inop}, []string{"0s [1]", "500ms [3]", "1s [5]"}, "mV", "0.00122", ""},
		{"decimals", "-0.5^0.125^2", []string{sampRate, strings.Replace(resolution, "0.00122", "1.0", 1)}, nil, "", "", "AE OBX[1]-5"},
		{"decimals without a resolution", "-0.5^0.125^2^0.0", []string{sampRate}, []string{"0s [-500 125 2000 0]"}, "1", "0.001", ""},
		{"the same place", "1^2", []string{strings.Replace(sampRate, "131330.1|", "131330|", 1)}, []string{"0s [1 2]"}, "1", "", ""},
		{"no rate", "1^2", nil, nil, "", "", "AE OBX[1]-5"},
		{"a rate that is none", "1^2", []string{strings.Replace(sampRate, "|4|", "|-4|", 1)}, nil, "", "", "AE OBX[1]-5"},
		{"a unit that is not known", "1^2", []string{sampRate, strings.Replace(resolution, "266418^MDC_DIM_MILLI_VOLT", "1^x", 1)}, nil, "", "", "AE OBX[1]-6"},
		{"no number", "1^x", []string{sampRate}, nil, "", "", "AE OBX[1]-5"},
		{"beyond 32 bits", "1^4294967296", []string{sampRate}, nil, "", "", "AE OBX[1]-5"},
		{"two arrays", "1^2~3^4", []string{sampRate}, nil, "", "", "AE OBX[1]-5"},
		{"nothing", "", []string{sampRate}, nil, "", "", ""},
	} {
		s := &waveSink{}
		server, err := NewServer(s, &ServerOptions{Logger: silent})
		require.NoError(t, err)
		m, err := Parse(server.Handle(t.Context(), Peer{}, ecg("1", row.samples, row.more...)), nil)
		require.NoError(t, err)
		a, _ := parseAck(m)
		if row.err == "" {
			require.Equal(t, AckAccept, a.Code, row.name)
		} else {
			require.Equal(t, row.err, fmt.Sprintf("%s OBX[%d]-%d", a.Code, a.Errors[0].Index, a.Errors[0].Field), row.name)
		}
		var got []string
		for i, w := range s.waves {
			got = append(got, fmt.Sprint(w.Time.Sub(noon), " ", w.Samples))
			require.Equal(t, []any{"p-17", "131330", carewire.MDC, row.unit, row.factor, 4.0}, []any{w.Patient, w.Code, w.System, w.Unit, string(w.Factor), w.Rate}, row.name)
			require.NoError(t, w.Validate(), row.name)
			if i > 0 {
				require.Equal(t, s.waves[i-1].Number+1, w.Number)
			}
		}
		require.Equal(t, row.want, got, row.name)
		require.Empty(t, s.got, row.name)
	}
}

// A chunk that comes again is not sent on again, and the next one is joined to it.
// A vital in the message is one; a Sink without waves leaves them out.
func TestWavesFollow(t *testing.T) {
	t.Parallel()
	s := &waveSink{}
	server, err := NewServer(s, &ServerOptions{Logger: silent})
	require.NoError(t, err)
	send := func(b []byte) AckCode {
		m, err := Parse(server.Handle(t.Context(), Peer{}, b), nil)
		require.NoError(t, err)
		a, _ := parseAck(m)
		return a.Code
	}
	one := ecg("1", "1^2^3^4", sampRate, "OBX|3|NM|"+hr+"|1.7.4.1|72|"+bpm)
	two := []byte(strings.Replace(string(ecg("2", "5^6^7^8", sampRate)), "120000.000", "120001.000", 1))
	require.Equal(t, AckAccept, send(one))
	require.Equal(t, AckAccept, send(ecg("1b", "1^2^3^4", sampRate, "OBX|3|NM|"+hr+"|1.7.4.1|72|"+bpm)))
	require.Equal(t, AckAccept, send([]byte(strings.Replace(string(two), "ORU^R01", "ORU^W01", 1))))
	require.Len(t, s.waves, 2)
	require.True(t, s.waves[1].Follows(&s.waves[0]))
	require.Len(t, s.got, 2, "another message")
	require.EqualValues(t, 2, server.Stats().Waves)
	s.err = carewire.ErrBusy
	require.Equal(t, AckAccept, send([]byte(strings.Replace(string(ecg("3", "5^6^7^8", sampRate)), "120000.000", "120002.000", 1))))
	require.EqualValues(t, 1, server.Stats().WavesLost)

	without := &sink{}
	server, err = NewServer(without, &ServerOptions{Logger: silent})
	require.NoError(t, err)
	require.Equal(t, AckAccept, send(one))
	require.Len(t, without.got, 1)
}

// A Hub has the wave of a message for those who watch it.
func TestWavesOfAHub(t *testing.T) {
	t.Parallel()
	corrections(t, func(c *corrected) {
		at := time.Now().UTC().Format("20060102150405.000")
		message := strings.Replace(string(ecg("1", "1^2^3^4", sampRate, resolution)), "20260105120000.000", at, 1)
		m, err := Parse(c.server.Handle(c.t.Context(), Peer{}, []byte(message)), nil)
		require.NoError(t, err)
		a, _ := parseAck(m)
		require.Equal(t, AckAccept, a.Code)
		require.EqualValues(t, 1, c.server.Stats().Waves)
	})
}
