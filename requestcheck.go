package carewire

// check validates the members that are not part of an object.
func (r *request) check() error {
	switch r.Type {
	case reqWatch, reqUnwatch:
		return r.checkWatch()
	case reqWave:
		switch {
		case r.Req != "":
			return invalid("req", "must be left out: a wave has no reply")
		case len(r.Chunks) == 0:
			return invalid("waves", "required")
		}
	case reqPublish:
		if len(r.Vitals) == 0 {
			return invalid("vitals", "required")
		}
	case reqRaise:
		if r.Raise.ID = r.EventID; !validID(r.EventID) {
			return invalid("event_id", "must be an ID")
		}
		return withinMember("alert", r.Raise.Validate())
	case reqClear, reqAnswer, reqHandover:
		return r.checkAnswer()
	case reqPause:
		return r.Pause.validate()
	case reqUnpause:
		if !validID(r.Pause.Patient) {
			return invalid("patient", "must be an ID")
		}
	case reqReceipt:
		return r.Receipt.validate()
	case reqNotify:
		if r.Notice.ID == "" {
			return invalid("notice.notice_id", "required")
		}
		return withinMember("notice", r.Notice.Validate())
	case reqHistory:
		if !validPatient(r.History.Patient) {
			return invalid("patient", "must be an ID")
		}
		if len(r.History.Key) > 200 || !validText(r.History.Key, 200) {
			return invalid("key", "too long")
		}
	case reqToken:
		if r.Token == "" || len(r.Token) > 8192 {
			return invalid("token", "required, at most 8192 bytes")
		}
	}
	return nil
}

func (r *request) checkWatch() error {
	if len(r.Patients)+len(r.Groups) == 0 {
		return invalid("patients", "patients or groups are required")
	}
	for i, p := range r.Patients {
		if !validPatient(p) {
			return invalid(indexedField("patients", i), "must be an ID")
		}
	}
	for i, g := range r.Groups {
		if !validID(g) {
			return invalid(indexedField("groups", i), "must be an ID")
		}
	}
	for p, pos := range r.Since {
		if !validPatient(p) || pos.Epoch == "" && pos.Seq != 0 || len(pos.Epoch) > 64 {
			return invalid("since", "must give epoch and seq for IDs of patients")
		}
	}
	switch r.Delivery {
	case "":
		r.Delivery = DeliverLatest
	case DeliverLatest, DeliverEvery, DeliverAlerts:
	default:
		return invalid("delivery", "must be latest, every or alerts")
	}
	for i, code := range r.Waves {
		if !validCode(code) {
			return invalid(indexedField("waves", i), "must be a code")
		}
	}
	if !validWriting(r.Reason, 1000) || r.Emergency && blank(r.Reason) {
		return invalid("reason", "must be printable text, and is required for an emergency")
	}
	r.Reason = cleanText(r.Reason)
	return nil
}

// checkAnswer validates clear, answer and handover.
func (r *request) checkAnswer() error {
	if !validID(r.EventID) {
		return invalid("event_id", "must be an ID")
	}
	if r.Type == reqHandover {
		r.Answer.Do, r.Answer.ID = AnswerHandover, r.EventID
		return r.Answer.validate()
	}
	if err := r.Ref.Validate(); err != nil {
		return err
	}
	if r.Ref.ID == "" {
		return invalid("alert_id", "required")
	}
	if r.Type == reqClear {
		return nil
	}
	r.Answer.ID = r.EventID
	return r.Answer.validate()
}
