package carewire

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/memnet"
)

// Headers that come a byte each second are given up after ten, by a server as
// docs/security.md wants it; they take no place of the Hub's, and delay nobody.
func TestDrippedHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxConnections: 1})
		defer w.srv.Close()
		w.srv = &http.Server{Handler: w.hub, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
		defer w.close()
		dial := dialler(w, memnet.Listen(), nil)
		var drips sync.WaitGroup
		for i := range 100 {
			conn, request := dial(), hello("nurse")
			if i%2 == 0 {
				request = strings.Replace(request, "GET", "POST", 1)
			}
			drips.Go(func() {
				defer conn.Close()
				go io.Copy(io.Discard, conn) // the server may say why, and a pipe holds nothing
				begun := time.Now()
				for i := range request {
					if _, err := conn.Write([]byte{request[i]}); err != nil {
						break
					}
					time.Sleep(time.Second)
				}
				assert.InDelta(t, 10, time.Since(begun).Seconds(), 2)
			})
		}
		nurse := join(t, dial(), "nurse")
		nurse.send(`{"type":"watch","req":"1","patients":["p1"],"delivery":"every"}`)
		nurse.text("synced")
		for seq := range 20 {
			_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
			require.NoError(t, err)
			begun := time.Now()
			require.Equal(t, seq+1, seqOf(nurse.text("vital")))
			require.Less(t, time.Since(begun), 100*time.Millisecond)
			time.Sleep(time.Second)
		}
		drips.Wait()
		nurse.conn.Close()
	})
}

// The servers of the examples bound headers, in time and in size.
func TestExamplesBoundHeaders(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("examples/*/*.go")
	require.NoError(t, err)
	if len(files) == 0 {
		t.Skip("the examples are another module, and not here")
	}
	servers := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		assert.NotRegexp(t, `http\.(ListenAndServe|Serve)(TLS)?\(`, string(b), file)
		for _, server := range regexp.MustCompile(`(?s)http\.Server\{.*?\n\n?\t[^\t]`).FindAllString(string(b), -1) {
			servers++
			assert.Contains(t, server, "ReadHeaderTimeout: 10 * time.Second", file)
			assert.Contains(t, server, "MaxHeaderBytes: 64 << 10", file)
			if !strings.Contains(file, "quickstart") { // which is as short as can be
				assert.Contains(t, server, "ConnState: new(carewire.Arrivals).ConnState", file)
			}
		}
	}
	assert.Equal(t, 7, servers, fmt.Sprint(files))
}
