package carewire

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// checkUpgrade returns the status that refuses a malformed handshake, or 0 and
// the subprotocols that may be chosen.
func checkUpgrade(r *http.Request) (status int, protocols []string) {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	switch {
	case !r.ProtoAtLeast(1, 1) || r.ProtoMajor != 1 || !hasToken(r.Header["Connection"], "upgrade") || !hasToken(r.Header["Upgrade"], "websocket"):
		return http.StatusUpgradeRequired, nil
	case len(r.Header["Sec-Websocket-Version"]) > 1 || r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return http.StatusBadRequest, nil
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return http.StatusUpgradeRequired, nil
	case err != nil || len(key) != 16 || len(r.Header["Sec-Websocket-Key"]) != 1:
		return http.StatusBadRequest, nil
	}
	other := false
	for _, p := range subprotocols(r) {
		switch {
		case p == Protocol:
			return 0, []string{Protocol}
		case !strings.HasPrefix(p, bearerProtocol) && !strings.HasPrefix(p, ticketProtocol):
			other = true
		}
	}
	if other {
		return http.StatusUpgradeRequired, nil
	}
	return 0, nil
}

func hasToken(headers []string, token string) bool {
	for _, h := range headers {
		for t := range strings.SplitSeq(h, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// identify returns the caller: the principal that the host has named, the one
// to whom a ticket was given, or the one that the Authenticator knows.
func (h *Hub) identify(r *http.Request) (Principal, error) {
	if p, ok := r.Context().Value(principalKey{}).(Principal); ok && p.valid() {
		p.Patients, p.Groups = slices.Clone(p.Patients), slices.Clone(p.Groups)
		return p, nil
	}
	if text := ticketOf(r); text != "" {
		return h.tickets.use(r.Context(), text, r.Header.Get("Origin"))
	}
	return h.authenticate(r)
}

// authenticate asks the host for the caller's principal.
func (h *Hub) authenticate(r *http.Request) (p Principal, err error) {
	if at := h.address(r); at.IsValid() { // no address takes all places
		leave, ok := h.doors.enter(r.Context(), at, r.Header)
		if !ok {
			h.stats.limits.host.Add(1)
			return Principal{}, ErrBusy
		}
		defer func() { leave(err) }()
	}
	p, err = callHost(r.Context(), h.calls.authenticate, func(ctx context.Context) (Principal, error) {
		r := r.WithContext(ctx)
		r.Body = http.NoBody // a POST's is ours to read
		return h.auth.Authenticate(r)
	})
	if err != nil {
		if !errors.Is(err, ErrUnauthenticated) && h.hostLogs.Allow() {
			h.log.Warn("carewire: the Authenticator refused a caller", "forbidden", errors.Is(err, ErrForbidden), "cause", causeOf(err))
		}
		return Principal{}, err
	}
	p.Patients, p.Groups = slices.Clone(p.Patients), slices.Clone(p.Groups)
	if name := cleanName(p.Name); name != p.Name {
		p.Name = name
		if h.hostLogs.Allow() {
			h.log.Warn("carewire: a Principal's Name was cleaned: it is too long or holds unprintable characters", "principal", sealedKey(p.ID))
		}
	}
	if !p.valid() {
		h.log.Error("carewire: the Authenticator returned an unusable Principal", "principal", sealedKey(p.ID))
		return Principal{}, errors.New("carewire: unusable principal")
	}
	if !p.Expires.IsZero() && !p.Expires.After(h.now()) {
		return Principal{}, ErrUnauthenticated
	}
	return p, nil
}
