package integration

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/rules"
)

// A clinician changes a patient's limit on the page of the ward. A wrong limit is
// reported. Others see its author, the alert names the author, and users who may not
// change it are offered no form.
func TestBrowserLimits(t *testing.T) {
	b := openBrowser(t)
	w := openWard(t, "-seed", "1", "-quiet", "-step", "600")
	gateway := dial(t, w.url(), "gateway-1")
	const patient, dialog, high = "p-13", "#limits", `#limits [data-rule="bp-high"]`
	limits := func(p tab, id string) {
		p.click(`cw-patient[patient="` + id + `"] h3 button`)
		p.click("#drawer-limits")
	}
	ada := b.open("ada", w.http()+"/#token=nurse-ada")
	bell := b.open("bell", w.http()+"/#token=dr-bell")
	screen := b.open("screen", w.http()+"/?view=desk#token=screen-5")
	rosa := b.open("rosa", w.http()+"/#token=rosa")

	limits(ada, patient)
	ada.shows("#limits-title", "Limits of Max Ortiz")
	ada.shows(high+" summary", "◆ Medium above 180 mmHg")
	ada.shows(high+" summary", "As usual")
	ada.shows(dialog+` [data-rule="hr-high"] summary`, "◆ Medium above 130, ▲ High above 150 /min")
	ada.shows(dialog+` [data-rule="temp-high"] summary`, "● Low above 38.5 °C")
	ada.click(high + " summary")
	save := func(at, reason string) {
		ada.fill(high+" input[type=number]", at)
		ada.fill(high+" .reason", reason)
		ada.click(high + ` button:text-is("Save")`)
	}
	for _, c := range []struct{ at, reason, wrong string }{
		{"150", "", "reason: say why"},
		{"", "x", "A limit must be a number."},
		{"1500", "x", "at: must be from 50 to 240"},
		{"100", "x", `at: is too near to the limit of "Blood pressure low"`},
	} {
		save(c.at, c.reason)
		ada.shows(high+" .wrong", c.wrong)
	}
	save("150", "after surgery")
	ada.shows("#limits-said", "Saved: Blood pressure high")
	ada.shows(high+" summary", "◆ Medium above 150 mmHg")
	ada.shows(high+" summary", "Set by Nurse Ada, ")
	ada.shoot("limits")
	ada.click(`#limits button:text-is("Done")`)

	// A colleague sees whose it is, and the alert explains itself.
	limits(bell, patient)
	bell.shows(high+" summary", "◆ Medium above 150 mmHg")
	bell.shows(high+" summary", ": after surgery")
	bell.click(`#limits button:text-is("Done")`)
	process.Poll(t, process.Patience, func() (bool, string) { // it counts within seconds
		publish(t, gateway, carewire.BloodPressure.Of(patient, 160, 80))
		texts := bell.texts("#alerts li.row")
		return len(texts) > 0, "the alert"
	})
	bell.click(row("BP sys 160 > 150 mmHg") + " .more")
	bell.shows("#alerts .long", "Blood pressure high (limit of this patient, set by Nurse Ada: after surgery)")
	bell.shows("#alerts .long", "≤ 150 mmHg, well at 140")

	// The tile says why there is no score.
	for _, p := range []tab{ada, screen} {
		p.shows(card("p-01", "NEWS2"), "no score: respiration is missing, ")
	}
	ada.shows(card(patient, "NEWS2"), "no score: respiration is missing, ")

	// Where all is known, the score is a number.
	const scored = "p-02"
	for _, v := range []carewire.Vital{carewire.RespiratoryRate.Of(scored, 21), carewire.SpO2.Of(scored, 95), carewire.OxygenFlow.Of(scored, 0),
		carewire.BloodPressure.Of(scored, 120, 80), carewire.HeartRate.Of(scored, 95), carewire.BodyTemperature.Of(scored, 37),
		{Patient: scored, Code: carewire.Consciousness, Coded: &carewire.Coding{System: rules.House, Code: "A"}}} {
		publish(t, gateway, v)
	}
	for _, p := range []tab{ada, screen} {
		p.shows(card(scored, "NEWS2")+" .value", "4") // 2 of respiration, 1 of the saturation, 1 of the pulse
		for _, text := range p.texts(card(scored, "NEWS2")) {
			require.NotContains(t, text, "no score")
		}
	}

	// Every tile of the ward shows its score, or why there is none.
	score := fmt.Sprintf(`cw-patients cw-patient [data-code="%s"]`, codes["NEWS2"])
	for p, tiles := range map[tab]int{ada: 13, screen: 8} { // both wards; ward 5
		process.Poll(t, process.Patience, func() (bool, string) {
			var why, numbers int
			for _, text := range p.texts(score) {
				if regexp.MustCompile(`no score: .+ is missing`).MatchString(text) {
					why++
				}
			}
			for _, text := range p.texts(score + " .value") {
				if regexp.MustCompile(`^\s*\d+\s*$`).MatchString(text) {
					numbers++
				}
			}
			all := len(p.texts("cw-patients cw-patient"))
			return all == tiles && numbers == 1 && why == tiles-1, fmt.Sprintf("%s: %d tiles, %d scores, %d reasons", p.name, all, numbers, why)
		})
	}

	wide := true
	ada.do(map[string]string{"do": "wide", "tab": ada.name}, &wide)
	require.False(t, wide, "something stands out of its tile")
	ada.shoot("scores")

	// A screen shows limits, and has no form; a patient has neither.
	limits(screen, "p-01")
	screen.shows(dialog+` [data-rule="bp-high"] summary`, "180 mmHg")
	screen.click(dialog + ` [data-rule="bp-high"] summary`)
	require.Empty(t, screen.texts("#limits-list form"))
	rosa.shows(lineWord, "Live")
	rosa.shows("#own dl", "Heart rate")
	require.Empty(t, rosa.texts("#drawer-limits"))

	// Back to the usual limits, with a reason.
	limits(bell, patient)
	bell.click(high + " summary")
	bell.fill(high+" .reason", "well again")
	bell.click(high + ` button:text-is("As usual")`)
	bell.shows(high+" summary", "◆ Medium above 180 mmHg")
	bell.shows(high+" summary", "Back to usual by Dr. Bell, ")
	for _, p := range []tab{ada, bell, screen, rosa} {
		for _, line := range p.said() {
			require.Regexp(t, `400 \(Bad Request\)`, line, fmt.Sprintf("%s wrote to its console", p.name))
		}
	}
}
