package main

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/examples/internal/figures"
	"github.com/carewire/carewire/rules"
)

func needOpenCV(t *testing.T) {
	t.Helper()
	if err := exec.Command("/usr/bin/python3", "-c", "import cv2").Run(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("python3-opencv is missing: ", err)
		}
		t.Skip("vision needs Debian's python3-opencv: ", err)
	}
}

const framesOfAScene = 80

// judged runs a scene's sights through the rule, and returns the alerts that
// were raised, how long after the first sight of an exit, how many frames could not be
// judged, and where the rule stands at the end.
func judged(t *testing.T, sights []sight) (raised []carewire.Raise, after time.Duration, blind int, last rules.Standing) {
	t.Helper()
	set, err := rules.NewSet(bedExit())
	require.NoError(t, err)
	c := rules.NewCase(set, "p-1", rules.Settings{})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var left time.Time
	for i, s := range sights {
		if s.Unknown != "" {
			blind++
		} else if s.Out >= 0.75 && left.IsZero() {
			left = now
		}
		for k, v := range s.vitals("p-1", now) {
			v.Received = now // without an ID, as the program publishes them
			c.Vital(carewire.Position{Epoch: "e", Seq: uint64(2*i + k + 1)}, &v)
		}
		for _, x := range c.Owed() {
			if x.Kind == rules.Raised && x.Rule == "bed-exit" {
				raised = append(raised, x.Alert)
				after = now.Sub(left)
			}
		}
		now = now.Add(frameEvery)
	}
	return raised, after, blind, c.Explain(now)[0]
}

// A rule says in words that the camera cannot see, and raises a technical alert if
// that lasts. The alert has the person's place, as text and as an input.
func TestBedExit(t *testing.T) {
	seen := func(n int, s sight) (list []sight) {
		for range n {
			list = append(list, s)
		}
		return list
	}
	_, _, _, last := judged(t, append(seen(4, sight{Where: "bed"}), seen(4, sight{Unknown: "too dark"})...))
	require.Equal(t, rules.StandingUnknown, last.State)
	require.Equal(t, "the camera cannot see who is in bed", last.Detail)
	for _, where := range []string{"floor", "nobody"} {
		raised, _, _, _ := judged(t, append(seen(4, sight{Where: "bed"}), seen(20, sight{Where: where, Out: 0.9})...))
		require.Len(t, raised, 1)
		require.NoError(t, raised[0].Validate())
		require.Equal(t, "Has left the bed (zone: "+where+"; bedexit.py 1, confidence 0.90)", raised[0].Text)
		require.Equal(t, carewire.Recognition{Kind: carewire.RecognitionImage, Model: "bedexit.py 1", Confidence: "0.9"}, raised[0].Source.Recognition)
		found := false
		for _, in := range raised[0].Source.Inputs {
			found = found || in.Code == zone && in.Coded == carewire.Coding{System: system, Code: where}
		}
		require.True(t, found, "the zone is an input")
	}
}

// A person who leaves the bed is noticed once, and nobody else is. Where the
// camera cannot tell, that is said and nothing is raised.
func TestScenes(t *testing.T) {
	needOpenCV(t)
	scenes := []struct {
		name        string
		exit, blind bool
	}{
		{"lies", false, false}, {"restless", false, false}, {"sits", false, false}, {"leaves", true, false}, {"falls", true, false},
		{"returns", false, false}, {"visit", false, true}, {"dark", false, true},
	}
	const seeds = 3
	var list []string
	for _, x := range scenes {
		for seed := range seeds {
			list = append(list, fmt.Sprint(x.name, ":", seed))
		}
	}
	var sights []sight
	require.NoError(t, camera(t.Context(), list, func(s sight) error { sights = append(sights, s); return nil }))
	require.Len(t, sights, len(list)*framesOfAScene)
	var exits, missed, quiet, wrong int
	for i, name := range list {
		x := scenes[i/seeds]
		raised, after, blind, _ := judged(t, sights[i*framesOfAScene:(i+1)*framesOfAScene])
		switch {
		case x.exit:
			exits++
			if len(raised) != 1 {
				missed++
			}
			for _, a := range raised {
				require.Regexp(t, "zone: [a-z]+;", a.Text, name)
			}
			require.GreaterOrEqual(t, after, persistence, name)
			require.LessOrEqual(t, after, persistence+2*time.Second, name)
		default:
			quiet++
			wrong += len(raised)
		}
		require.Equal(t, x.blind, blind > 10, "%s: %d frames could not be judged", name, blind)
	}
	figures.Print(t, "vision: %d exits, %d missed; %d scenes without one, %d false alerts", exits, missed, quiet, wrong)
	require.Zero(t, missed)
	require.Zero(t, wrong)
}
