package integration

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
)

// A Hub works behind the routers that backends use, with their middleware, and
// through a proxy's timeouts that were meant for ordinary requests.
func TestHubBehindMiddleware(t *testing.T) {
	gin.SetMode(gin.TestMode)
	nurse := carewire.AuthenticatorFunc(func(r *http.Request) (carewire.Principal, error) {
		if carewire.Token(r) != "nurse" {
			return carewire.Principal{}, carewire.ErrUnauthenticated
		}
		return carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p1"}}, nil
	})
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"net/http": func(h http.Handler) http.Handler { return h },
		"gin": func(h http.Handler) http.Handler {
			g := gin.New()
			g.Use(gin.LoggerWithWriter(io.Discard), gin.Recovery())
			g.Any("/carewire", gin.WrapH(h))
			return g
		},
		"chi": func(h http.Handler) http.Handler {
			r := chi.NewRouter()
			r.Use(middleware.RequestID, middleware.Logger, middleware.Recoverer, middleware.Compress(5))
			r.Handle("/carewire", h)
			return r
		},
		"chi's WrapResponseWriter, twice": func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h.ServeHTTP(middleware.NewWrapResponseWriter(middleware.NewWrapResponseWriter(w, r.ProtoMajor), r.ProtoMajor), r)
			})
		},
		"gin in chi": func(h http.Handler) http.Handler {
			g := gin.New()
			g.Any("/carewire", gin.WrapH(h))
			r := chi.NewRouter()
			r.Use(middleware.Logger)
			r.Mount("/", g)
			return r
		},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " with TLS"}[secure], func(t *testing.T) {
				t.Parallel()
				hub, err := carewire.New(nurse, carewire.NewMemoryStore(nil), nil)
				require.NoError(t, err)
				s := httptest.NewUnstartedServer(wrap(hub))
				const timeout = 4 * time.Second // of each request, on a machine that may stand still for a while
				s.Config.ReadTimeout, s.Config.WriteTimeout = timeout, timeout
				if secure {
					s.StartTLS()
				} else {
					s.Start()
				}
				defer s.Close()
				ctx, cancel := context.WithTimeout(t.Context(), process.Patience)
				defer cancel()

				refused, err := s.Client().Do(upgradeWithoutToken(t, s.URL))
				require.NoError(t, err)
				refused.Body.Close()
				require.Equal(t, http.StatusUnauthorized, refused.StatusCode)

				ws, answer, err := websocket.Dial(ctx, s.URL+"/carewire", &websocket.DialOptions{HTTPClient: s.Client(),
					HTTPHeader: http.Header{"Authorization": {"Bearer nurse"}}, Subprotocols: []string{carewire.Protocol}})
				require.NoError(t, err)
				require.Equal(t, http.StatusSwitchingProtocols, answer.StatusCode)
				require.Equal(t, carewire.Protocol, answer.Header.Get("Sec-WebSocket-Protocol"))
				require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte(`{"type":"watch","req":"1","patients":["p1"]}`)))
				until(t, ctx, ws, `"synced"`)
				stream, err := s.Client().Do(watchByPost(ctx, t, s.URL))
				require.NoError(t, err)
				defer stream.Body.Close()
				require.Equal(t, "text/event-stream", stream.Header.Get("Content-Type"))
				events := bufio.NewReader(stream.Body)
				untilLine(t, events, `"synced"`)
				// Longer than the server's timeouts, of which nothing is left.
				select {
				case <-time.After(timeout + time.Second/2):
				case <-ctx.Done():
				}
				_, err = hub.Publish(ctx, carewire.HeartRate.Of("p1", 72))
				require.NoError(t, err)
				until(t, ctx, ws, `"vital"`)
				untilLine(t, events, `"vital"`)

				closed := make(chan error)
				go func() { closed <- hub.Shutdown(ctx) }()
				_, _, err = ws.Read(ctx)
				require.Equal(t, websocket.StatusServiceRestart, websocket.CloseStatus(err))
				require.NoError(t, <-closed)
				untilLine(t, events, `{"type":"closed","code":1012}`)
			})
		}
	}
}

func upgradeWithoutToken(t *testing.T, url string) *http.Request {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/carewire", nil)
	require.NoError(t, err)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	return r
}

func watchByPost(ctx context.Context, t *testing.T, url string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/carewire", strings.NewReader(`{"type":"watch","req":"1","patients":["p1"]}`))
	require.NoError(t, err)
	r.Header = http.Header{"Authorization": {"Bearer nurse"}, "Content-Type": {"application/json"}, "Accept": {"text/event-stream"}}
	return r
}

// untilLine reads up to the first line that contains text.
func untilLine(t *testing.T, r *bufio.Reader, text string) {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		if strings.Contains(line, text) {
			return
		}
	}
}

// until reads up to the first frame that contains text.
func until(t *testing.T, ctx context.Context, ws *websocket.Conn, text string) {
	t.Helper()
	for {
		_, b, err := ws.Read(ctx)
		require.NoError(t, err)
		if strings.Contains(string(b), text) {
			return
		}
	}
}
