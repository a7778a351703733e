package carewire

// Recognition tells that a machine has understood an event from speech, a
// picture or numbers, how sure it was, and which machine. The zero Recognition
// tells that none has.
type Recognition struct {
	Kind       RecognitionKind // required
	Model      string          // the recogniser with its version, at most 128 characters; required
	Confidence Decimal         // its own measure, from 0 to 1; required; the Hub rounds it to 15 digits
}

// RecognitionKind is the kind of input in which a machine has recognised
// something.
type RecognitionKind string

// The kinds.
const (
	RecognitionSpeech RecognitionKind = "speech" // from speech
	RecognitionImage  RecognitionKind = "image"  // from a picture
	RecognitionModel  RecognitionKind = "model"  // from numbers
)

// check returns the first fault of r.
func (r *Recognition) check() error {
	if *r == (Recognition{}) {
		return nil
	}
	switch {
	case r.Kind != RecognitionSpeech && r.Kind != RecognitionImage && r.Kind != RecognitionModel:
		return invalid("kind", "must be speech, image or model")
	case blank(r.Model) || !validText(r.Model, 128):
		return invalid("model", "must be printable text of 1 to 128 characters")
	case r.Confidence.rounded().check() != nil:
		return withinMember("confidence", r.Confidence.rounded().check())
	case r.Confidence.Float64() < 0 || r.Confidence.Float64() > 1:
		return invalid("confidence", "must be from 0 to 1")
	}
	return nil
}

// rounded returns r as the Hub keeps it.
func (r Recognition) rounded() Recognition {
	r.Confidence = r.Confidence.rounded()
	return r
}

func (r *Recognition) decode(s *scanner) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "kind":
			r.Kind = RecognitionKind(s.str())
		case "model":
			r.Model = s.str()
		case "confidence":
			r.Confidence = s.measured().rounded()
		default:
			return false
		}
		return true
	})
}

// encode writes r as the member name, if there is one.
func (r *Recognition) encode(e *encoder, name string) {
	if *r != (Recognition{}) {
		e.object(name, func() {
			e.str("kind", string(r.Kind))
			e.str("model", r.Model)
			e.raw("confidence", []byte(r.Confidence))
		})
	}
}
