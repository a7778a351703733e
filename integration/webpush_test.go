package integration

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/pagers/webpush"
)

// keeper has one subscription.
type keeper struct {
	key *webpush.Key
	to  webpush.Subscription
}

func (k *keeper) Key(context.Context) (*webpush.Key, error) { return k.key, nil }
func (k *keeper) Subscriptions(context.Context, string) ([]webpush.Subscription, error) {
	return []webpush.Subscription{k.to}, nil
}
func (k *keeper) Gone(context.Context, webpush.Subscription) error { return nil }

// npm's http_ece decrypts a push, and jws verifies its signature. Its headers and form
// are those of npm's web-push.
func TestForeignersReadPushes(t *testing.T) {
	t.Parallel()
	need(t, needNode)
	text := base64.RawURLEncoding.EncodeToString
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	auth := make([]byte, 16)
	rand.Read(auth)
	var header http.Header
	var body []byte
	service := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
	}))
	defer service.Close()
	key, err := webpush.NewKey()
	require.NoError(t, err)
	s := webpush.Subscription{Endpoint: service.URL + "/send/1", Keys: webpush.Keys{P256dh: text(private.PublicKey().Bytes()), Auth: text(auth)}}
	pager := &webpush.Pager{Keeper: &keeper{key, s}, Contact: "mailto:it@hospital.example", Client: service.Client(), Allow: func(*url.URL) bool { return true }}
	before := time.Now()
	require.NoError(t, pager.Page(t.Context(), carewire.Page{Key: "a1/1/person:ada", To: "person:ada", Level: 1, Alert: carewire.Alert{ID: "a1", Priority: carewire.PriorityHigh}}))

	in, err := json.Marshal(map[string]any{"subscription": s, "private": text(private.Bytes()), "auth": text(auth), "body": text(body),
		"header": header.Get("Authorization"), "text": "theirs"})
	require.NoError(t, err)
	cmd := exec.Command("node", "js/webpush.mjs")
	cmd.Stdin = strings.NewReader(string(in))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, errs.String())
	var found struct {
		Opened, Theirs string
		Signed         bool
		Claims         struct {
			Aud, Sub string
			Exp      int64
		}
		Headers map[string]any
		Vapid   struct{ PublicKey, PrivateKey string }
	}
	require.NoError(t, json.Unmarshal(out, &found))
	require.JSONEq(t, `{"key":"a1/1/person:ada","alert_id":"a1","level":1,"priority":"high"}`, found.Opened)
	require.True(t, found.Signed)
	require.Equal(t, service.URL, found.Claims.Aud)
	require.Equal(t, "mailto:it@hospital.example", found.Claims.Sub)
	require.InDelta(t, before.Unix()+3600, found.Claims.Exp, 600)
	for _, name := range slices.Sorted(maps.Keys(found.Headers)) {
		require.NotEmpty(t, header.Get(name), "web-push sends %s too", name)
	}
	require.Equal(t, "aes128gcm", found.Headers["Content-Encoding"])
	theirs, err := base64.RawURLEncoding.DecodeString(found.Theirs)
	require.NoError(t, err)
	require.Equal(t, "theirs", openPush(t, private, auth, theirs))
	require.Equal(t, `{"key":"a1/1/person:ada","alert_id":"a1","level":1,"priority":"high"}`, openPush(t, private, auth, body), "by the same steps")
	require.Equal(t, theirs[16:21], body[16:21], "the record size, and how long a key is")
	again, err := webpush.ParseKey(found.Vapid.PrivateKey)
	require.NoError(t, err)
	require.Equal(t, found.Vapid.PublicKey, again.Public(), "a key that web-push has made")
}

// openPush decrypts a message by RFC 8291, written down here once more.
func openPush(t *testing.T, private *ecdh.PrivateKey, auth, body []byte) string {
	sender, err := ecdh.P256().NewPublicKey(body[21:86])
	require.NoError(t, err)
	shared, err := private.ECDH(sender)
	require.NoError(t, err)
	derive := func(secret, salt []byte, info string, n int) []byte {
		k, err := hkdf.Key(sha256.New, secret, salt, info, n)
		require.NoError(t, err)
		return k
	}
	secret := derive(shared, auth, "WebPush: info\x00"+string(private.PublicKey().Bytes())+string(body[21:86]), 32)
	block, err := aes.NewCipher(derive(secret, body[:16], "Content-Encoding: aes128gcm\x00", 16))
	require.NoError(t, err)
	gcm, err := cipher.NewGCM(block)
	require.NoError(t, err)
	text, err := gcm.Open(nil, derive(secret, body[:16], "Content-Encoding: nonce\x00", 12), body[86:], nil)
	require.NoError(t, err)
	return strings.TrimSuffix(string(text), "\x02")
}

// notified lists the notifications that the browser shows: title, body, actions, and
// whether it sounds again.
func (p tab) notified() (list []string) {
	p.t.Helper()
	p.do(map[string]string{"do": "notified", "tab": p.name}, &list)
	return list
}

// When the browser delivers a push, the ward's service worker reports it, asks for
// the alert, shows it, and accepts it by one POST. The ward's page is not open then.
// There is no push service here: the browser's debugging protocol delivers.
func TestPushInTheBrowser(t *testing.T) {
	t.Parallel()
	b := openBrowser(t)
	w := openWard(t, "-quiet", "-step", "600")
	b.do(map[string]string{"do": "grant", "url": w.http()}, nil)
	ada := b.open("ada", w.http()+"/#token=nurse-ada")
	ada.shows("#push", "Tell me on this device")
	ada.click("#push")
	process.Poll(t, process.Patience, func() (bool, string) { // there may be no push service, or none that answers soon
		text := strings.Join(ada.texts("#push"), "")
		return text != "Tell me on this device", text
	})
	ada.do(map[string]string{"do": "leave", "tab": ada.name, "url": w.http() + "/icon.svg"}, nil)

	bell, gateway := dial(t, w.url(), "dr-bell"), dial(t, w.url(), "gateway-1")
	watch(t, bell, carewire.WatchOptions{Groups: []string{"ward-5"}})
	raise(t, gateway, "p-04", "fall", "Fall detected")
	var a carewire.Alert
	await(t, bell, "the alert is paged", func(e *carewire.Event) bool {
		if e.Alert != nil && e.Alert.Key == "fall" && e.Alert.Escalation.Level == 1 {
			a = *e.Alert
		}
		return a.ID != ""
	})
	push := func(key string) {
		text, err := json.Marshal(webpush.Message{Key: key, AlertID: a.ID, Level: 1, Priority: a.Priority})
		require.NoError(t, err)
		ada.do(map[string]string{"do": "push", "tab": ada.name, "data": string(text)}, nil)
	}
	shown := func(want string) {
		t.Helper()
		process.Poll(t, process.Patience, func() (bool, string) {
			list := ada.notified()
			return slices.Equal(list, []string{want}), strings.Join(list, "; ")
		})
	}
	// pushed pushes until the push is shown: a worker that is just starting may miss one.
	pushed := func(key, want string) {
		t.Helper()
		var last time.Time
		process.Poll(t, process.Patience, func() (bool, string) {
			list := ada.notified()
			if slices.Equal(list, []string{want}) {
				return true, ""
			}
			if time.Since(last) > 15*time.Second {
				last = time.Now()
				push(key)
			}
			return false, strings.Join(list, "; ")
		})
	}
	pushed(a.ID+"/1/person:dr-bell", "There is an alert. Open the ward.|||again") // not for her: nothing is told
	pushed(a.ID+"/1/person:nurse-ada", "Fall detected|Ward 5 · Bed 4|accept|again")
	await(t, bell, "the receipt", func(e *carewire.Event) bool {
		return e.Receipt != nil && e.Receipt.AlertID == a.ID && e.Receipt.Stage == carewire.StageDelivered && e.Receipt.By.ID == "nurse-ada"
	})
	ada.do(map[string]string{"do": "press", "tab": ada.name, "action": "accept"}, nil)
	await(t, bell, "the acceptance", func(e *carewire.Event) bool {
		return e.Alert != nil && e.Alert.ID == a.ID && e.Alert.Responsibility.State == carewire.ResponsibilityAccepted && e.Alert.Responsibility.By.ID == "nurse-ada"
	})
	shown("You have accepted: Fall detected||")
	pushed("another/1/person:nurse-ada", "An alert is over||")

	// Ada has not logged out. The next person to sign in ends her device's pushes.
	rosa := b.open("rosa", w.http()+"/#token=rosa")
	rosa.shows("#who", "patient")
	process.Poll(t, process.Patience, func() (bool, string) {
		push(a.ID + "/1/person:nurse-ada")
		list := ada.notified()
		return slices.Equal(list, []string{"There is an alert. Open the ward.|||again"}), strings.Join(list, "; ")
	})

	// A subscription that was made with the ward's key is used again.
	next := b.open("bell", w.http()+"/#token=dr-bell")
	next.shows("#push", "Tell me on this device")
	next.do(map[string]string{"do": "subscribed", "tab": next.name, "token": "dr-bell"}, nil)
	next.click("#push")
	next.shows("#push", "Told on this device")
}

// The page can be installed, and opens while the ward is away: it says so, and goes
// on by itself.
func TestShellWhileOffline(t *testing.T) {
	t.Parallel()
	b := openBrowser(t)
	w := openWard(t, "-seed", "1")
	ada := b.open("ada", w.http()+"/#token=nurse-ada")
	ada.shows("cw-patients article", "HR")
	var missing []string
	ada.do(map[string]string{"do": "uninstallable", "tab": ada.name}, &missing)
	require.Empty(t, missing)
	w.stop()
	ada.do(map[string]string{"do": "leave", "tab": ada.name, "url": w.http() + "/"}, nil)
	ada.shows("h1", "Ward")
	process.Poll(t, process.Patience, func() (bool, string) {
		text := strings.Join(ada.texts(trouble), "")
		return strings.Contains(text, "Nothing is known yet") || strings.Contains(text, "The connection is lost"), text
	})
	require.Empty(t, ada.texts("cw-patients article"), "nothing of patients is kept")
	w.start()
	ada.shows("cw-patients article", "HR")
	require.Empty(t, ada.texts(trouble))
}
