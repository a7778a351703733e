package fhir

import (
	"github.com/carewire/carewire"
)

// openAlerts returns the alerts of a patient that are open and c may see.
func (s *Server) openAlerts(c *caller, patient string) (list []*carewire.Alert, err error) {
	ctx := c.r.Context()
	if _, err := s.hub.Disclose(ctx, carewire.Access{Principal: c.who, Action: carewire.ActionWatch, Patients: []string{patient}}); err != nil {
		return nil, err
	}
	q := carewire.OpenQuery{Patients: []string{patient}, Limit: 1000}
	for {
		items, next, err := s.hub.Open(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, it := range items {
			if it.Alert != nil && c.who.Sees(carewire.Event{Type: carewire.EventAlert, Patient: patient, Alert: it.Alert}) {
				list = append(list, it.Alert)
			}
		}
		if q.After = next; next == "" {
			return list, nil
		}
	}
}

// searchAlerts returns the resources that write makes of a patient's open
// alerts.
func (s *Server) searchAlerts(c *caller, typ string, write func(*carewire.Alert) any) (*response, error) {
	f, err := c.readSearch("patient", "subject", "status", "_count")
	if err != nil {
		return nil, err
	}
	if err := s.looks.take(c.who.ID, 1); err != nil {
		return nil, err
	}
	list, err := s.openAlerts(c, f.patient)
	if err != nil {
		return nil, err
	}
	out := s.newSearchset(c)
	for _, a := range list {
		if !f.none {
			out.add(s.opt.Base, typ, alertID(a), write(a))
		}
	}
	n := len(out.Entry)
	out.Total = &n
	return &response{resource: out}, nil
}

// readAlert finds an open alert by its logical ID.
func (s *Server) readAlert(c *caller, id string) (*carewire.Alert, error) {
	if err := s.looks.take(c.who.ID, 1); err != nil {
		return nil, err
	}
	q := carewire.OpenQuery{Limit: 1000}
	for {
		items, next, err := s.hub.Open(c.r.Context(), q)
		if err != nil {
			return nil, err
		}
		for _, it := range items {
			if it.Alert == nil || alertID(it.Alert) != id {
				continue
			}
			if !c.who.Sees(carewire.Event{Type: carewire.EventAlert, Patient: it.Alert.Patient, Alert: it.Alert}) {
				return nil, errNotFound
			}
			_, err := s.hub.Disclose(c.r.Context(), carewire.Access{Principal: c.who, Action: carewire.ActionWatch, Patients: []string{it.Alert.Patient}})
			if f := failureOf(err); err != nil && f.status == errForbidden.status {
				return nil, errNotFound
			}
			return it.Alert, err
		}
		if q.After = next; next == "" {
			return nil, errNotFound
		}
	}
}

func (s *Server) searchFlags(c *caller, _ []string) (*response, error) {
	return s.searchAlerts(c, "Flag", func(a *carewire.Alert) any { return newFlag(a) })
}

func (s *Server) readFlag(c *caller, args []string) (*response, error) {
	a, err := s.readAlert(c, args[0])
	if err != nil {
		return nil, err
	}
	return &response{resource: newFlag(a)}, nil
}

func (s *Server) searchDetectedIssues(c *caller, _ []string) (*response, error) {
	return s.searchAlerts(c, "DetectedIssue", func(a *carewire.Alert) any { return newDetectedIssue(a) })
}

func (s *Server) readDetectedIssue(c *caller, args []string) (*response, error) {
	a, err := s.readAlert(c, args[0])
	if err != nil {
		return nil, err
	}
	return &response{resource: newDetectedIssue(a)}, nil
}
