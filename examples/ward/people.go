package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/carewire/carewire"
)

// A patient of the ward.
type patient struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Bed   string `json:"bed"`
	Group string `json:"group"` // the ward, as carewire knows it
}

// A user of the demonstration. A real host keeps users elsewhere, and of
// tokens nothing that could be used as one.
type user struct {
	carewire.Principal
	token string
	about string
	phone string
}

// people are the patients and users of this hospital. They do not change, so
// all of its methods may be called at any time.
type people struct {
	patients []patient // the last one has no simulated monitor
	users    []user
}

const (
	wardFive = "ward-5"
	wardSix  = "ward-6"
	onCall   = "on-call"
)

var names = []string{"Rosa Alvarez", "Tom Baker", "Chen Li", "Dana Fox", "Emil Hansen", "Fatima Noor",
	"Grace Kim", "Hugo Meyer", "Ines Silva", "Jonas Weber", "Kofi Mensah", "Lena Novak"}

// newPeople makes a hospital of n patients with a monitor and one without, for
// whom anybody may bring a device. Two thirds lie on ward 5, the rest on ward 6.
func newPeople(n int) *people {
	p := new(people)
	for i := range n + 1 {
		name, group := fmt.Sprintf("Patient %d", i+1), wardFive
		if i < len(names) {
			name = names[i]
		}
		if i >= (2*n+2)/3 {
			group = wardSix
		}
		if i == n {
			name = "Max Ortiz"
		}
		p.patients = append(p.patients, patient{ID: fmt.Sprintf("p-%02d", i+1), Name: name, Group: group,
			Bed: fmt.Sprintf("Ward %s · Bed %d", group[len("ward-"):], i+1)})
	}
	add := func(token, name string, role carewire.Role, about string, groups, patients []string) {
		p.users = append(p.users, user{carewire.Principal{ID: token, Name: name, Role: role, Groups: groups, Patients: patients}, token, about, fmt.Sprintf("+1202555010%d", len(p.users))})
	}
	both := []string{wardFive, wardSix}
	add("nurse-ada", "Nurse Ada", carewire.RoleClinician, "clinician, wards 5 and 6", both, []string{carewire.SystemPatient})
	add("dr-bell", "Dr. Bell", carewire.RoleClinician, "clinician, wards 5 and 6, on call", append(both, onCall), []string{carewire.SystemPatient})
	add("rosa", p.patients[0].Name, carewire.RolePatient, "patient "+p.patients[0].ID, nil, []string{p.patients[0].ID})
	add("tom", p.patients[1].Name, carewire.RolePatient, "patient "+p.patients[1].ID, nil, []string{p.patients[1].ID})
	add("gateway-1", "Gateway 1", carewire.RoleDevice, "device gateway, all patients", nil, p.ids())
	add("screen-5", "Screen in the corridor", carewire.RoleViewer, "viewer, ward 5", []string{wardFive}, nil)
	return p
}

// monitored are the patients that have a simulated monitor.
func (p *people) monitored() []patient { return p.patients[:len(p.patients)-1] }

// spare is the patient for whom anybody may bring a device.
func (p *people) spare() patient { return p.patients[len(p.patients)-1] }

func (p *people) ids() []string {
	var ids []string
	for _, x := range p.patients {
		ids = append(ids, x.ID)
	}
	return ids
}

func (p *people) patient(id string) (patient, bool) {
	i := slices.IndexFunc(p.patients, func(x patient) bool { return x.ID == id })
	if i < 0 {
		return patient{}, false
	}
	return p.patients[i], true
}

// Authenticate returns the owner of a request's bearer token. It makes people
// a carewire.Authenticator.
func (p *people) Authenticate(r *http.Request) (carewire.Principal, error) {
	token := carewire.Token(r)
	for _, u := range p.users {
		if u.token == token {
			return u.Principal, nil
		}
	}
	return carewire.Principal{}, carewire.ErrUnauthenticated
}

// Patients lists the patients of a ward. It makes people a carewire.Directory.
func (p *people) Patients(_ context.Context, group string) ([]string, error) {
	var ids []string
	for _, x := range p.patients {
		if x.Group == group {
			ids = append(ids, x.ID)
		}
	}
	return ids, nil
}

// of lists the patients that a user may know of.
func (p *people) of(u carewire.Principal) []patient {
	list := []patient{}
	for _, x := range p.patients {
		if slices.Contains(u.Patients, x.ID) || slices.Contains(u.Groups, x.Group) {
			list = append(list, x)
		}
	}
	return list
}

// names are those of the staff, and of users who are patients that u may know of.
func (p *people) names(u carewire.Principal) map[string]string {
	names := map[string]string{}
	for _, x := range p.users {
		known := x.Role == carewire.RoleClinician
		for _, y := range p.of(u) {
			known = known || x.Role == carewire.RolePatient && slices.Contains(x.Principal.Patients, y.ID)
		}
		if known {
			names[x.ID] = x.Name
		}
	}
	return names
}
