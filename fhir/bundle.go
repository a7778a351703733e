package fhir

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

type bundle struct {
	ResourceType string        `json:"resourceType"`
	ID           string        `json:"id,omitempty"`
	Type         string        `json:"type"`
	Timestamp    string        `json:"timestamp,omitempty"`
	Total        *int          `json:"total,omitempty"`
	Link         []bundleLink  `json:"link,omitempty"`
	Entry        []bundleEntry `json:"entry,omitempty"`
}

type bundleLink struct {
	Relation string `json:"relation"`
	URL      string `json:"url"`
}

type bundleEntry struct {
	FullURL  string          `json:"fullUrl,omitempty"`
	Resource any             `json:"resource,omitempty"`
	Search   *bundleSearch   `json:"search,omitempty"`
	Request  *bundleRequest  `json:"request,omitempty"`
	Response *bundleResponse `json:"response,omitempty"`
}

type bundleSearch struct {
	Mode string `json:"mode"`
}

type bundleRequest struct {
	Method string `json:"method"`
	URL    string `json:"url"`
}

type bundleResponse struct {
	Status   string `json:"status"`
	Location string `json:"location,omitempty"`
	Outcome  any    `json:"outcome,omitempty"`
}

func (s *Server) newSearchset(c *caller) *bundle {
	self := s.opt.Base + "/" + strings.Trim(c.r.URL.Path, "/")
	if q := c.r.URL.RawQuery; q != "" {
		self += "?" + q
	}
	return &bundle{ResourceType: "Bundle", Type: "searchset", Link: []bundleLink{{"self", self}}}
}

// add appends a match.
func (b *bundle) add(base, typ, id string, resource any) {
	e := bundleEntry{Resource: resource, Search: &bundleSearch{"match"}}
	if id != "" {
		e.FullURL = base + "/" + typ + "/" + id
	}
	b.Entry = append(b.Entry, e)
}

// warn appends a search's warnings to the client.
func (b *bundle) warn(code, text string) {
	o := &operationOutcome{"OperationOutcome", []issue{{Severity: "warning", Code: code, Diagnostics: text}}}
	b.Entry = append(b.Entry, bundleEntry{Resource: o, Search: &bundleSearch{"outcome"}})
}

// A posted is one entry of a batch or transaction, as it was read.
type posted struct {
	vitals []carewire.Vital
	unsaid []string
	first  int // of the results, its first
	err    error
}

// postBundle takes a batch or a transaction of Observations. Of a transaction
// nothing is taken in unless every entry is well-formed, allowed, in conflict with
// nothing that is stored and has an identifier, by which a repetition of it is
// recognised. A Store takes entries one by one: should it fail in the middle, or
// something change after it was asked, the client is told to send the same again,
// and entries that were taken in already are not taken twice.
func (s *Server) postBundle(c *caller, _ []string) (*response, error) {
	e, _, err := c.resource()
	if err != nil {
		return nil, err
	}
	typ := e.get("type").str()
	entries := e.get("entry").items()
	switch {
	case e.get("resourceType").str() != "Bundle" || typ != "batch" && typ != "transaction":
		return nil, &failure{status: http.StatusUnprocessableEntity, code: "invalid", text: "must be a Bundle of the type batch or transaction", expression: "Bundle.type"}
	case len(entries) > s.opt.MaxEntries:
		return nil, fail(http.StatusRequestEntityTooLarge, "too-costly", "too many entries")
	case e.doc.err != nil:
		return nil, e.doc.err
	}
	atomic := typ == "transaction"
	list := make([]posted, len(entries))
	vitals := make([][]carewire.Vital, len(entries))
	first := 0
	for i, entry := range entries {
		p := &list[i]
		p.read(entry)
		if p.err == nil {
			p.vitals, p.err = s.settle(c, p.vitals)
			if p.err == nil && atomic && p.vitals[0].ID == "" {
				p.err = invalid(entry.path+".resource.identifier", "required in a transaction")
			}
		}
		if p.err != nil && atomic {
			return nil, inEntry(entry.path, p.err)
		}
		p.first, vitals[i] = first, p.vitals
		first += len(p.vitals)
	}
	if atomic {
		if err := s.checkTransaction(c, vitals); err != nil {
			return nil, err
		}
	}
	results := s.publish(c, vitals...)
	heads := s.headsOf(c, slices.Concat(vitals...))
	out := &bundle{ResourceType: "Bundle", Type: typ + "-response"}
	for i := range list {
		p := &list[i]
		for j := range p.vitals {
			if p.err == nil {
				p.err = results[p.first+j].failure()
			}
		}
		if p.err != nil && atomic {
			return nil, partly(p.err)
		}
		out.Entry = append(out.Entry, bundleEntry{Response: p.response(results, heads)})
	}
	return &response{resource: out}, nil
}

// response is the result of one entry.
func (p *posted) response(results []hubResult, heads map[string]carewire.Head) *bundleResponse {
	if p.err != nil {
		f := failureOf(p.err)
		return &bundleResponse{Status: statusText(f.status), Outcome: f.outcome()}
	}
	first := results[p.first]
	r := &bundleResponse{Status: statusText(createdStatus(first.Repeated))}
	if id := idOf(heads, p.vitals[0].Patient, first.Seq); id != "" {
		r.Location = "Observation/" + id
	}
	if o := notSaid(p.unsaid); o != nil {
		r.Outcome = o
	}
	return r
}

// read reads one entry. Errors name it.
func (p *posted) read(entry *element) {
	doc := entry.doc
	outer := doc.err
	request := entry.get("request")
	resource := entry.get("resource")
	switch {
	case request == nil || resource == nil:
		p.err = invalid(entry.path, "must have a request and a resource")
		return
	case request.get("method").str() != "POST" || request.get("url").str() != "Observation":
		p.err = invalid(entry.path+".request", "must be POST to Observation")
		return
	}
	var err error
	doc.err = nil
	p.vitals, p.unsaid, err = vitalsOf(resource)
	doc.err = outer // the fault of one entry of a batch is its own
	if err != nil {
		p.err = inEntry(entry.path, err)
		return
	}
	for i := range p.unsaid {
		p.unsaid[i] = strings.TrimPrefix(p.unsaid[i], resource.path+".")
	}
	if n := request.get("ifNoneExist"); n != nil {
		if p.err = identify(p.vitals, n.str()); p.err != nil {
			p.vitals = nil
			return
		}
	}
}

// inEntry puts an entry's path before an error's, where it is not there yet.
func inEntry(path string, err error) error {
	if v, ok := err.(*carewire.ValidationError); ok && !strings.HasPrefix(v.Field, path) {
		return invalid(path+".resource."+v.Field, v.Reason)
	}
	return err
}

// checkTransaction reports why not all of a transaction would be taken in, given
// the vitals of each entry.
func (s *Server) checkTransaction(c *caller, entries [][]carewire.Vital) error {
	var entryOf []string
	for i := range entries {
		for range entries[i] {
			entryOf = append(entryOf, "entry["+itoa(i)+"]")
		}
	}
	vitals := slices.Concat(entries...)
	named := make(map[[2]string]bool)
	for i := range vitals {
		v := &vitals[i]
		v.Received = time.Time{} // the Hub's to say
		for _, id := range []string{v.ID, v.Replaces} {
			if id == "" {
				continue
			}
			if named[[2]string{v.Patient, id}] {
				return invalid(entryOf[i]+".resource.identifier", "must not stand in another entry of a transaction")
			}
			named[[2]string{v.Patient, id}] = true
		}
	}
	_, sendable := s.outgoings(entries)
	for i, err := range s.hub.CheckPublish(c.r.Context(), c.who, vitals...) {
		if err = cmp.Or(sendable[i].err, err); err != nil {
			f := *failureOf(err)
			f.expression = entryOf[i]
			return &f
		}
	}
	return nil
}

// partly says of a transaction that some of it may have been taken in.
func partly(err error) error {
	f := *failureOf(err)
	f.text = "some entries may have been taken in: send the same transaction again, those are recognised by their identifiers"
	return &f
}

func statusText(status int) string {
	return strconv.Itoa(status) + " " + http.StatusText(status)
}

func createdStatus(repeated bool) int {
	if repeated {
		return http.StatusOK
	}
	return http.StatusCreated
}
