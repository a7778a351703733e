package carewire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Waves without room drop the oldest chunks, by their number and by their size.
func TestRelayWavesDropTheOldest(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"number": 1, "size": relayWavesBytes / 10} {
		t.Run(name, func(t *testing.T) {
			b, done, dropped := newRelayWaves(), []int(nil), 0
			most := min(relayWavesMost, relayWavesBytes/size)
			for i := range most + 5 {
				dropped += b.add(size, func() { done = append(done, i) })
			}
			require.Equal(t, 5, dropped)
			for range most + 1 {
				b.next()
			}
			require.Equal(t, upTo(5, most+4), done)
			require.Zero(t, b.bytes)
			<-b.came
			b.next()
			require.Empty(t, b.came)
			require.Zero(t, b.add(2*relayWavesBytes, func() { done = nil }), "one that is too large does no harm alone")
			b.next()
			require.Nil(t, done)
		})
	}
}
