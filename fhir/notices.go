package fhir

import (
	"crypto/rand"
	"net/http"

	"github.com/carewire/carewire"
)

func (s *Server) createCommunication(c *caller, _ []string) (*response, error) {
	e, _, err := c.resource()
	if err != nil {
		return nil, err
	}
	n, unsaid, err := noticeOf(e)
	if err != nil {
		return nil, err
	}
	if n.ID == "" {
		n.ID = rand.Text()
	}
	reply, err := s.ask(c, "notify", map[string]any{"notice": map[string]any{
		"patient": n.Patient, "notice_id": n.ID, "to": n.To, "text": n.Text, "replies_to": n.RepliesTo}})
	if err != nil {
		return nil, err
	}
	if reply.Notice == nil {
		return nil, errInternal
	}
	res := &response{status: http.StatusCreated, etag: `W/"1"`}
	id := ""
	if entry, err := s.store.Get(c.r.Context(), n.Patient, "n/"+n.ID); err == nil && entry.Rev == 1 { // later it is another revision's place
		id = entryID(n.Patient, entry.Position)
	}
	if id != "" {
		res.location = s.opt.Base + "/Communication/" + id
	}
	switch o := notSaid(unsaid); {
	case c.wants("representation"):
		res.resource = newCommunication(reply.Notice, id)
	case o != nil && !c.wants("minimal"):
		res.resource = o
	}
	return res, nil
}

func (s *Server) searchCommunications(c *caller, _ []string) (*response, error) {
	f, err := c.readSearch("patient", "subject", "date", "_count", "_cursor")
	if err != nil {
		return nil, err
	}
	return s.searchLog(c, f, carewire.KindNotice, "Communication", func(ev *hubEvent, id string) any { return newCommunication(ev.Notice, id) })
}

func (s *Server) readCommunication(c *caller, args []string) (*response, error) {
	ev, err := s.readEntry(c, args[0], carewire.KindNotice)
	if err != nil {
		return nil, err
	}
	return &response{resource: newCommunication(ev.Notice, args[0]), etag: `W/"1"`}, nil
}
