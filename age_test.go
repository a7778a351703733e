package carewire

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// Plausibility depends on the age: a number is plausible at some ages, and from
// the adult on down in the order of the row.
func TestPlausibilityByAge(t *testing.T) {
	t.Parallel()
	all := []AgeClass{AgeAdult, AgeChild, AgeInfant, AgeNeonate}
	for _, row := range []struct {
		name      string
		v         Vital
		plausible []AgeClass
	}{
		{"breath 55", RespiratoryRate.Of("p", 55), all},
		{"breath 90", RespiratoryRate.Of("p", 90), []AgeClass{AgeChild, AgeInfant, AgeNeonate}},
		{"breath 140", RespiratoryRate.Of("p", 140), []AgeClass{AgeNeonate}},
		{"heart 340", HeartRate.Of("p", 340), []AgeClass{AgeInfant, AgeNeonate}},
		{"mean pressure 26", MeanPressure.Of("p", 26), all},
		{"systolic 210", SystolicPressure.Of("p", 210), []AgeClass{AgeAdult, AgeChild}},
		{"systolic 28 kPa", SystolicPressure.In("p", 28, "kPa"), []AgeClass{AgeAdult, AgeChild}},
		{"panel 210/150", BloodPressure.Of("p", 210, 150), []AgeClass{AgeAdult, AgeChild}},
		{"weight 3.4 kg", BodyWeight.Of("p", 3.4), all},
		{"weight 70 kg", BodyWeight.Of("p", 70), []AgeClass{AgeAdult, AgeChild}},
		{"weight 70 lb", BodyWeight.In("p", 70, "[lb_av]"), []AgeClass{AgeAdult, AgeChild, AgeInfant}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for _, age := range all {
				unlikely, err := row.v.judge(age)
				require.NoError(t, err)
				require.Equal(t, slices.Contains(row.plausible, age), !unlikely, "age class %d", age)
			}
			adult, err := row.v.judge(AgeAdult)
			require.NoError(t, err)
			unknown, err := row.v.judge(AgeNeonate + 1)
			require.NoError(t, err)
			require.Equal(t, adult, unknown, "an unknown class is an adult")
		})
	}
}

// Zero is a crisis at every age, and never called questionable.
func TestZeroIsPlausible(t *testing.T) {
	t.Parallel()
	for _, m := range []Measure{HeartRate, PulseRate, RespiratoryRate, OxygenSaturation, SpO2, OxygenFlow, OxygenConcentration, OxygenSetting,
		SystolicPressure, DiastolicPressure, MeanPressure, AveragedSystolic, AveragedDiastolic, GlucoseMass, GlucoseMoles, CapillaryGlucose,
		EndTidalCO2, EndTidalCO2Fraction, PainScore, UrineOutput} {
		for _, unit := range m.Units() {
			for age := range AgeNeonate + 1 {
				v := m.In("p", 0, unit)
				unlikely, err := v.judge(age)
				require.NoError(t, err)
				require.False(t, unlikely, "%s in %s", m.Display, unit)
			}
		}
	}
}

// The host gives the age class of a patient, once for each patient of a publish. An
// error or a panic means an adult.
func TestAgeClassOption(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := make(map[string]int)
		hub, err := New(AuthenticatorFunc(nil), NewMemoryStore(nil), &Options{AgeClass: func(_ context.Context, patient string) (AgeClass, error) {
			asked[patient]++
			switch patient {
			case "newborn":
				return AgeNeonate, nil
			case "unknown":
				return AgeNeonate, errors.New("no such patient")
			case "panic":
				panic("no")
			}
			return AgeAdult, nil
		}})
		require.NoError(t, err)
		defer func() { require.NoError(t, hub.Shutdown(t.Context())) }()
		patients := []string{"newborn", "unknown", "panic", "adult"}
		for _, patient := range patients {
			_, err := hub.Publish(t.Context(), RespiratoryRate.Of(patient, 100), RespiratoryRate.Of(patient, 101))
			require.NoError(t, err)
			page, err := hub.History(t.Context(), HistoryQuery{Patient: patient})
			require.NoError(t, err)
			require.Len(t, page.Events, 2)
			for _, e := range page.Events {
				require.Equal(t, patient != "newborn", slices.Contains(e.Vital.Quality, QualityQuestionable), patient)
			}
		}
		_, err = hub.Publish(t.Context(), RespiratoryRate.Of("not an ID", 100))
		invalidAt(t, "patient", err)
		require.Equal(t, map[string]int{"newborn": 1, "unknown": 1, "panic": 1, "adult": 1}, asked)
	})
}
