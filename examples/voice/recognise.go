package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

const models = "/usr/share/pocketsphinx/model/en-us"

// recogniser names the program and its model in records.
const recogniser = "pocketsphinx 5prealpha, en-us"

// tempos are how a recording is played to the recogniser: as it is, and a
// little slower and faster. The majority of these counts.
var tempos = []string{"1", "0.95", "1.05"}

// Heard is the result of recognising one recording. Confidence is the share of
// the tempos that agree on Text.
type Heard struct {
	Text       string
	Confidence float64
}

// sure reports whether most agree on something. That is little, and is enough
// only because nothing is done without a confirmation.
func (h Heard) sure() bool { return h.Text != "" && h.Confidence > 0.5 }

// recognise hears recordings (WAV files) under a grammar, up to 6.5 kHz, because
// the model was trained on that range. It runs Debian's pocketsphinx once for all.
func recognise(ctx context.Context, grammar string, recordings []string) ([]Heard, error) {
	dir, err := os.MkdirTemp("", "carewire-voice")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var list strings.Builder
	for i, wav := range recordings {
		for j, tempo := range tempos {
			name := fmt.Sprintf("%d-%d", i, j)
			if err := run(ctx, "sox", "-R", wav, "-r", "16000", "-c", "1", "-b", "16", filepath.Join(dir, name+".wav"), "gain", "-6", "lowpass", "6500", "tempo", "-s", tempo, "pad", "0.3", "0.3"); err != nil {
				return nil, err
			}
			fmt.Fprintln(&list, name)
		}
	}
	for name, text := range map[string]string{"list": list.String(), "grammar": grammar} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	err = run(ctx, "pocketsphinx_batch", "-hmm", models+"/en-us", "-dict", models+"/cmudict-en-us.dict", "-jsgf", filepath.Join(dir, "grammar"),
		"-adcin", "yes", "-dither", "yes", "-seed", "1", "-cepdir", dir, "-cepext", ".wav", "-ctl", filepath.Join(dir, "list"), "-hyp", filepath.Join(dir, "heard"), "-logfn", "/dev/null")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "heard"))
	if err != nil {
		return nil, err
	}
	return agree(string(text), len(recordings))
}

var heardLine = regexp.MustCompile(`^(.*) \((\d+)-\d+ -?\d+\)$`)

// agree reads the recogniser's lines, which are those of the list in order.
func agree(lines string, recordings int) ([]Heard, error) {
	votes := make([]map[string]int, recordings)
	for line := range strings.Lines(lines) {
		m := heardLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			return nil, errors.New("voice: the recogniser's answer cannot be read")
		}
		var i int
		fmt.Sscan(m[2], &i)
		if i >= recordings {
			return nil, errors.New("voice: the recogniser's answer cannot be read")
		}
		if votes[i] == nil {
			votes[i] = map[string]int{}
		}
		votes[i][strings.TrimSpace(m[1])]++
	}
	heard := make([]Heard, recordings)
	for i, v := range votes {
		best := 0
		for text, n := range v {
			if n > best {
				best, heard[i] = n, Heard{text, float64(n) / float64(len(tempos))}
			}
		}
	}
	return heard, nil
}

// speak says text into a WAV file.
func speak(ctx context.Context, text, voice string, wordsAMinute int, wav string) error {
	return run(ctx, "espeak-ng", "-v", voice, "-s", fmt.Sprint(wordsAMinute), "-w", wav, text)
}

func run(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("voice: %s: %w: %s", name, err, out)
	}
	return nil
}
