package fhir

// Topics of subscriptions, after the base.
const (
	topicVitals  = "/SubscriptionTopic/vitals"
	topicAlerts  = "/SubscriptionTopic/alerts"
	topicNotices = "/SubscriptionTopic/notices"
)

type capabilityStatement struct {
	ResourceType string           `json:"resourceType"`
	Status       string           `json:"status"`
	Date         string           `json:"date"`
	Kind         string           `json:"kind"`
	Instantiates []string         `json:"instantiates,omitempty"`
	Software     map[string]any   `json:"software"`
	Implements   map[string]any   `json:"implementation"`
	FHIRVersion  string           `json:"fhirVersion"`
	Format       []string         `json:"format"`
	Rest         []capabilityRest `json:"rest"`
}

type capabilityRest struct {
	Mode        string               `json:"mode"`
	Documents   string               `json:"documentation,omitempty"`
	Security    map[string]any       `json:"security"`
	Resource    []capabilityResource `json:"resource"`
	Interaction []capabilityCode     `json:"interaction"`
}

type capabilityResource struct {
	Type             string                `json:"type"`
	SupportedProfile []string              `json:"supportedProfile,omitempty"`
	Documentation    string                `json:"documentation,omitempty"`
	Interaction      []capabilityCode      `json:"interaction"`
	Conditional      bool                  `json:"conditionalCreate,omitempty"`
	SearchParam      []capabilityParam     `json:"searchParam,omitempty"`
	Operation        []capabilityOperation `json:"operation,omitempty"`
	Extension        []capabilityExtension `json:"extension,omitempty"`
}

type capabilityCode struct {
	Code string `json:"code"`
}

type capabilityParam struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

type capabilityOperation struct {
	Name       string `json:"name"`
	Definition string `json:"definition"`
}

type capabilityExtension struct {
	URL   string `json:"url"`
	Value string `json:"valueCanonical"`
}

func codesOf(codes ...string) (list []capabilityCode) {
	for _, c := range codes {
		list = append(list, capabilityCode{c})
	}
	return list
}

func paramsOf(pairs ...string) (list []capabilityParam) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, capabilityParam{pairs[i], pairs[i+1]})
	}
	return list
}

// transactionPromise is a transaction's promise, and no more.
const transactionPromise = "A transaction is checked as a whole before anything is stored: form, rights, and conflicts with stored entries. " +
	"Its entries are then stored one by one. If that breaks off, the answer is an error that asks for the same transaction again: " +
	"the entries already stored are recognised by their identifiers."

const backportBase = "http://hl7.org/fhir/uv/subscriptions-backport/"

// capabilities is the answer to GET [base]/metadata.
func (s *Server) capabilities() *capabilityStatement {
	operation := func(names ...string) (list []capabilityOperation) {
		for _, n := range names {
			base := backportBase + "OperationDefinition/backport-subscription-"
			if n == "lastn" {
				list = append(list, capabilityOperation{n, "http://hl7.org/fhir/OperationDefinition/Observation-lastn"})
				continue
			}
			list = append(list, capabilityOperation{n, base + n})
		}
		return list
	}
	var profiles []string
	for _, p := range []string{"heartrate", "resprate", "oxygensat", "bodytemp", "bp", "bodyweight", "bodyheight", "headcircum", "bmi"} {
		profiles = append(profiles, profileBase+p)
	}
	topics := []capabilityExtension{}
	for _, t := range []string{topicVitals, topicAlerts, topicNotices} {
		topics = append(topics, capabilityExtension{backportBase + "StructureDefinition/capabilitystatement-subscriptiontopic-canonical", s.opt.Base + t})
	}
	return &capabilityStatement{ResourceType: "CapabilityStatement", Status: "active", Date: "2026-11-28", Kind: "instance",
		Instantiates: []string{backportBase + "CapabilityStatement/backport-subscription-server-r4"},
		Software:     map[string]any{"name": "carewire"}, Implements: map[string]any{"description": "Live health monitoring", "url": s.opt.Base},
		FHIRVersion: "4.0.1", Format: []string{"application/fhir+json", "json"},
		Rest: []capabilityRest{{Mode: "server", Documents: transactionPromise,
			Security:    map[string]any{"cors": true, "description": "A bearer token, or another credential that the host accepts."},
			Interaction: codesOf("batch", "transaction"),
			Resource: []capabilityResource{
				{Type: "Observation", SupportedProfile: profiles, Documentation: "If-None-Exist takes identifier=[system|]value: that of the resource, if it has one.", Interaction: codesOf("create", "read", "search-type"), Conditional: true,
					SearchParam: paramsOf("patient", "reference", "subject", "reference", "code", "token", "category", "token", "date", "date"), Operation: operation("lastn")},
				{Type: "Communication", Interaction: codesOf("create", "read", "search-type"), SearchParam: paramsOf("patient", "reference", "subject", "reference")},
				{Type: "Flag", Documentation: "Alerts that are open.", Interaction: codesOf("read", "search-type"), SearchParam: paramsOf("patient", "reference", "subject", "reference")},
				{Type: "DetectedIssue", Documentation: "Alerts that are open.", Interaction: codesOf("read", "search-type"), SearchParam: paramsOf("patient", "reference")},
				{Type: "Subscription", SupportedProfile: []string{backportBase + "StructureDefinition/backport-subscription"},
					Interaction: codesOf("create", "read", "update", "delete", "search-type"), Extension: topics,
					Operation: operation("status", "events", "resend", "get-ws-binding-token")},
			}}}}
}
