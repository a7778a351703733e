package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/metrics/prom"
	"github.com/carewire/carewire/rules"
)

const operations = "../docs/operations/"

var needPromtool = needed{"promtool", func() error { _, err := exec.LookPath("promtool"); return err }}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
}

type numbers struct{}

func (numbers) Stats() carewire.Stats { return carewire.Stats{StoreState: "ok"} }

type judged struct{}

func (judged) Stats() rules.Stats {
	return rules.Stats{Rules: map[string]rules.Counts{"a-rule": {}}}
}

// exposed are the names under which Prometheus gets numbers.
func exposed(t *testing.T) map[string]bool {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prom.Collector(numbers{}), prom.RulesCollector(judged{}), prom.IssuerCollector(func() prom.IssuerStats { return prom.IssuerStats{} }))
	families, err := registry.Gather()
	require.NoError(t, err)
	names := make(map[string]bool)
	for _, f := range families {
		names[f.GetName()] = true
		if f.GetType().String() == "HISTOGRAM" {
			for _, end := range []string{"_bucket", "_sum", "_count"} {
				names[f.GetName()+end] = true
			}
		}
	}
	return names
}

var metricName = regexp.MustCompile(`\bcarewire_[a-z_]+`)

// Prometheus accepts the alerting rules. Each fires and stays silent as its tests
// say, and none names a metric that does not exist.
func TestAlertingRules(t *testing.T) {
	t.Parallel()
	need(t, needPromtool)
	promtool(t, "check", "rules", operations+"alerts.yml")
	promtool(t, "test", "rules", operations+"alerts_test.yml")
	text, err := os.ReadFile(operations + "alerts.yml")
	require.NoError(t, err)
	tests, err := os.ReadFile(operations + "alerts_test.yml")
	require.NoError(t, err)
	names := exposed(t)
	for _, name := range metricName.FindAllString(string(text), -1) {
		assert.True(t, names[name], "there is no number %s", name)
	}
	alerts := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, alerts)
	for _, a := range alerts {
		assert.Contains(t, string(tests), "alertname: "+a[1]+"\n        exp_alerts:\n", "%s is not tested to fire", a[1])
		assert.Contains(t, string(tests), "alertname: "+a[1]+"\n        exp_alerts: []", "%s is not tested to stay away", a[1])
	}
	headings := anchors(t)
	for _, m := range regexp.MustCompile(`runbook: docs/operations.md#(\S+)`).FindAllStringSubmatch(string(text), -1) {
		assert.True(t, headings[m[1]], "docs/operations.md has no heading for #%s", m[1])
	}
}

// anchors are the headings of docs/operations.md, as links name them.
func anchors(t *testing.T) map[string]bool {
	b, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	found := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(b), -1) {
		link := strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")
		found[regexp.MustCompile(`[^a-z0-9-]`).ReplaceAllString(link, "")] = true
	}
	return found
}

// The dashboard is valid by Grafana's schema, as its foundation SDK has it. Its
// queries are PromQL, and ask for metrics that exist.
func TestDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(operations + "dashboard.json")
	require.NoError(t, err)
	plugins.RegisterDefaultPlugins()
	//lint:ignore SA1019 Grafana takes files in this form; the next one is for its API
	var d dashboard.Dashboard
	if err := d.UnmarshalJSONStrict(text); err != nil {
		require.Empty(t, err.Error()) // it returns a list, which is empty if nothing is wrong
	}
	require.NoError(t, d.Validate())

	var queries struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &queries))
	names, asked := exposed(t), make(map[string]bool)
	variables := strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h", "$instance", ".*")
	file := "groups:\n  - name: dashboard\n    rules:\n"
	for n, p := range queries.Panels {
		for i, q := range p.Targets {
			for _, name := range metricName.FindAllString(q.Expr, -1) {
				assert.True(t, names[name], "%s asks for %s, which there is not", p.Title, name)
				asked[name] = true
			}
			file += "      - record: panel_" + strconv.Itoa(n) + "_" + strconv.Itoa(i) + "\n        expr: " + strconv.Quote(variables.Replace(q.Expr)) + "\n"
		}
	}
	require.Greater(t, len(asked), 30)
	document, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	for name := range names {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		assert.Contains(t, string(document), "`"+base+"`", "docs/operations.md does not explain it")
	}
	need(t, needPromtool)
	path := filepath.Join(t.TempDir(), "queries.yml")
	require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
	promtool(t, "check", "rules", path)
}
