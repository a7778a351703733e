package webpush

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
)

// Subscription is the address of one browser for pushes, in the form of
// PushSubscription.toJSON. It is a secret, for it allows sending to that browser: it
// hides itself from fmt and slog.
type Subscription struct {
	Endpoint string `json:"endpoint"`
	Keys     Keys   `json:"keys"`
}

// Keys encrypt the messages to a browser. They are in base64url.
type Keys struct {
	P256dh string `json:"p256dh"` // the browser's public key, 65 bytes
	Auth   string `json:"auth"`   // a secret of 16 bytes
}

// maxSubscription is the longest JSON of a subscription, in bytes.
const maxSubscription = 4096

// ParseSubscription reads the JSON of a browser: at most 4,096 bytes, with an https
// endpoint and usable keys. Unknown members are left out. Pager.Allow limits the
// endpoints, not this function.
func ParseSubscription(b []byte) (Subscription, error) {
	var s Subscription
	if len(b) > maxSubscription {
		return s, errors.New("webpush: the subscription is too long")
	}
	if json.Unmarshal(b, &s) != nil {
		return Subscription{}, errors.New("webpush: the subscription must be a JSON object")
	}
	if _, err := s.endpoint(); err != nil {
		return Subscription{}, err
	}
	if _, _, err := s.keys(); err != nil {
		return Subscription{}, err
	}
	return s, nil
}

// Format writes nothing of s.
func (s Subscription) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("webpush.Subscription{}")) }

// LogValue hides s from logs.
func (s Subscription) LogValue() slog.Value { return slog.StringValue("webpush.Subscription{}") }

func (s Subscription) endpoint() (*url.URL, error) {
	u, err := url.Parse(s.Endpoint)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return nil, errors.New("webpush: endpoint: must be an https URL")
	}
	return u, nil
}

func (s Subscription) keys() (public *ecdh.PublicKey, auth []byte, err error) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s.Keys.P256dh, "="))
	if err == nil {
		public, err = ecdh.P256().NewPublicKey(b)
	}
	if err != nil {
		return nil, nil, errors.New("webpush: keys.p256dh: must be a public key of P-256")
	}
	if auth, err = base64.RawURLEncoding.DecodeString(strings.TrimRight(s.Keys.Auth, "=")); err != nil || len(auth) != 16 {
		return nil, nil, errors.New("webpush: keys.auth: must be 16 bytes")
	}
	return public, auth, nil
}

// seal encrypts text for the browser, with keys that are used once.
func (s Subscription) seal(text []byte) ([]byte, error) {
	own, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	salt := make([]byte, 16)
	rand.Read(salt)
	return s.sealWith(text, own, salt)
}

// recordSize is the one record that a message is: RFC 8291 has no more than this.
const recordSize = 4096

// sealWith encrypts text by RFC 8291, section 3.4, as one record of aes128gcm (RFC 8188).
func (s Subscription) sealWith(text []byte, own *ecdh.PrivateKey, salt []byte) ([]byte, error) {
	public, auth, err := s.keys()
	if err != nil {
		return nil, err
	}
	shared, err := own.ECDH(public)
	if err != nil {
		return nil, err
	}
	sender := own.PublicKey().Bytes()
	secret, err := hkdf.Key(sha256.New, shared, auth, "WebPush: info\x00"+string(public.Bytes())+string(sender), 32)
	if err != nil {
		return nil, err
	}
	key, err := hkdf.Key(sha256.New, secret, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, err
	}
	nonce, err := hkdf.Key(sha256.New, secret, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	header := binary.BigEndian.AppendUint32(append([]byte{}, salt...), recordSize)
	header = append(append(header, byte(len(sender))), sender...)
	if len(header)+len(text)+1+gcm.Overhead() > recordSize {
		return nil, errors.New("webpush: the message is too long")
	}
	return gcm.Seal(header, nonce, append(append([]byte{}, text...), 2), nil), nil // 2 ends the last record
}
