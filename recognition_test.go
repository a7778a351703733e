package carewire

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// What a machine has understood is stored with the event, and history shows it:
// of a call, of an answer and of a call that is repeated.
func TestRecognitionIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		heard := Recognition{RecognitionSpeech, "ears 2", "0.670"}
		call := Raise{Patient: "p1", Key: "call", Text: "Nurse called", Priority: PriorityMedium, Source: Source{Rule: "speech", Recognition: heard}}
		a, err := w.hub.Raise(t.Context(), call)
		require.NoError(t, err)
		again, err := w.hub.Raise(t.Context(), call)
		require.NoError(t, err)
		require.Equal(t, a.Rev, again.Rev, "nothing has changed")
		surer := Recognition{RecognitionSpeech, "ears 2", "1"}
		_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAccept, Source: surer})
		require.NoError(t, err)
		page, err := w.hub.History(t.Context(), HistoryQuery{Patient: "p1", Kinds: []Kind{KindAlert}})
		require.NoError(t, err)
		var answers []Answered
		for _, e := range page.Events {
			require.Equal(t, heard, e.Alert.Source.Recognition)
			answers = append(answers, e.Alert.Answers...)
		}
		require.Equal(t, surer, answers[len(answers)-1].Source)

		_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerRelease, Source: Recognition{Kind: "telepathy", Model: "m", Confidence: "1"}})
		require.ErrorContains(t, err, "source.kind")
		call.Source.Recognition.Confidence = "1.01"
		_, err = w.hub.Raise(t.Context(), call)
		require.ErrorContains(t, err, "source.recognition.confidence")
	})
}

// When a score asks for the next measurement is part of what its source says. A
// repeated raise says nothing new, whatever the zone and the precision of its time.
func TestNextDueIsKept(t *testing.T) {
	due := wireTime.Add(time.Hour)
	r := Raise{Patient: "p1", Key: "news2", Text: "x", Priority: PriorityLow, Source: Source{Rule: "news2", NextDue: due.Add(time.Microsecond).In(time.FixedZone("", 3600))}}
	a := raise(nil, r, "judge", wireTime)
	require.Equal(t, due, a.Source.NextDue)
	require.True(t, a.says(&r, "judge"))
	r.Source.NextDue = due.Add(time.Minute)
	require.False(t, a.says(&r, "judge"))
	a = raise(&a, r, "judge", wireTime)
	require.Equal(t, due.Add(time.Minute), a.Source.NextDue)
	require.Equal(t, due.Add(time.Minute), a.Again().Source.NextDue)
}
