package carewire

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Once the token has ended nothing is taken from the client any more.
func TestNothingIsTakenAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		t.Cleanup(w.close)
		w.hub.auth = AuthenticatorFunc(func(r *http.Request) (Principal, error) {
			p, err := byToken(r)
			p.Expires = time.Now().Add(10 * time.Second)
			return p, err
		})
		p := join(t, dialler(w, w.net, nil)(), "device")
		l := p.listen()
		time.Sleep(9 * time.Second)
		p.send(`{"type":"publish","req":"1","vitals":[{"patient":"p1","code":"8867-4","value":1,"unit":"/min"}]}`)
		time.Sleep(2 * time.Second)
		require.Equal(t, CloseUnauthorized, l.closeCode())
		go p.send(`{"type":"publish","req":"2","vitals":[{"patient":"p1","code":"8867-4","value":2,"unit":"/min"}]}`)
		time.Sleep(20 * time.Second)
		_, head, err := w.store.Latest(t.Context(), "p1")
		require.NoError(t, err)
		require.EqualValues(t, 1, head.Seq)
	})
}

// The close frame stands behind the replies that wait.
func TestRepliesComeBeforeTheCloseFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxRequests: -1})
		t.Cleanup(w.close)
		p := join(t, dialler(w, w.net, nil)(), "nurse")
		p.text("inbox")
		const requests = 3000 // with replies of more than one write
		go p.write(append(bytes.Repeat(masked(opText, `{"type":"unwatch","req":"1","patients":["p1"]}`), requests), masked(opBinary, "")...))
		time.Sleep(time.Second)
		for range requests {
			p.text("ok")
		}
		code, _ := p.end()
		require.Equal(t, CloseBinary, code)
	})
}

// A client that answers our close frame sees the end at once.
func TestAnsweredCloseEndsAtOnce(t *testing.T) {
	for _, v := range venues[:2] {
		t.Run(v.name, func(t *testing.T) {
			certificate()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				t.Cleanup(w.close)
				dial := v.open(w)
				for code, end := range map[CloseCode]func(*peer){
					CloseForbidden: func(*peer) {
						w.hub.Revoke(context.Background(), Revocation{Principal: "nurse", Until: time.Now().Add(time.Second)})
					},
					ClosePolicy:  func(p *peer) { p.write(bytes.Repeat(masked(opText, "["), 2*badRequestBurst)) },
					CloseBinary:  func(p *peer) { p.write(masked(opBinary, "{}")) },
					CloseNotUTF8: func(p *peer) { p.write(masked(opText, "\xc0")) },
				} {
					time.Sleep(2 * time.Second)
					p := join(t, dial(), "nurse")
					p.text("inbox")
					go end(p)
					first, err := byte(0), error(nil)
					for first != opClose {
						first, _, err = p.frame()
						require.NoError(t, err)
					}
					answered := time.Now()
					go p.write(masked(opClose, closing(uint16(code), "")))
					_, _, err = p.frame()
					require.Error(t, err)
					require.Less(t, time.Since(answered), time.Second, "%d", code)
				}
			})
		})
	}
}

// No reset follows a close frame, because it could overtake the frame, even if the
// client is still sending.
func TestCloseFramesAreNotLostToAReset(t *testing.T) {
	for _, c := range []struct {
		bytes []byte
		code  CloseCode
	}{
		{masked(opText, strings.Repeat("x", 2<<20)), CloseTooBig},
		{append(masked(0x83, ""), make([]byte, 2<<20)...), CloseProtocolError},
		{append(masked(opBinary, ""), bytes.Repeat(masked(opText, "{}"), 1000)...), CloseBinary},
		{append(masked(opText, "\xc0"), bytes.Repeat(masked(opText, "{}"), 1000)...), CloseNotUTF8},
	} {
		t.Run(fmt.Sprint(c.code), func(t *testing.T) {
			w := newWorld(t, nil, nil)
			t.Cleanup(w.close)
			dial := dialler(w, loopbackListener(t), nil)
			for range 10 {
				p := join(t, dial(), "nurse")
				p.text("inbox")
				go p.write(c.bytes)
				first, err := byte(0), error(nil)
				for err == nil && first != opClose {
					first, _, err = p.frame()
				}
				require.NoError(t, err)
				p.write(masked(opClose, closing(uint16(c.code), "")))
				p.conn.(*net.TCPConn).CloseWrite()
				_, _, err = p.frame()
				require.Equal(t, io.EOF, err)
			}
		})
	}
}

// The Hub does not take frames without end that cost the client next to nothing.
func TestFloodsAreCutAtOnce(t *testing.T) {
	for name, flood := range map[string][]byte{
		"pings":                         bytes.Repeat(masked(opPing, ""), 1000),
		"pongs":                         bytes.Repeat(masked(opPong, ""), 1000),
		"empty continuations":           append(masked(0x01, "{"), bytes.Repeat(masked(opMore, ""), 500000)...),
		"pongs and empty continuations": append(masked(0x01, "{"), bytes.Repeat(append(masked(opMore, ""), masked(opPong, "")...), 1000)...),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				t.Cleanup(w.close)
				p := join(t, dialler(w, w.net, nil)(), "nurse")
				p.text("inbox")
				begun := time.Now()
				go p.write(flood)
				code, _ := p.end()
				require.Equal(t, ClosePolicy, code)
				require.Equal(t, begun, p.closed)
				require.LessOrEqual(t, time.Since(begun), 6*time.Second)
			})
		})
	}
}

// A peer that stalls inside a frame when its connection is being closed holds
// it for seconds at most, whichever side closes and for any reason.
func TestPeersThatStallWhileBeingClosed(t *testing.T) {
	for _, c := range []struct {
		name string
		code CloseCode
		each func(p *peer)
		once func(w *world)
	}{
		{"abuse", ClosePolicy, func(p *peer) { p.write(bytes.Repeat(masked(opText, "["), 2*badRequestBurst)) }, nil},
		{"binary", CloseBinary, func(p *peer) { p.write(masked(opBinary, "")) }, nil},
		{"protocol error", CloseProtocolError, func(p *peer) { p.write(masked(0x83, "")) }, nil},
		{"revoked", CloseForbidden, func(*peer) {}, func(w *world) { w.hub.Revoke(context.Background(), Revocation{Principal: "nurse"}) }},
		{"restart", CloseRestart, func(*peer) {}, func(w *world) { w.hub.Shutdown(context.Background()) }},
	} {
		for _, reads := range []bool{true, false} {
			for _, v := range venues[:2] {
				t.Run(fmt.Sprintf("%s/reads=%v/%s", c.name, reads, v.name), func(t *testing.T) {
					certificate()
					synctest.Test(t, func(t *testing.T) {
						peers := 200
						if v.name != "memory" {
							peers = 5
						}
						w := newWorld(t, nil, nil)
						t.Cleanup(w.close)
						dial := v.open(w)
						var all []*peer
						for range peers {
							p := join(t, dial(), "nurse")
							p.text("inbox")
							all = append(all, p)
						}
						begun := time.Now()
						var wg sync.WaitGroup
						if c.once != nil {
							go c.once(w)
						}
						for _, p := range all {
							go func() {
								c.each(p)
								p.write(header(opText, 1<<30))
							}()
							if reads {
								wg.Go(func() {
									code, reason := p.end()
									assert.Equal(t, c.code, code)
									assert.Equal(t, c.code.reason(), reason)
								})
							}
						}
						wg.Wait()
						for w.hub.Stats().Connections > 0 {
							time.Sleep(100 * time.Millisecond)
						}
						within := 15 * time.Second
						if reads {
							within = 7 * time.Second
						}
						assert.LessOrEqual(t, time.Since(begun), within)
						for _, p := range all {
							p.conn.Close()
						}
						time.Sleep(time.Millisecond)
						require.Equal(t, "0 0 0", running())
					})
				})
			}
		}
	}
}

// A client that takes a little at a time, so that each write succeeds, is cut all
// the same once its connection is being closed, and no more of its requests are
// taken.
func TestClosingDoesNotWaitForASlowReader(t *testing.T) {
	const request = `{"type":"unwatch","req":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","patients":["p1"]}`
	for _, c := range []struct {
		name     string
		requests int
		revoke   bool
	}{
		{"revoked while replies wait", 5000, true},
		{"more replies than may wait", 20000, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				t.Cleanup(w.close)
				p := join(t, dialler(w, w.net, nil)(), "nurse")
				p.text("inbox")
				go p.write(append(bytes.Repeat(masked(opText, request), c.requests),
					masked(opText, `{"type":"raise","req":"1","event_id":"e1","alert":{"patient":"p1","key":"late","text":"x","priority":"low"}}`)...))
				synctest.Wait()
				if c.revoke {
					w.hub.Revoke(t.Context(), Revocation{Principal: "nurse"})
				}
				begun := time.Now()
				for {
					if _, err := p.conn.Read(make([]byte, 2000)); err != nil {
						break
					}
					time.Sleep(time.Second)
				}
				require.LessOrEqual(t, time.Since(begun), 16*time.Second)
				if !c.revoke {
					_, head, err := w.store.Latest(t.Context(), "p1")
					require.NoError(t, err)
					require.Zero(t, head.Seq, "taken after the close")
				}
			})
		})
	}
}
