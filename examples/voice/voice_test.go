package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/examples/internal/figures"
)

func needSpeech(t *testing.T) {
	t.Helper()
	for _, name := range []string{"espeak-ng", "sox", "pocketsphinx_batch"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip("speech needs Debian's pocketsphinx, pocketsphinx-en-us, espeak-ng and sox: ", err)
		}
	}
}

// A microphone holds the answers.
type microphone struct {
	answers, calls []string
	heard          carewire.Recognition // of the last answer or call
}

func (m *microphone) Answer(_ context.Context, ref carewire.AlertRef, a carewire.Answer) (carewire.Alert, error) {
	m.answers, m.heard = append(m.answers, fmt.Sprint(a.Do, " ", ref.Patient)), a.Source
	return carewire.Alert{}, nil
}

func (m *microphone) Raise(_ context.Context, r carewire.Raise) (carewire.Alert, error) {
	m.calls, m.heard = append(m.calls, r.Key), r.Source.Recognition
	return carewire.Alert{Key: r.Key}, nil
}

// fullWard has one open alert in each bed.
func fullWard() *ward {
	w := newWard(map[string]int{})
	for bed := 1; bed <= len(bedNames); bed++ {
		p := fmt.Sprint("p-", bed)
		w.beds[p] = bed
		w.note(carewire.Event{Alert: &carewire.Alert{Patient: p, Key: "k", ID: "a", Rev: 7, Condition: carewire.ConditionPresent}})
	}
	return w
}

// The dialogue acts on confirmed commands, and on nothing else.
func TestDialogue(t *testing.T) {
	sure := func(s string) Heard { return Heard{s, 1} }
	for name, x := range map[string]struct {
		command, confirmation Heard
		want                  []string
	}{
		"accepted":                      {sure("accept bed four"), sure("confirm bed four"), []string{"accept p-4"}},
		"rejected":                      {sure("reject bed twelve"), sure("confirm bed twelve"), []string{"reject p-12"}},
		"another bed":                   {sure("accept bed four"), sure("confirm bed five"), nil},
		"cancelled":                     {sure("accept bed four"), sure("cancel that"), nil},
		"the call instead":              {sure("accept bed four"), sure("confirm the call"), nil},
		"nothing":                       {sure("accept bed four"), Heard{}, nil},
		"not sure of the command":       {Heard{"accept bed four", 1. / 3}, sure("confirm bed four"), nil},
		"not sure of the answer":        {sure("accept bed four"), Heard{"confirm bed four", 1. / 3}, nil},
		"a question only":               {sure("what is bed four"), sure("confirm bed four"), nil},
		"a call":                        {sure("call a nurse"), sure("confirm the call"), []string{"call"}},
		"a command outside the grammar": {sure("close bed four"), sure("confirm bed four"), nil},
		"a bed that does not exist":     {sure("accept bed thirteen"), sure("confirm bed thirteen"), nil},
	} {
		m := &microphone{}
		d := &dialogue{ward: fullWard(), client: m}
		if _, awaits := d.command(x.command); awaits {
			_, err := d.confirm(t.Context(), x.confirmation)
			require.NoError(t, err)
		}
		require.Equal(t, x.want, append(m.answers, m.calls...), name)
		if len(x.want) > 0 {
			require.Equal(t, carewire.Recognition{Kind: carewire.RecognitionSpeech, Model: "pocketsphinx 5prealpha, en-us", Confidence: "1"}, m.heard, name)
		}
	}
}

// Only one open alert of a bed can be meant; one that is over cannot.
func TestWhichAlert(t *testing.T) {
	w := fullWard()
	alert := func(key string, over bool) {
		a := carewire.Alert{Patient: "p-4", Key: key, ID: "a", Condition: carewire.ConditionPresent}
		if over {
			a.Ended, a.Condition = time.Now(), carewire.ConditionOver
		}
		w.note(carewire.Event{Alert: &a})
	}
	awaits := func() bool {
		_, ok := (&dialogue{ward: w}).command(Heard{"accept bed four", 1})
		return ok
	}
	require.True(t, awaits())
	alert("k2", false)
	require.False(t, awaits(), "two are open")
	alert("k2", true)
	require.True(t, awaits())
	alert("k", true)
	require.False(t, awaits(), "none is open")
}

// An utterance is a spoken text, the way of speaking, and the speaker's aim.
type utterance struct {
	text    string
	command *command // nil: chatter
	clean   bool
}

// utterances makes 200: sixty commands as they are, seventy with noise, and
// seventy sentences that are no command, some of them near to one.
func utterances() []utterance {
	chatter := strings.Split("the weather is nice today;please bring me the red bucket;accept the offer on the house;I need a new bed for my son;what time is lunch;"+
		"close bed four;accept bread for the children;she said that the nurse would come;can you call my daughter;what is bad about it;the patient in bed four sleeps;"+
		"do not accept anything;reject the idea;eleven times two is twenty two;how is bed nine doing;nurse;bed four;accept;four five six seven;call an ambulance now;"+
		"what a nice bed;we except bed for guests;the red one is ready;I was at the bank;did you hear that;no no no;turn the light off;it is ten past eleven;"+
		"reset bed five;what is better too;a nurse called", ";")
	rng := rand.New(rand.NewPCG(1, 2))
	var list []utterance
	for i := range 200 {
		if i >= 130 {
			list = append(list, utterance{text: chatter[i%len(chatter)]})
			continue
		}
		c := command{verb: []string{"accept", "reject", "ask", "call"}[i%4], bed: 1 + rng.IntN(len(bedNames))}
		text := map[string]string{"accept": "accept bed ", "reject": "reject bed ", "ask": "what is bed "}[c.verb] + bedNames[c.bed-1]
		if c.verb == "call" {
			c.bed, text = 0, "call a nurse"
		}
		list = append(list, utterance{text, &c, i < 60})
	}
	return list
}

// record speaks texts, with noise where noisy says so: another part of it for each text, and
// the same one in each run.
func record(t *testing.T, dir, kind string, texts []string, noisy func(i int) bool) []string {
	t.Helper()
	var files []string
	for i, text := range texts {
		wav := filepath.Join(dir, fmt.Sprint(kind, i, ".wav"))
		require.NoError(t, speak(t.Context(), text, "en-us+f5", 130+5*(i%3), wav))
		if noisy(i) {
			loud := []string{"0.002", "0.005", "0.01", "0.03"}[i%4]
			mixed := filepath.Join(dir, fmt.Sprint(kind, i, "n.wav"))
			cmd := exec.CommandContext(t.Context(), "sh", "-c", `sox -R "$1" -p pad "$4" synth pinknoise trim "$4" vol "$3" | sox -R -m "$1" - "$2"`, "sh", wav, mixed, loud, fmt.Sprint(0.37*float64(i)))
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			wav = mixed
		}
		files = append(files, wav)
	}
	return files
}

// 200 utterances, with noise and chatter among them, give no answer that was
// not meant, and at least nine of ten clean commands are understood. The
// speaker confirms the command that the program repeats if it is right, and says
// "cancel that" otherwise.
func TestSpeech(t *testing.T) {
	needSpeech(t)
	list, dir := utterances(), t.TempDir()
	texts, answers := make([]string, len(list)), make([]string, len(list))
	for i, u := range list {
		texts[i] = u.text
	}
	heard, err := recognise(t.Context(), commandGrammar, record(t, dir, "c", texts, func(i int) bool { return !list[i].clean }))
	require.NoError(t, err)
	for i, u := range list {
		answers[i] = "cancel that"
		if c, ok := parseCommand(heard[i].Text); ok && u.command != nil && c == *u.command {
			answers[i] = c.confirmation()
		}
	}
	confirmed, err := recognise(t.Context(), confirmGrammar, record(t, dir, "a", answers, func(i int) bool { return !list[i].clean }))
	require.NoError(t, err)

	var clean, understood, noisy, noisyDone, chatter, proposed, wrong int
	for i, u := range list {
		m := &microphone{}
		d := &dialogue{ward: fullWard(), client: m}
		_, awaits := d.command(heard[i])
		if awaits {
			_, err := d.confirm(t.Context(), confirmed[i])
			require.NoError(t, err)
		}
		right := ""
		if u.command != nil {
			right = map[string]string{"accept": fmt.Sprint("accept p-", u.command.bed), "reject": fmt.Sprint("reject p-", u.command.bed), "call": "call"}[u.command.verb]
		}
		did := strings.Join(append(m.answers, m.calls...), ", ")
		if did != "" && did != right {
			wrong++
			t.Errorf("%q was carried out as %q", u.text, did)
		}
		switch {
		case u.command == nil:
			chatter++
			if awaits {
				proposed++
			}
		case u.clean:
			clean++
			if heard[i].sure() && heard[i].Text == u.text {
				understood++
			}
		default:
			noisy++
			if did == right {
				noisyDone++
			}
		}
	}
	figures.Print(t, "voice: %d utterances: %d false answers; clean commands understood %d of %d; noisy ones carried out %d of %d; chatter taken for a command, and then not confirmed, %d of %d",
		len(list), wrong, understood, clean, noisyDone, noisy, proposed, chatter)
	require.Zero(t, wrong)
	require.GreaterOrEqual(t, 10*understood, 9*clean)
}

// The program itself: a real hospital, real speech, and the record of it.
func TestScene(t *testing.T) {
	needSpeech(t)
	client, shown, stop, err := hospital(t.Context())
	require.NoError(t, err)
	defer stop()
	wavs := record(t, t.TempDir(), "s", []string{"accept bed four", "confirm bed four"}, func(int) bool { return false })
	require.NoError(t, talk(t.Context(), &dialogue{ward: shown, client: client, caller: "p-4"}, wavs[0], wavs[1], true))
	page, err := client.History(t.Context(), carewire.HistoryQuery{Patient: "p-4", Kinds: []carewire.Kind{carewire.KindAlert}})
	require.NoError(t, err)
	last := page.Events[len(page.Events)-1].Alert
	require.Equal(t, carewire.ResponsibilityAccepted, last.Responsibility.State)
	heard := last.Answers[len(last.Answers)-1].Source
	require.Equal(t, carewire.RecognitionSpeech, heard.Kind)
	require.Equal(t, recogniser, heard.Model)
	require.Contains(t, []carewire.Decimal{"0.67", "1"}, heard.Confidence)
}
