package hl7v2

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/carewire/carewire"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// readings maps OBX segments below a usual header.
func readings(t *testing.T, p *Mapping, obx ...string) ([]Reading, []*Error) {
	t.Helper()
	m, err := Parse(lines(append([]string{msh + "||||||UNICODE UTF-8", "PID|||p-17^^^HOSP^MR", "OBR|1|||1^x|||20260105115959+0000"}, obx...)...), &ParseOptions{Lenient: true})
	require.NoError(t, err)
	return p.Readings(m, nil)
}

const (
	hr     = "147842^MDC_ECG_HEART_RATE^MDC"
	bpm    = "264864^MDC_DIM_BEAT_PER_MIN^MDC"
	spo2   = "150456^MDC_PULS_OXIM_SAT_O2^MDC"
	mmhg   = "266016^MDC_DIM_MMHG^MDC"
	minute = "20260105120000+0000"
)

// heart is the vital of a heart rate of 72 at noon, changed by set.
func heart(set func(*carewire.Vital)) *carewire.Vital {
	v := carewire.Vital{Patient: "p-17", Code: "8867-4", System: "loinc", Value: "72", Unit: "/min", Time: noon}
	if set != nil {
		set(&v)
	}
	return &v
}

// absent is a heart rate that is not there.
func absent(reason carewire.AbsentReason, q ...carewire.Quality) *carewire.Vital {
	return heart(func(v *carewire.Vital) { v.Value, v.Unit, v.Absent, v.Quality = "", "", reason, q })
}

// Each observation becomes this vital.
func TestReadings(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		obx  string
		want *carewire.Vital // nil: nothing comes of it
	}{
		{"number and name", "OBX|1|NM|" + hr + "|1.1.1|72|" + bpm + "|||||R|||" + minute, heart(nil)},
		{"the number alone", "OBX|1|NM|147842^^MDC|1.1.1|72|264864^^MDC|||||R|||" + minute, heart(nil)},
		{"the name alone", "OBX|1|NM|x-1^MDC_ECG_HEART_RATE^MDC||72|MDC_DIM_BEAT_PER_MIN|||||F|||" + minute, heart(nil)},
		{"an alternate code", "OBX|1|NM|HR^Heart^99X^147842^MDC_ECG_HEART_RATE^MDC||72|1/min^x^99X^264864^MDC_DIM_BEAT_PER_MIN^MDC|||||F|||" + minute, heart(nil)},
		{"LOINC and UCUM", "OBX|1|NM|8867-4^Heart rate^LN||72|/min^per minute^UCUM|||||F|||" + minute, heart(nil)},
		{"a unit as people write it", "OBX|1|NM|8867-4^Heart rate^LN||72|bpm|||||F|||" + minute, heart(nil)},
		{"an older name of the unit's number", "OBX|1|NM|" + hr + "||72|999999^MDC_DIM_BEAT_PER_MIN^MDC|||||F|||" + minute, heart(nil)},
		{"time of the order", "OBX|1|NM|" + hr + "||72|" + bpm, heart(func(v *carewire.Vital) { v.Time = noon.Add(-time.Second) })},
		{"text type", "OBX|1|ST|" + hr + "|| 72 |" + bpm + "|||||R|||" + minute, heart(nil)},
		{"digits are kept", "OBX|1|NM|" + hr + "||072.0|" + bpm + "|||||R|||" + minute, heart(func(v *carewire.Vital) { v.Value = "72.0" })},
		{"a plus", "OBX|1|NM|" + hr + "||+72.|" + bpm + "|||||R|||" + minute, heart(nil)},
		{"no whole part", "OBX|1|NM|" + hr + "||.5|" + bpm + "|||||R|||" + minute, heart(func(v *carewire.Vital) { v.Value = "0.5" })},
		{"zero", "OBX|1|NM|" + hr + "||-0|" + bpm + "|||||R|||" + minute, heart(func(v *carewire.Vital) { v.Value = "0" })},
		{"structured", "OBX|1|SN|" + hr + "||<^72|" + bpm + "|||||R|||" + minute, heart(func(v *carewire.Vital) { v.Comparator = "<" })},
		{"structured, equal", "OBX|1|SN|" + hr + "||=^72|" + bpm + "|||||R|||" + minute, heart(nil)},
		{"off the scale", "OBX|1|NM|" + hr + "||72|" + bpm + "||>~H|||R|||" + minute, heart(func(v *carewire.Vital) { v.Comparator = ">" })},
		{"flags", "OBX|1|NM|" + hr + "||72|" + bpm + "|50-120|H~QUES~CAL~VAL~EARLY~ALACT~ALINH~QUES|||R|||" + minute,
			heart(func(v *carewire.Vital) {
				v.Quality = []carewire.Quality{"questionable", "calibration", "validated", "early", "in-alarm", "alarm-off"}
			})},
		{"invalid, with its value", "OBX|1|NM|" + hr + "||72|" + bpm + "||INV|||X|||" + minute, heart(func(v *carewire.Vital) { v.Quality = []carewire.Quality{"invalid"} })},
		{"invalid, without", "OBX|1|NM|" + hr + "|||" + bpm + "||INV|||X|||" + minute, absent("error")},
		{"invalid by OBX-8 alone, with its value", "OBX|1|NM|" + hr + "||72|" + bpm + "||INV|||R|||" + minute, heart(func(v *carewire.Vital) { v.Quality = []carewire.Quality{"invalid"} })},
		{"invalid by OBX-8 alone, without", "OBX|1|NM|" + hr + "|||" + bpm + "||INV|||R|||" + minute, absent("error")},
		{"not available", "OBX|1|NM|" + hr + "|||" + bpm + "||NAV|||X|||" + minute, absent("temp-unknown")},
		{"not available, and a number", "OBX|1|NM|" + hr + "||-999|" + bpm + "||NAV|||X|||" + minute, absent("temp-unknown")},
		{"busy", "OBX|1|NM|" + hr + "|||" + bpm + "||BUSY|||X|||" + minute, absent("temp-unknown", "busy")},
		{"off", "OBX|1|NM|" + hr + "|||" + bpm + "||OFF|||X|||" + minute, absent("not-performed")},
		{"no information", "OBX|1|NM|" + hr + "|||" + bpm + "||NI|||X|||" + minute, absent("unknown")},
		{"nothing", "OBX|1||" + hr + "|||" + bpm + "|||||F|||" + minute, absent("unknown")},
		{"null", `OBX|1|NM|` + hr + `||""|` + bpm + "|||||F|||" + minute, absent("unknown")},
		{"cannot be obtained", "OBX|1||" + hr + "||||||||X|||" + minute, absent("error")},
		{"a sender's own word for nothing", "OBX|1|NM|" + hr + "||---|" + bpm + "|||||F|||" + minute, absent("unknown")},
		{"demonstration", "OBX|1|NM|" + hr + "||72|" + bpm + "||DEMO|||R|||" + minute, heart(func(v *carewire.Vital) { v.Test = true })},
		{"test", "OBX|1|NM|" + hr + "||72|" + bpm + "||TEST|||R|||" + minute, heart(func(v *carewire.Vital) { v.Test = true })},
		{"device, site and method", "OBX|1|NM|" + hr + "||72|" + bpm + "|||||R|||" + minute + "|||^ECG lead II|0123456789ABCDEF^X^0123456789ABCDEF^EUI-64||123^left arm^99X",
			heart(func(v *carewire.Vital) { v.Device, v.Site, v.Method = "0123456789ABCDEF", "left arm", "ECG lead II" })},
		{"a device whose name is no ID", "OBX|1|NM|" + hr + "||72|" + bpm + "|||||R|||" + minute + "||||Bed 4/2",
			heart(func(v *carewire.Vital) { v.Device = deviceID("Bed 4/2") })},
		{"a correction", "OBX|1|NM|" + hr + "||72|" + bpm + "|||||C|||" + minute, heart(nil)},
		{"a code of LOINC that carewire does not name", "OBX|1|NM|60985-9^CVP^LN||8|mm[Hg]^^UCUM|||||F|||" + minute,
			heart(func(v *carewire.Vital) { v.Code, v.Value, v.Unit = "60985-9", "8", "mm[Hg]" })},
		{"a metric without a LOINC code", "OBX|1|NM|150448^MDC_PULS_OXIM_PERF_REL^MDC||1.5|262688^MDC_DIM_PERCENT^MDC|||||R|||" + minute,
			heart(func(v *carewire.Vital) { v.Code, v.System, v.Value, v.Unit = "150448", "mdc", "1.5", "%" })},
		{"carbon dioxide as a pressure", "OBX|1|NM|151708^MDC_CONC_AWAY_CO2_ET^MDC||38|" + mmhg + "|||||R|||" + minute,
			heart(func(v *carewire.Vital) { v.Code, v.Value, v.Unit = "19891-1", "38", "mm[Hg]" })},
		{"carbon dioxide as a fraction", "OBX|1|NM|151708^MDC_CONC_AWAY_CO2_ET^MDC||5|262688^MDC_DIM_PERCENT^MDC|||||R|||" + minute,
			heart(func(v *carewire.Vital) { v.Code, v.Value, v.Unit = "19889-5", "5", "%" })},
		{"consciousness", "OBX|1|CWE|80288-4^Level of consciousness^LN||248234008^Alert^SCT||||||F|||" + minute,
			heart(func(v *carewire.Vital) {
				v.Code, v.Value, v.Unit, v.Coded = "80288-4", "", "", &carewire.Coding{System: "snomed", Code: "248234008"}
			})},

		{"pending", "OBX|1|NM|" + hr + "||||||||I|||" + minute, absent("temp-unknown")},
		{"not sought", "OBX|1|NM|" + hr + "||||||||N|||" + minute, absent("not-performed")},

		{"final now, sent before", "OBX|1|NM|" + hr + "||||||||U|||" + minute, nil},
		{"an order without a result", "OBX|1|NM|" + hr + "||||||||O|||" + minute, nil},
		{"a device", "OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X", nil},
		{"a code that nothing is known of", "OBX|1|TX|x^Bowel movement^99X||Yes||||||F", nil},
		{"a wave", "OBX|1|NA|150452^MDC_PULS_OXIM_PLETH^MDC||1^2^3||||||R", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, errs := readings(t, &Mapping{NoValue: []string{"---"}}, row.obx)
			require.Empty(t, errs)
			if row.want == nil {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Equal(t, *row.want, got[0].Vital)
			require.Equal(t, []int{1}, got[0].OBX)
			require.NoError(t, got[0].Vital.Validate())
		})
	}
}

// Each of these is refused, at this field.
func TestReadingsRefused(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, obx, err string }{
		{"number and name of two things", "OBX|1|NM|147842^MDC_PULS_OXIM_SAT_O2^MDC||72|" + bpm + "|||||R|||" + minute, "OBX[1]-3: number and name are of different things"},
		{"number and name of two units", "OBX|1|NM|" + hr + "||72|266016^MDC_DIM_BEAT_PER_MIN^MDC|||||R|||" + minute, "OBX[1]-6: number and name are of different units"},
		{"no unit", "OBX|1|NM|" + hr + "||72||||||R|||" + minute, "OBX[1]-6: a number must have a unit"},
		{"a unit that is not known", "OBX|1|NM|" + hr + "||72|furlongs|||||R|||" + minute, "OBX[1]-6: the unit is not known"},
		{"a unit of something else", "OBX|1|NM|" + hr + "||72|" + mmhg + "|||||R|||" + minute, "OBX[1]-6: unit: wrong for this code"},
		{"an impossible number", "OBX|1|NM|" + hr + "||-72|" + bpm + "|||||R|||" + minute, "OBX[1]-5: value: impossible for this code"},
		{"no number", "OBX|1|NM|" + hr + "||fast|" + bpm + "|||||R|||" + minute, "OBX[1]-5: must be one number"},
		{"an exponent", "OBX|1|NM|" + hr + "||7e1|" + bpm + "|||||R|||" + minute, "OBX[1]-5: must be one number"},
		{"two numbers", "OBX|1|NM|" + hr + "||72~73|" + bpm + "|||||R|||" + minute, "OBX[1]-5: must be one number"},
		{"a range", "OBX|1|SN|" + hr + "||^72^-^80|" + bpm + "|||||R|||" + minute, "OBX[1]-5: must be one number"},
		{"a code for a number", "OBX|1|CWE|" + hr + "||1^x^SCT|" + bpm + "|||||R|||" + minute, "OBX[1]-5: must be one number"},
		{"an unknown comparator", "OBX|1|SN|" + hr + "||<>^72|" + bpm + "|||||R|||" + minute, "OBX[1]: comparator: unknown"},
		{"a time without zone", "OBX|1|NM|" + hr + "||72|" + bpm + "|||||R|||20260105120000", "OBX[1]-14: must have a zone"},
		{"no time", "OBX|1|NM|" + hr + "||72|" + bpm + "|||||R|||20260105", "OBX[1]-14: must be a time, to the minute at least"},
		{"consciousness in a house's own words", "OBX|1|CWE|80288-4^x^LN||A^Alert^99X||||||F|||" + minute, "OBX[1]-5: must be a code of SNOMED CT or LOINC"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, errs := readings(t, nil, row.obx)
			require.Empty(t, got)
			require.Len(t, errs, 1)
			require.Equal(t, "hl7v2: "+row.err, errs[0].Error())
		})
	}
}

// A time without zone is of the zone that the host states, and no other.
func TestZone(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("host", 2*3600)
	got, errs := readings(t, &Mapping{Zone: zone}, "OBX|1|NM|"+hr+"||72|"+bpm+"|||||R|||20260105120000", "OBX|2|NM|"+hr+"||73|"+bpm+"|||||R|||20260105120000-0500")
	require.Empty(t, errs)
	require.Equal(t, "2026-01-05T10:00:00Z", got[0].Vital.Time.Format(time.RFC3339))
	require.Equal(t, "2026-01-05T17:00:00Z", got[1].Vital.Time.Format(time.RFC3339), "a zone that is there counts")
	for text, want := range map[string]string{"202601051200+0000": "12:00:00", "20260105120000.25+0000": "12:00:00.25", "20260105120000.1234+0130": "10:30:00.1234"} {
		at, err := ParseTime(text, nil)
		require.NoError(t, err, text)
		assert.Equal(t, want, at.Format("15:04:05.999999999"), text)
	}
	for _, bad := range []string{"", "2026", "20260105", "2026010512", "20261305120000+0000", "20260105120000+00", "20260105120000+0000x", "20260105126000+0000",
		"20260105120000.+0000", "2026010512000+0000", "20260105120000.1234567890+0000", "20260105 120000+0000", "20260105120000Z", "202601051200.5+0000"} {
		_, err := ParseTime(bad, time.UTC)
		assert.Error(t, err, bad)
	}
}

// The pressures of one measurement are one vital; those of two are two.
func TestPanels(t *testing.T) {
	t.Parallel()
	p := func(i int, code, place, value, more string) string {
		return fmt.Sprintf("OBX|%d|NM|%s^^MDC|%s|%s|%s|||||R|||%s", i, code, place, value, mmhg, minute) + more
	}
	got, errs := readings(t, nil,
		p(1, "150021", "1.1.9.150021", "120", ""), "OBX|2|NM|"+hr+"||72|"+bpm+"|||||R|||"+minute, p(3, "150022", "1.1.9.150022", "80", ""), p(4, "150023", "1.1.9.150023", "93", ""),
		p(5, "150037", "1.2.1.1", "118", ""), p(6, "150038", "1.2.1.2", "", ""), // an arterial line, of which one was not found
		p(7, "150021", "1.1.10.150021", "121", ""), p(8, "150022", "1.1.10.150022", "81", ""), // another cuff
		"OBR|2|||1^x|||20260105115959+0000", p(9, "150022", "1.1.9.150022", "79", ""))
	require.Empty(t, errs)
	type panel struct {
		obx    []int
		values string
		site   string
	}
	var panels []panel
	for _, r := range got {
		require.NoError(t, r.Vital.Validate())
		text := string(r.Vital.Value)
		for _, c := range r.Vital.Components {
			text += fmt.Sprintf("%s=%s%s ", c.Code, c.Value, c.Absent)
		}
		panels = append(panels, panel{r.OBX, text, r.Vital.Site})
	}
	require.Equal(t, []panel{
		{[]int{1, 3, 4}, "8480-6=120 8462-4=80 8478-0=93 ", ""},
		{[]int{2}, "72", ""},
		{[]int{5, 6}, "8480-6=118 8462-4=unknown ", "artery"},
		{[]int{7, 8}, "8480-6=121 8462-4=81 ", ""},
		{[]int{9}, "8462-4=79 ", ""},
	}, panels)

	got, errs = readings(t, nil, p(1, "150021", "1.1", "-5", ""), p(2, "150022", "1.2", "80", ""))
	require.Len(t, errs, 1, "one bad pressure refuses itself")
	require.Len(t, got, 1)
	require.Equal(t, []int{2}, got[0].OBX)
}

// Each patient of a message is asked for by name; one who is not known takes
// nobody else's data along.
func TestPatients(t *testing.T) {
	t.Parallel()
	one := "OBX|1|NM|" + hr + "||72|" + bpm + "|||||R|||" + minute
	m, err := Parse(lines(msh, "PID|||a^^^HOSP^MR~n-1^^^NAT^NI", "PV1||I|Ward 5^12^B^HOSP", "OBR|1", one, "PID|||b", "OBR|1", one, one, "PID||c", "OBR|1", one), nil)
	require.NoError(t, err)
	var asked []string
	got, errs := (*Mapping)(nil).Readings(m, func(v Visit) (string, error) {
		for _, id := range v.Identifiers() {
			asked = append(asked, id.ID+"/"+id.Authority+"/"+id.Type+"/"+v.Location().Ward)
		}
		if v.Identifiers()[0].ID == "b" {
			return "", errors.New("no such patient")
		}
		return "x-" + v.Identifiers()[0].ID, nil
	})
	require.Equal(t, []string{"a/HOSP/MR/Ward 5", "n-1/NAT/NI/Ward 5", "b///", "c///"}, asked, "each once, and nobody's visit is another's")
	require.Len(t, errs, 1)
	require.Equal(t, "hl7v2: PID[2]-3: names no known patient", errs[0].Error())
	require.Equal(t, "204", errs[0].Code)
	require.Len(t, got, 2)
	require.Equal(t, "x-a", got[0].Vital.Patient)
	require.Equal(t, "x-c", got[1].Vital.Patient)

	m, err = Parse(lines(msh, "OBR|1", one), nil)
	require.NoError(t, err)
	got, errs = (*Mapping)(nil).Readings(m, nil)
	require.Empty(t, got, "nobody is named")
	require.Len(t, errs, 1)
}

// Everything of a message that is not production is test data.
func TestProcessingID(t *testing.T) {
	t.Parallel()
	for mode, test := range map[string]bool{"P": false, "D": true, "N": true, "T": true, "V": true, "T^A": true, "P^T": false, "P ": false, " P": false, " T ": true} {
		m, err := Parse(lines(strings.Replace(msh, "|P|2.6", "|"+mode+"|2.6", 1), "PID|||p", "OBR|1", "OBX|1|NM|"+hr+"||72|"+bpm), &ParseOptions{Lenient: true})
		require.NoError(t, err)
		got, errs := (*Mapping)(nil).Readings(m, nil)
		require.Empty(t, errs)
		require.Equal(t, test, got[0].Vital.Test, mode)
	}
	missing := &Error{Segment: "MSH", Field: 11, Code: "101", Reason: "is required"}
	unknown := &Error{Segment: "MSH", Field: 11, Code: "202", Reason: "must be P, D, T, N or V"}
	for mode, want := range map[string]*Error{"": missing, "^T": missing, " ": missing, `""`: missing,
		"p": unknown, "PROD": unknown, "X": unknown, "PT": unknown, "P&x": unknown} {
		raw := lines(strings.Replace(msh, "|P|2.6", "|"+mode+"|2.6", 1), "PID|||p", "OBR|1", "OBX|1|NM|"+hr+"||72|"+bpm)
		m, err := Parse(raw, &ParseOptions{Lenient: true})
		require.NoError(t, err)
		require.True(t, m.Test(), "it is not P")
		got, errs := (*Mapping)(nil).Readings(m, nil)
		require.Empty(t, got, "neither pages anybody nor is taken for a test")
		require.Equal(t, []*Error{want}, errs, mode)

		s := &sink{}
		server, err := NewServer(s, &ServerOptions{Logger: silent})
		require.NoError(t, err)
		answer, err := Parse(server.Handle(t.Context(), Peer{}, raw), &ParseOptions{Lenient: true})
		require.NoError(t, err)
		a, _ := parseAck(answer)
		require.Equal(t, AckReject, a.Code, mode)
		require.Equal(t, want.Code, a.Errors[0].Code, mode)
		require.Empty(t, s.got)
	}
}

var update = flag.Bool("update", false, "write the golden file anew")

// The messages of the simulated hospital give the vitals of the golden file,
// which was compared with the messages by eye.
func TestSimulatedHospital(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/simhospital-vital-signs.hl7")
	require.NoError(t, err)
	london, err := time.LoadLocation("Europe/London")
	require.NoError(t, err)
	p := &Mapping{Zone: london, Other: simulated}
	var out strings.Builder
	messages := 0
	for _, text := range strings.Split(string(b), "\r\n\r\n") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		messages++
		m, err := Parse([]byte(text), &ParseOptions{Lenient: true})
		require.NoError(t, err)
		got, errs := p.Readings(m, nil)
		fmt.Fprintf(&out, "# %s\n", m.ControlID())
		for _, r := range got {
			require.NoError(t, r.Vital.Validate())
			require.True(t, r.Vital.Test)
			b, err := json.Marshal(r.Vital)
			require.NoError(t, err)
			fmt.Fprintf(&out, "%v %s\n", r.OBX, b)
		}
		for _, e := range errs {
			fmt.Fprintln(&out, e)
		}
	}
	require.Equal(t, 24, messages)
	const golden = "testdata/simhospital-vital-signs.golden"
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(out.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), out.String())
}

// simulated maps the simulated hospital's own codes that mean vital signs.
func simulated(o Observation) (carewire.Vital, bool) {
	text := o.OBX.Field(5).String()
	of := func(m carewire.Measure) (carewire.Vital, bool) {
		value, ok := number(text)
		return carewire.Vital{Code: m.Code, Value: value, Unit: m.Units()[0]}, ok
	}
	switch o.OBX.Field(3).Component(2).String() {
	case "AVPU":
		code := map[string]string{"Alert": "248234008", "Voice": "300202002", "Pain": "450847001", "Unresponsive": "422768004"}[text]
		return carewire.Vital{Code: carewire.Consciousness, Coded: &carewire.Coding{System: carewire.SNOMED, Code: code}}, code != ""
	case "InsOxy":
		return of(carewire.OxygenConcentration)
	case "OxyL":
		return of(carewire.OxygenFlow)
	case "PAIN LEVEL":
		return of(carewire.PainScore)
	}
	return carewire.Vital{}, false
}

func FuzzReadings(f *testing.F) {
	f.Add("OBX|1|NM|" + hr + "|1.1|72|" + bpm + "||QUES|||R|||" + minute)
	f.Add("OBX|1|SN|8480-6^x^LN|1.1.1|>^120|mm[Hg]^^UCUM\rOBX|2|NM|150022^^MDC|1.1.2||" + mmhg)
	f.Add("PID|||2\rOBR|1\rOBX|1|CWE|80288-4^x^LN||1^a^SCT")
	f.Add("OBX|1|NA|131330^x^MDC|1|1^2.5^^-7|266418^x^MDC|||||R|||" + minute + "\r" + strings.Replace(sampRate, "1.7.6.131330.1", "1.1", 1))
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Parse([]byte(msh+"\rPID|||1\r"+text), &ParseOptions{Lenient: true})
		if err != nil {
			return
		}
		r := (&Mapping{Zone: time.UTC, Other: simulated}).read(m, nil, true)
		got, errs := r.readings, r.errs
		for _, w := range r.waves {
			list, fault := w.chunks()
			if fault != nil {
				errs = append(errs, fault)
			}
			for _, c := range list {
				if len(c.Samples) == 0 || float64(len(c.Samples)) > max(c.Rate, 1) || c.Patient == "" || c.Code == "" || c.Unit == "" {
					t.Fatal("a chunk that is none")
				}
			}
		}
		for _, r := range got {
			if err := r.Vital.Validate(); err != nil {
				t.Fatalf("a reading that the Hub refuses: %v", err)
			}
			if len(r.OBX) == 0 || vitalID(m, r) == "" {
				t.Fatal("no ID")
			}
		}
		for _, e := range errs {
			if strings.Contains(e.Error(), "\r") {
				t.Fatal("an error with something of the message's")
			}
		}
	})
}
