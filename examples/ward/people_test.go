package main

import (
	"errors"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/carewire/carewire"
)

func TestPeople(t *testing.T) {
	p := newPeople(12)
	tests := []struct {
		token    string
		role     carewire.Role
		patients int // the patients whom they may know of
	}{
		{"nurse-ada", carewire.RoleClinician, 13},
		{"dr-bell", carewire.RoleClinician, 13},
		{"rosa", carewire.RolePatient, 1},
		{"tom", carewire.RolePatient, 1},
		{"gateway-1", carewire.RoleDevice, 13},
		{"screen-5", carewire.RoleViewer, 8},
	}
	for _, test := range tests {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+test.token)
		u, err := p.Authenticate(r)
		if err != nil || u.Role != test.role || len(p.of(u)) != test.patients {
			t.Errorf("%s: %v, %s, %d patients", test.token, err, u.Role, len(p.of(u)))
		}
	}
	for _, token := range []string{"", "nurse", "nurse-ada ada", "Rosa"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		if _, err := p.Authenticate(r); !errors.Is(err, carewire.ErrUnauthenticated) {
			t.Errorf("token %q: %v", token, err)
		}
	}
	five, _ := p.Patients(t.Context(), wardFive)
	six, _ := p.Patients(t.Context(), wardSix)
	none, err := p.Patients(t.Context(), "ward-7")
	if !slices.Equal(append(five, six...), p.ids()) || len(none) > 0 || err != nil {
		t.Errorf("wards: %v, %v, %v, %v", five, six, none, err)
	}
}
