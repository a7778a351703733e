package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

const schemaFile = "../docs/protocol.schema.json"

// frameSchema checks a frame's text by docs/protocol.schema.json.
type frameSchema struct {
	open   *jsonschema.Compiler // as the file has it
	closed *jsonschema.Compiler // every object without members that the file does not have
	mu     sync.Mutex
}

var loadSchema = sync.OnceValues(func() (*frameSchema, error) {
	b, err := os.ReadFile(schemaFile)
	if err != nil {
		return nil, err
	}
	var s frameSchema
	for _, c := range []struct {
		to    **jsonschema.Compiler
		close bool
	}{{&s.open, false}, {&s.closed, true}} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
		if err != nil {
			return nil, err
		}
		if c.close {
			closeObjects(doc)
		}
		*c.to = jsonschema.NewCompiler()
		if err := (*c.to).AddResource("schema.json", doc); err != nil {
			return nil, err
		}
		if _, err := (*c.to).Compile("schema.json"); err != nil {
			return nil, err
		}
	}
	return &s, nil
})

// schemaFor returns the schema of carewire.v1's frames. It may be used by
// several tests at once.
func schemaFor(t testing.TB) *frameSchema {
	t.Helper()
	s, err := loadSchema()
	require.NoError(t, err)
	return s
}

// request checks a frame from a client.
func (s *frameSchema) request(text []byte) error { return s.check(s.open, "request", text) }

// server checks a frame from a server as a client should: members that the
// schema does not have are allowed.
func (s *frameSchema) server(text []byte) error { return s.check(s.open, "serverFrame", text) }

// exact is server for this server's own frames: a member that the schema does
// not have is an error, for then it is not documented.
func (s *frameSchema) exact(text []byte) error { return s.check(s.closed, "serverFrame", text) }

// object checks the text of one object, such as Vital, with no other members.
func (s *frameSchema) object(name string, text []byte) error { return s.check(s.closed, name, text) }

func (s *frameSchema) check(c *jsonschema.Compiler, def string, text []byte) error {
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	if m, ok := v.(map[string]any); ok && (def == "serverFrame" || def == "request") {
		// Ask for the one that its type names: oneOf would list why it is none of the others.
		for _, prefix := range []string{"event.", "reply.", "request."} {
			name := prefix + fmt.Sprint(m["type"])
			if (prefix == "request.") == (def == "request") && s.has(name) {
				def = name
			}
		}
	}
	s.mu.Lock()
	schema, err := c.Compile("schema.json#/$defs/" + def)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return schema.Validate(v)
}

// has reports whether the schema has a definition of this name.
func (s *frameSchema) has(name string) bool { return definitions()[name] != nil }

var definitions = sync.OnceValue(func() map[string]json.RawMessage {
	var doc struct {
		Defs map[string]json.RawMessage `json:"$defs"`
	}
	b, err := os.ReadFile(schemaFile)
	if err == nil {
		err = json.Unmarshal(b, &doc)
	}
	if err != nil {
		panic(err)
	}
	return doc.Defs
})

// closeObjects allows no other members in every object that a schema describes.
func closeObjects(v any) {
	switch v := v.(type) {
	case map[string]any:
		if v["type"] == "object" && v["properties"] != nil && v["additionalProperties"] == nil {
			v["additionalProperties"] = false
		}
		for _, x := range v {
			closeObjects(x)
		}
	case []any:
		for _, x := range v {
			closeObjects(x)
		}
	}
}
