package mdc

import (
	"testing"

	"github.com/carewire/carewire"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// No number and no name stands for two things, and each is found by both.
func TestTablesAreUnambiguous(t *testing.T) {
	t.Parallel()
	codes, names := make(map[uint32]string), make(map[string]bool)
	see := func(term Term) {
		require.Empty(t, codes[term.Code], term.Name)
		require.False(t, names[term.Name], term.Name)
		codes[term.Code], names[term.Name] = term.Name, true
	}
	for _, m := range metrics {
		see(m.Term())
		byCode, ok := MetricByCode(m.Code)
		require.True(t, ok)
		byName, ok := MetricByName(m.Name)
		require.True(t, ok)
		require.Equal(t, m, byCode)
		require.Equal(t, m, byName)
		require.Equal(t, uint32(2), m.Code>>16, "%s is of the partition of supervision and data acquisition", m.Name)
	}
	for _, u := range units {
		see(u.Term())
		byCode, ok := UnitByCode(u.Code)
		require.True(t, ok)
		byName, ok := UnitByName(u.Name)
		require.True(t, ok)
		require.Equal(t, u, byCode)
		require.Equal(t, u, byName)
		require.Equal(t, uint32(4), u.Code>>16, "%s is of the partition of dimensions", u.Name)
	}
	for _, term := range terms {
		see(term)
	}
	_, ok := MetricByCode(0)
	assert.False(t, ok)
	_, ok = UnitByUCUM("")
	assert.False(t, ok)
	_, ok = MetricByLOINC("")
	assert.False(t, ok)
}

// The readings of two sensors keep two keys: of metrics with one LOINC code no
// two have the same site and method, but for names of the same thing.
func TestSensorsAreKeptApart(t *testing.T) {
	t.Parallel()
	synonyms := map[string]string{"MDC_PRESS_CUFF_SYS": "MDC_PRESS_BLD_NONINV_SYS", "MDC_PRESS_CUFF_DIA": "MDC_PRESS_BLD_NONINV_DIA",
		"MDC_PRESS_CUFF_MEAN": "MDC_PRESS_BLD_NONINV_MEAN", "MDC_PRESS_BLD_ART_ABP_SYS": "MDC_PRESS_BLD_ART_SYS",
		"MDC_PRESS_BLD_ART_ABP_DIA": "MDC_PRESS_BLD_ART_DIA", "MDC_PRESS_BLD_ART_ABP_MEAN": "MDC_PRESS_BLD_ART_MEAN",
		"MDC_TEMP_AXIL": "MDC_TEMP_AXILLA", "MDC_AWAY_CO2_ET": "MDC_CONC_AWAY_CO2_ET"}
	seen := make(map[[3]string]string)
	for _, m := range metrics {
		if m.LOINC == "" {
			continue
		}
		kind := [3]string{m.LOINC, m.Site, m.Method}
		if first := seen[kind]; first != "" {
			assert.Equal(t, first, synonyms[m.Name], "%s is told from %s by nothing", m.Name, first)
			continue
		}
		seen[kind] = m.Name
	}
}

// The LOINC codes and units are those that carewire takes.
func TestMetricsAreTaken(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, unit, loinc string
		value             float64
	}{
		{"MDC_ECG_HEART_RATE", "MDC_DIM_BEAT_PER_MIN", carewire.HeartRate.Code, 72},
		{"MDC_PULS_OXIM_PULS_RATE", "MDC_DIM_PULS_PER_MIN", carewire.PulseRate.Code, 72},
		{"MDC_PULS_OXIM_SAT_O2", "MDC_DIM_PERCENT", carewire.SpO2.Code, 97},
		{"MDC_RESP_RATE", "MDC_DIM_RESP_PER_MIN", carewire.RespiratoryRate.Code, 14},
		{"MDC_TEMP_RECT", "MDC_DIM_DEGC", carewire.BodyTemperature.Code, 37},
		{"MDC_TEMP_EAR", "MDC_DIM_FAHR", carewire.BodyTemperature.Code, 98.6},
		{"MDC_PRESS_BLD_NONINV_SYS", "MDC_DIM_MMHG", carewire.SystolicPressure.Code, 120},
		{"MDC_PRESS_BLD_ART_DIA", "MDC_DIM_KILO_PASCAL", carewire.DiastolicPressure.Code, 10.7},
		{"MDC_PRESS_CUFF_MEAN", "MDC_DIM_MMHG", carewire.MeanPressure.Code, 93},
		{"MDC_CONC_AWAY_CO2_ET", "MDC_DIM_MMHG", carewire.EndTidalCO2.Code, 38},
		{"MDC_CONC_AWAY_CO2_ET", "MDC_DIM_PERCENT", carewire.EndTidalCO2Fraction.Code, 5},
		{"MDC_CONC_AWAY_O2_INSP", "MDC_DIM_PERCENT", carewire.OxygenConcentration.Code, 40},
		{"MDC_CONC_GLU_CAPILLARY_WHOLEBLOOD", "MDC_DIM_MILLI_G_PER_DL", carewire.CapillaryGlucose.Code, 99},
		{"MDC_CONC_GLU_CAPILLARY_WHOLEBLOOD", "MDC_DIM_MILLI_MOLE_PER_L", carewire.GlucoseMoles.Code, 5.5},
		{"MDC_CONC_GLU_GEN", "MDC_DIM_MILLI_G_PER_DL", carewire.GlucoseMass.Code, 99},
		{"MDC_MASS_BODY_ACTUAL", "MDC_DIM_KILO_G", carewire.BodyWeight.Code, 70},
		{"MDC_MASS_BODY_ACTUAL", "MDC_DIM_LB", carewire.BodyWeight.Code, 154},
		{"MDC_LEN_BODY_ACTUAL", "MDC_DIM_CENTI_M", carewire.BodyHeight.Code, 172},
		{"MDC_RATIO_MASS_BODY_LEN_SQ", "MDC_DIM_KG_PER_M_SQ", carewire.BodyMassIndex.Code, 24},
	} {
		m, ok := MetricByName(row.name)
		require.True(t, ok, row.name)
		u, ok := UnitByName(row.unit)
		require.True(t, ok, row.unit)
		require.Equal(t, row.loinc, m.In(u.UCUM), row.name)
		v := carewire.Vital{Patient: "p", Code: m.In(u.UCUM), Value: carewire.DecimalOf(row.value), Unit: u.UCUM, Site: m.Site, Method: m.Method}
		require.NoError(t, v.Validate(), row.name)
	}
}

// The first row of a LOINC code and of a UCUM code is the usual one.
func TestUsual(t *testing.T) {
	t.Parallel()
	for loinc, name := range map[string]string{"8867-4": "MDC_ECG_HEART_RATE", "8310-5": "MDC_TEMP", "8480-6": "MDC_PRESS_BLD_NONINV_SYS", "9279-1": "MDC_RESP_RATE",
		"19889-5": "MDC_CONC_AWAY_CO2_ET", "15074-8": "MDC_CONC_GLU_CAPILLARY_WHOLEBLOOD"} {
		m, ok := MetricByLOINC(loinc)
		require.True(t, ok)
		assert.Equal(t, name, m.Name)
	}
	u, ok := UnitByUCUM("/min")
	require.True(t, ok)
	assert.Equal(t, "264864^MDC_DIM_BEAT_PER_MIN^MDC", u.Term().String())
	assert.Equal(t, "mdc", carewire.MDC, "the short name that the Hub knows %s by", System)
}
