package main

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
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

// judged runs a scene's sights through the rule, and says how often an alert was
// raised, how long after the first sight of an exit, and how many frames could
// not be judged.
func judged(t *testing.T, sights []sight) (raised int, after time.Duration, blind int) {
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
		v := s.vital("p-1", now)
		v.Received = now
		c.Vital(carewire.Position{Epoch: "e", Seq: uint64(i + 1)}, &v)
		for _, x := range c.Owed() {
			if x.Kind == rules.Raised && x.Rule == "bed-exit" {
				raised++
				after = now.Sub(left)
			}
		}
		now = now.Add(frameEvery)
	}
	return raised, after, blind
}

// Whoever leaves the bed is noticed once, and nobody else is. Where the camera
// cannot tell, that is said and nothing is raised.
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
		raised, after, blind := judged(t, sights[i*framesOfAScene:(i+1)*framesOfAScene])
		switch {
		case x.exit:
			exits++
			if raised != 1 {
				missed++
			}
			require.GreaterOrEqual(t, after, persistence, name)
			require.LessOrEqual(t, after, persistence+2*time.Second, name)
		default:
			quiet++
			wrong += raised
		}
		require.Equal(t, x.blind, blind > 10, "%s: %d frames could not be judged", name, blind)
	}
	t.Logf("%d exits, %d missed; %d scenes without one, %d false alerts", exits, missed, quiet, wrong)
	require.Zero(t, missed)
	require.Zero(t, wrong)
}
