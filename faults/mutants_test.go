package faults

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/faults/drive"
)

var allMutants = flag.Bool("faults.mutants", false, "TestMutants tries all of them")

// An edit of one file of the repository.
type edit struct{ file, old, new string }

// A mutant is carewire with a fault put in on purpose. A test must notice it,
// and say why.
type mutant struct {
	name  string
	test  string // of this package, or behind .. of the root
	why   string // matches the output of the test
	quick bool   // it is tried in CI
	edits []edit
}

var mutants = []mutant{
	{"nothing is synced", "TestSyncedBeforeConfirmed", `reply \d+ came before the sync`, false, []edit{
		{"boltstore/store.go", "Timeout: timeout, NoFreelistSync: true,", "Timeout: timeout, NoSync: true, NoFreelistSync: true,"}}},
	{"ok before append", "TestSyncedBeforeConfirmed", `reply \d+ came before the sync`, true, confirmedEarly},
	{"ok before append, killed", "TestKilledUnderLoad", `was confirmed|is there 0 times|was another before|came after|caught up at`, false, confirmedEarly},
	{"a failed sync is ignored", "TestBrokenCalls", `the node goes on`, false, []edit{
		{"boltstore/store.go", "Timeout: timeout, NoFreelistSync: true,", "Timeout: timeout, NoSync: true, NoFreelistSync: true,"},
		{"boltstore/store.go", "if err = guard(tx.Commit); err == nil {", "if err = guard(tx.Commit); err == nil {\n\t\t\t_ = s.db.Sync()"}}},
	{"page before record", "TestKilledBetweenRecordAndPage", `was paged before it was claimed`, false, []edit{
		{"escalate.go", "\tmine, err := x.alerts.change(ctx, c, unlessEnded", "\tif next, ok := claimLevel(&expired, x.logs.now(), x.logs.now()); ok {\n\t\tw := x.plan(ctx, &next)\n\t\tx.page(ctx, &next, &w, func(context.Context) bool { return false })\n\t}\n\tmine, err := x.alerts.change(ctx, c, unlessEnded"},
		{"escalate.go", "if !x.page(ctx, &mine, &w, func(ctx context.Context) bool { return x.unneeded(ctx, &mine) }) {", "if w.handed, w.paged = true, true; false {"}}},
	{"page skipped after record", "TestKilledBetweenRecordAndPage", `no line .*page|and no page went out`, false, []edit{
		{"escalate.go", "if !x.page(ctx, &mine, &w, func(ctx context.Context) bool { return x.unneeded(ctx, &mine) }) {", "if w.paged = true; mine.Escalation.Level%2 != 0 && !x.page(ctx, &mine, &w, func(ctx context.Context) bool { return x.unneeded(ctx, &mine) }) {"}}},
	{"must does not advance", "TestKilledUnderLoad", `with count \d+, not \d+|with count \d+ came after`, false, []edit{
		{"boltstore/codec.go", "func (h *head) must() uint64 { return h.counts[undroppable] }", "func (h *head) must() uint64 { return min(h.counts[undroppable], 7) }"}}},
	{"no reading of entries missing behind the cursor", "..TestForeignEntriesAreFilledIn", `--- FAIL: TestForeignEntriesAreFilledIn`, false, []edit{
		{"lane.go", "if r.Epoch == c.Epoch && r.Seq > c.Seq+1 && !c.unknown {", "if false {"},
		{"lane.go", "case r.Seq > c.Seq+1:", "case false:"}}},
	{"resume off by one", "TestKilledUnderLoad", `came after|caught up at`, false, []edit{
		{"catchup.go", "\t\tfrom = *since\n", "\t\tfrom = *since\n\t\tif from.Seq < latest.Seq {\n\t\t\tfrom.Seq++\n\t\t}\n"}}},
	{"epoch ignored", "TestOlderCopy", `a client that knows more resumes`, true, []edit{
		{"catchup.go", "\tif p == (Position{}) {\n\t\treturn true\n\t}\n", "\tif p == (Position{}) || p.Seq <= h.Seq {\n\t\treturn true\n\t}\n"}}},
	{"deadline lost on restart", "TestKilledBetweenRecordAndPage", `too late: .* is at level|no line .*page`, false, []edit{
		{"openviews.go", "if !listed[o] && of(o.Patient) {", "if !listed[o] && of(o.Patient) && !o.Received.Before(born) {"},
		{"openviews.go", "// due returns the alerts", "var born = time.Now()\n\n// due returns the alerts"}}},
	{"NOTIFY-only delivery", "TestListenerIsCut", `too late: +heard-`, false, []edit{
		{"pgstore/listen.go", "\t\tif !s.hearing.Load() {\n\t\t\ts.heard.add(nil)\n\t\t}\n", ""},
		{"openfollow.go", "\t\tcase <-every.C:\n\t\tcase <-news:", "\t\tcase <-news:"},
		{"visit.go", "\t\th.lanes.compareSome(n % compares)\n", ""}}},
	{"a level is recorded though another node has done so", "TestPausedBeyondItsClaims", `level 1 is notified after level 1, notified`, false, []edit{
		{"escalate.go", "if prev.Escalation.State != EscalationClaimed || prev.Escalation.Level != level {", "if prev.Escalation.Level != level {"}}},
	{"a late commit is passed over", "TestSlowCommitsHideAndStallNothing", `Messages:\s+tx-`, false, []edit{
		{"pgstore/drain.go", "where n = any($1::bigint[])`\n\tlaterSQL", "where n <= (select max(x) from unnest($1::bigint[]) x)`\n\tlaterSQL"}}},
	{"a Judge does not compare with the log when it begins", "TestJudgeGivesARuleUp", `the alert is not over`, false, []edit{
		{"rules/rebuild.go", "\tc.reconcile()\n", ""}}},
	{"a failing store is kept from clients", "TestNodeThatIsCutOffSaysSo", `too late: +status`, false, []edit{
		{"status.go", "\t\t\tc.out.send(statusFrame(now.state, now.since, nil))\n", "\t\t\t_ = c\n"}}},
}

var confirmedEarly = []edit{
	{"boltstore/append.go", "\t\treturn f.finish()\n\t})\n", "\t\tfor _, r := range batch {\n\t\t\tclose(r.done)\n\t\t}\n\t\ttime.Sleep(20 * time.Millisecond)\n\t\treturn f.finish()\n\t})\n"},
	{"boltstore/append.go", "\t\t\tclose(r.done)\n\t\t}\n\t}\n}\n\n// drain", "\t\t}\n\t}\n}\n\n// drain"},
}

// The suite notices faults that are put in on purpose. An edit that no longer
// finds its place fails the test.
func TestMutants(t *testing.T) {
	t.Parallel()
	if os.Getenv(drive.ProgramEnv) != "" {
		t.Skip("it is a mutant that is tested")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			overlay := m.overlay(t) // also of those that are not tried: they must not rot
			if !m.quick && !*allMutants {
				t.Skip("-faults.mutants tries it")
			}
			if strings.Contains(m.test, "Synced") || strings.Contains(m.test, "Broken") {
				needStrace(t)
			}
			began := time.Now()
			var cmd *exec.Cmd
			if test, ok := strings.CutPrefix(m.test, ".."); ok {
				cmd = exec.CommandContext(t.Context(), "go", "test", "-C", "..", "-overlay", overlay, "-run", "^"+test+"$", "-timeout", "2m", ".")
			} else {
				program := filepath.Join(t.TempDir(), "node")
				require.NoError(t, drive.Build(program, "-overlay", overlay))
				cmd = exec.CommandContext(t.Context(), self, "-test.run", "^"+m.test+"$", "-test.timeout", "8m")
				cmd.Env = append(os.Environ(), drive.ProgramEnv+"="+program)
			}
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "%s does not notice it", m.test)
			said := regexp.MustCompile(`.*(` + m.why + `).*`).Find(out)
			require.NotNil(t, said, "%s fails, but says:\n%.3000s", m.test, out)
			t.Logf("%s noticed it after %v: %s", m.test, time.Since(began).Round(time.Second), strings.TrimSpace(string(said)))
		})
	}
}

// overlay makes the file for go build -overlay.
func (m *mutant) overlay(t *testing.T) string {
	dir := t.TempDir()
	replace := make(map[string]string)
	for i, e := range m.edits {
		file, err := filepath.Abs(filepath.Join("..", e.file))
		require.NoError(t, err)
		source := file
		if replace[file] != "" {
			source = replace[file]
		}
		text, err := os.ReadFile(source)
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(text), e.old), "%s has not once: %s", e.file, e.old)
		replace[file] = filepath.Join(dir, string(rune('a'+i))+".go")
		require.NoError(t, os.WriteFile(replace[file], []byte(strings.Replace(string(text), e.old, e.new, 1)), 0o600))
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	file := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(file, b, 0o600))
	return file
}
