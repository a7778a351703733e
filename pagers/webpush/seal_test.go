package webpush

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func raw(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	require.NoError(t, err)
	return b
}

// A browser has subscribed, and reads pushes.
type browser struct {
	private *ecdh.PrivateKey
	auth    []byte
}

func newBrowser(t testing.TB) *browser {
	k, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	b := &browser{k, make([]byte, 16)}
	rand.Read(b.auth)
	return b
}

func (b *browser) at(endpoint string) Subscription {
	text := base64.RawURLEncoding.EncodeToString
	return Subscription{endpoint, Keys{text(b.private.PublicKey().Bytes()), text(b.auth)}}
}

// open decrypts a message as a browser does.
func (b *browser) open(body []byte) ([]byte, error) {
	if len(body) < 21+65 || body[20] != 65 || int(binary.BigEndian.Uint32(body[16:])) < len(body) {
		return nil, errors.New("not one record")
	}
	salt, sender, sealed := body[:16], body[21:86], body[86:]
	public, err := ecdh.P256().NewPublicKey(sender)
	if err != nil {
		return nil, err
	}
	shared, err := b.private.ECDH(public)
	if err != nil {
		return nil, err
	}
	derive := func(secret, salt []byte, info string, n int) []byte {
		k, err := hkdf.Key(sha256.New, secret, salt, info, n)
		if err != nil {
			panic(err)
		}
		return k
	}
	secret := derive(shared, b.auth, "WebPush: info\x00"+string(b.private.PublicKey().Bytes())+string(sender), 32)
	block, err := aes.NewCipher(derive(secret, salt, "Content-Encoding: aes128gcm\x00", 16))
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	text, err := gcm.Open(nil, derive(secret, salt, "Content-Encoding: nonce\x00", 12), sealed, nil)
	if err != nil || len(text) == 0 || text[len(text)-1] != 2 {
		return nil, errors.New("cannot be opened")
	}
	return text[:len(text)-1], nil
}

// The example of RFC 8291, appendix A.
func TestSealAsRFC8291Does(t *testing.T) {
	own, err := ecdh.P256().NewPrivateKey(raw(t, "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"))
	require.NoError(t, err)
	s := Subscription{"https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV",
		Keys{"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", "BTBZMqHH6r4Tts7J_aSIgg"}}
	body, err := s.sealWith([]byte("When I grow up, I want to be a watermelon"), own, raw(t, "DGv6ra1nlYgDCS1FRnbzlw"))
	require.NoError(t, err)
	require.Equal(t, "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_"+
		"yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN", base64.RawURLEncoding.EncodeToString(body))
}

func TestSealAndOpen(t *testing.T) {
	b := newBrowser(t)
	s := b.at("https://push.test/1")
	seen := map[string]bool{}
	for _, n := range []int{0, 1, 100, 3992, 3993} {
		text := []byte(strings.Repeat("x", n))
		body, err := s.seal(text)
		require.NoError(t, err, n)
		require.LessOrEqual(t, len(body), 4096)
		got, err := b.open(body)
		require.NoError(t, err)
		require.Equal(t, string(text), string(got))
		require.False(t, seen[string(body[:86])], "salt and key are used once")
		seen[string(body[:86])] = true
		body[len(body)-1] ^= 1
		_, err = b.open(body)
		require.Error(t, err)
	}
	_, err := s.seal(make([]byte, 3994))
	require.Error(t, err)
}

func TestTokenAsRFC8292Has(t *testing.T) {
	k, err := NewKey()
	require.NoError(t, err)
	again, err := ParseKey(k.Private())
	require.NoError(t, err)
	require.Equal(t, k.Public(), again.Public())
	require.Len(t, raw(t, k.Public()), 65)

	endpoint, err := url.Parse("https://push.test:8443/send/secret?x=y")
	require.NoError(t, err)
	now := time.Now()
	token, err := again.token(endpoint, "mailto:it@hospital.test", now)
	require.NoError(t, err)
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	require.JSONEq(t, `{"typ":"JWT","alg":"ES256"}`, string(raw(t, parts[0])))
	require.JSONEq(t, fmt.Sprintf(`{"aud":"https://push.test:8443","exp":%d,"sub":"mailto:it@hospital.test"}`, now.Add(time.Hour).Unix()), string(raw(t, parts[1])))
	signature := raw(t, parts[2])
	require.Len(t, signature, 64)
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	require.True(t, ecdsa.Verify(&k.private.PublicKey, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])))

	for _, wrong := range []string{"", "!", "AAAA", strings.Repeat("A", 43)} {
		_, err := ParseKey(wrong)
		require.Error(t, err)
	}
}

func TestParseSubscription(t *testing.T) {
	good := newBrowser(t).at("https://push.test/1")
	text, err := json.Marshal(good)
	require.NoError(t, err)
	s, err := ParseSubscription([]byte(strings.Replace(string(text), "{", `{"expirationTime":null,`, 1)))
	require.NoError(t, err)
	require.Equal(t, good, s)
	for name, change := range map[string][2]string{
		"no JSON":        {"{", "["},
		"http":           {"https:", "http:"},
		"no host":        {"push.test", ""},
		"with a user":    {"push.test", "u:p@push.test"},
		"no key":         {good.Keys.P256dh, ""},
		"not on P-256":   {good.Keys.P256dh, good.Keys.P256dh[:80] + "AAAAAAA"},
		"a short secret": {good.Keys.Auth, "AAAA"},
		"too long":       {"/1", "/" + strings.Repeat("1", 4096)},
	} {
		_, err := ParseSubscription([]byte(strings.Replace(string(text), change[0], change[1], 1)))
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "push.test")
	}
}

func TestSecretsHideThemselves(t *testing.T) {
	k, err := NewKey()
	require.NoError(t, err)
	s := newBrowser(t).at("https://push.test/1")
	var b strings.Builder
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "key", k, "subscription", s)
	fmt.Fprintf(&b, "%v %+v %#v %s %v %+v %#v", k, k, k, k, s, s, s)
	for _, secret := range []string{k.Private(), "push.test", s.Keys.Auth} {
		require.NotContains(t, b.String(), secret)
	}
}

// No subscription of a client panics, and one that is taken can be sent to.
func FuzzParseSubscription(f *testing.F) {
	text, err := json.Marshal(newBrowser(f).at("https://push.test/1"))
	require.NoError(f, err)
	f.Add(text)
	f.Add([]byte(`{"endpoint":"https://push.test","keys":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSubscription(b)
		if err != nil {
			return
		}
		_, err = s.seal([]byte("x"))
		require.NoError(t, err)
	})
}
