package webpush

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"
)

// Key is the pair of keys by which push services know a host (RFC 8292). It hides
// itself from fmt and slog.
type Key struct{ private *ecdsa.PrivateKey }

// NewKey makes a new Key. A host makes one once, and keeps its Private: browsers
// that have subscribed to one key take no pushes by another.
func NewKey() (*Key, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return &Key{k}, nil
}

// ParseKey reads the text that Private returns.
func ParseKey(private string) (*Key, error) {
	b, err := base64.RawURLEncoding.DecodeString(private)
	if err != nil {
		return nil, errors.New("webpush: a key must be base64url")
	}
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), b)
	if err != nil {
		return nil, errors.New("webpush: not a private key of P-256")
	}
	return &Key{k}, nil
}

// Private is the private key, 32 bytes in base64url, as other libraries have it
// too. It belongs among the host's secrets.
func (k *Key) Private() string {
	b, _ := k.private.Bytes() // of P-256
	return base64.RawURLEncoding.EncodeToString(b)
}

// Public is the public key, 65 bytes in base64url: a browser's applicationServerKey.
func (k *Key) Public() string {
	b, _ := k.private.PublicKey.Bytes() // of P-256
	return base64.RawURLEncoding.EncodeToString(b)
}

// Format writes nothing of k.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("webpush.Key{}")) }

// LogValue hides k from logs.
func (k *Key) LogValue() slog.Value { return slog.StringValue("webpush.Key{}") }

// token identifies the sender to a push service, for an hour.
func (k *Key) token(endpoint *url.URL, contact string, now time.Time) (string, error) {
	claims, err := json.Marshal(map[string]any{"aud": endpoint.Scheme + "://" + endpoint.Host, "exp": now.Add(time.Hour).Unix(), "sub": contact})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT","alg":"ES256"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, sum[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
