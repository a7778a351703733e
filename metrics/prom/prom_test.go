package prom_test

import (
	"fmt"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
	"github.com/carewire/carewire/metrics/prom"
	"github.com/carewire/carewire/rules"
)

type fixed carewire.Stats

func (f fixed) Stats() carewire.Stats { return carewire.Stats(f) }

func scrape(t *testing.T, s prom.Source) string { return collect(t, prom.Collector(s)) }

func collect(t *testing.T, c prometheus.Collector) string {
	reg := prometheus.NewPedanticRegistry()
	require.NoError(t, reg.Register(c))
	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 200, w.Code, w.Body)
	return w.Body.String()
}

func TestNumbers(t *testing.T) {
	s := carewire.Stats{EventsIn: 7, Connections: 3, StoreState: "slow", StoreSince: time.Unix(1000, 0),
		Delay: carewire.Histogram{Bounds: []time.Duration{time.Millisecond, time.Second}, Counts: []uint64{5, 2, 1}, Sum: 4 * time.Second}}
	s.Handshakes.Tried, s.Handshakes.Accepted, s.Limits.PerAddress = 5, 4, 2
	got := scrape(t, fixed(s))
	for _, line := range []string{
		"# TYPE carewire_events_in_total counter", "carewire_events_in_total 7", "carewire_connections 3",
		`carewire_handshakes_total{kind="accepted"} 4`, `carewire_limits_total{kind="per_address"} 2`,
		`carewire_store_state{state="slow"} 1`, `carewire_store_state{state="ok"} 0`, "carewire_store_since_timestamp_seconds 1000",
		`carewire_delay_seconds_bucket{le="0.001"} 5`, `carewire_delay_seconds_bucket{le="1"} 7`, `carewire_delay_seconds_bucket{le="+Inf"} 8`,
		"carewire_delay_seconds_sum 4", "carewire_delay_seconds_count 8",
	} {
		require.Contains(t, got, line+"\n")
	}
	require.NotContains(t, got, "tried")
}

// Every field of Stats reaches Prometheus: one that is set alone changes
// the scrape.
func TestNothingIsLeftOut(t *testing.T) {
	before := scrape(t, fixed{})
	var walk func(path string, typ reflect.Type, get func(*carewire.Stats) reflect.Value)
	walk = func(path string, typ reflect.Type, get func(*carewire.Stats) reflect.Value) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := path + "." + f.Name
			var s carewire.Stats
			v := get(&s).Field(i)
			switch v.Interface().(type) {
			case carewire.Histogram:
				v.Set(reflect.ValueOf(carewire.Histogram{Bounds: []time.Duration{1}, Counts: []uint64{1, 1}}))
			case []carewire.MemberStats:
				v.Set(reflect.ValueOf([]carewire.MemberStats{{Name: "a", Parts: 5, State: "failing"}}))
			case time.Time:
				v.Set(reflect.ValueOf(time.Unix(5, 0)))
			case string:
				v.SetString("ok")
			default:
				switch v.Kind() {
				case reflect.Uint64:
					v.SetUint(5)
				case reflect.Int, reflect.Int64:
					v.SetInt(5)
				case reflect.Float64:
					v.SetFloat(5)
				case reflect.Bool:
					v.SetBool(true)
				case reflect.Struct:
					walk(name, f.Type, func(s *carewire.Stats) reflect.Value { return get(s).Field(i) })
					continue
				default:
					t.Fatalf("%s is of a kind that is not collected: %v", name, f.Type)
				}
			}
			if f.Name == "Tried" { // the sum of the others
				continue
			}
			require.NotEqual(t, before, scrape(t, fixed(s)), name)
		}
	}
	walk("Stats", reflect.TypeFor[carewire.Stats](), func(s *carewire.Stats) reflect.Value { return reflect.ValueOf(s).Elem() })
}

type judged rules.Stats

func (j judged) Stats() rules.Stats { return rules.Stats(j) }

// A Judge's counters reach Prometheus, by rule.
func TestRules(t *testing.T) {
	c := prom.RulesCollector(judged{Vitals: 9, Patients: 2, Failed: 1, Rules: map[string]rules.Counts{
		"spo2-low": {Raised: 7, Accepted: 5, Rejected: 4, Closed: 3, SelfEnded: 2, FlapsHeld: 1, LevelsPaged: 8, ToAcceptance: 90 * time.Second}, "hr-high": {}}})
	problems, err := testutil.CollectAndLint(c)
	require.NoError(t, err)
	require.Empty(t, problems)
	got := collect(t, c)
	for _, line := range []string{"carewire_rules_vitals_total 9", "carewire_rules_patients 2", "carewire_rules_failed_total 1",
		`carewire_rule_raised_total{rule="spo2-low"} 7`, `carewire_rule_accepted_total{rule="spo2-low"} 5`, `carewire_rule_rejected_total{rule="spo2-low"} 4`,
		`carewire_rule_closed_total{rule="spo2-low"} 3`, `carewire_rule_self_ended_total{rule="spo2-low"} 2`, `carewire_rule_flaps_held_total{rule="spo2-low"} 1`,
		`carewire_rule_levels_paged_total{rule="spo2-low"} 8`, `carewire_rule_to_acceptance_seconds{rule="spo2-low"} 90`, `carewire_rule_raised_total{rule="hr-high"} 0`} {
		require.Contains(t, got, line+"\n")
	}
}

// So do the counts of an Authenticator.
func TestIssuer(t *testing.T) {
	c := prom.IssuerCollector(func() prom.IssuerStats {
		return prom.IssuerStats{Accepted: 1, Refused: 2, Forbidden: 3, Undecided: 4, Refusals: map[string]uint64{"expired": 11, "audience": 12}, Powerless: 13, KeysAge: 5 * time.Second, KeysFailed: 6, Introspected: 7, Remembered: 8, Logouts: 9, LogoutsRefused: 10}
	})
	problems, err := testutil.CollectAndLint(c)
	require.NoError(t, err)
	require.Empty(t, problems)
	got := collect(t, c)
	for _, line := range []string{`carewire_issuer_tokens_total{kind="accepted"} 1`, `carewire_issuer_tokens_total{kind="refused"} 2`, `carewire_issuer_tokens_total{kind="forbidden"} 3`,
		`carewire_issuer_tokens_total{kind="undecided"} 4`, "carewire_issuer_keys_age_seconds 5", "carewire_issuer_keys_failed_total 6", `carewire_issuer_introspections_total{kind="asked"} 7`,
		`carewire_issuer_introspections_total{kind="remembered"} 8`, `carewire_issuer_logouts_total{kind="ended"} 9`, `carewire_issuer_logouts_total{kind="refused"} 10`,
		`carewire_issuer_refusals_total{reason="audience"} 12`, `carewire_issuer_refusals_total{reason="expired"} 11`, "carewire_issuer_powerless_total 13"} {
		require.Contains(t, got, line+"\n")
	}
}

// A real Hub's metrics keep to Prometheus's conventions and name nobody.
func TestHub(t *testing.T) {
	hub, err := carewire.New(&carewiretest.Door{}, carewire.NewMemoryStore(nil), nil)
	require.NoError(t, err)
	defer hub.Shutdown(t.Context())
	_, err = hub.Publish(t.Context(), carewire.HeartRate.Of("canary-patient", 72))
	require.NoError(t, err)
	problems, err := testutil.CollectAndLint(prom.Collector(hub))
	require.NoError(t, err)
	require.Empty(t, problems)
	got := scrape(t, hub)
	require.Contains(t, got, "carewire_events_in_total 1\n")
	require.False(t, strings.Contains(got, "canary"), "a metric names somebody")
}

func ExampleCollector() {
	hub, err := carewire.New(carewire.AuthenticatorFunc(nil), carewire.NewMemoryStore(nil), nil)
	if err != nil {
		panic(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(prom.Collector(hub))
	families, err := registry.Gather() // promhttp.HandlerFor(registry, …) does this for each scrape
	fmt.Println(len(families) > 20, err)
	// Output: true <nil>
}
