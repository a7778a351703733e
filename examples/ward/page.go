package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/examples/javascript"
	"github.com/carewire/carewire/examples/ward/page"
	"github.com/carewire/carewire/js/ble"
	"github.com/carewire/carewire/js/client"
	"github.com/carewire/carewire/js/elements"
)

// servePage serves the page, and the little it needs beside the Hub: the names
// of those its user may see, and the pages that went out.
func (w *ward) servePage(mux *http.ServeMux) {
	mux.Handle("/", secured("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
		"manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", http.FileServerFS(page.Files)))
	mux.Handle("GET /client.js", client.Handler())
	mux.Handle("GET /elements.js", elements.Handler())
	mux.Handle("GET /waves.js", client.Waves())
	mux.Handle("GET /ble.js", ble.Handler())
	for path, text := range map[string][]byte{"/simple": javascript.Page, "/wave": javascript.Wave, "/elements": javascript.Ward} {
		mux.Handle("GET "+path, secured("default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'",
			http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", "text/html; charset=utf-8")
				rw.Write(text)
			})))
	}
	mux.HandleFunc("GET /ward", w.known(func(_ *http.Request, u carewire.Principal) (any, error) {
		return map[string]any{"me": u.ID, "groups": append([]string{}, u.Groups...), "patients": w.people.of(u), "names": w.people.names(u),
			"system": slices.Contains(u.Patients, carewire.SystemPatient), "limits": u.Role == carewire.RoleClinician || u.Role == carewire.RoleViewer, "push": w.push.key.Public()}, nil
	}))
	mux.HandleFunc("GET /pages", w.known(func(_ *http.Request, u carewire.Principal) (any, error) {
		if u.Role != carewire.RoleClinician {
			return []sentPage{}, nil
		}
		return w.pager.sent(), nil
	}))
}

// secured adds the headers that isolate a page.
func secured(policy string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		next.ServeHTTP(rw, r)
	})
}

// known answers with JSON for the owner of the bearer token.
func (w *ward) known(answer func(*http.Request, carewire.Principal) (any, error)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "no-store")
		u, err := w.people.Authenticate(r)
		if err != nil {
			http.Error(rw, "unknown token", http.StatusUnauthorized)
			return
		}
		body, err := answer(r, u)
		switch {
		case errors.Is(err, carewire.ErrForbidden):
			http.Error(rw, "forbidden or unknown", http.StatusForbidden)
		case errors.As(err, new(badLimit)):
			http.Error(rw, err.Error(), http.StatusBadRequest)
		case errors.Is(err, errChanged):
			http.Error(rw, errChanged.Error(), http.StatusConflict)
		case errors.As(err, new(*carewire.ValidationError)):
			http.Error(rw, err.Error(), http.StatusBadRequest)
		case errors.Is(err, carewire.ErrNotFound):
			http.Error(rw, "it is over", http.StatusNotFound)
		case err != nil:
			http.Error(rw, "try again", http.StatusServiceUnavailable)
		default:
			rw.Header().Set("Content-Type", "application/json")
			json.NewEncoder(rw).Encode(body)
		}
	}
}
