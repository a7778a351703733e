package carewire

import "time"

// signed returns r as a record of an action of c's client.
func (c *conn) signed(r Record) Record {
	r.Who, r.Session, r.Conn, r.Address = c.principal().person(), c.principal().Session, c.session, addressText(c.address)
	return r
}

func (c *conn) record(r Record, err error) { c.hub.audit.record(c.signed(r.failed(err))) }

// countVitals counts the results of c's vitals.
func (c *conn) countVitals(vitals []Vital, results []PublishResult) {
	c.tally().add(c.hub.ticks(), vitals, results)
	for i := range results {
		if results[i].Err == errLimit {
			c.hub.stats.limits.keys.Add(1)
		}
	}
}

// countedWave counts the result of a chunk of a patient's waves.
func (c *conn) countedWave(patient string, err error) {
	c.tally().count(c.hub.ticks(), patient, err)
}

// tally counts the vitals that c has sent and that are not recorded yet.
func (c *conn) tally() *tally {
	if c.sent.Load() == nil {
		c.sent.CompareAndSwap(nil, new(tally))
	}
	return c.sent.Load()
}

// recordSent records c's vitals and waves of the last minute, if it is over.
func (c *conn) recordSent(least time.Duration) {
	if t := c.sent.Load(); t != nil {
		if r, ok := t.take(c.hub.ticks(), least); ok {
			c.hub.audit.record(c.signed(r))
		}
	}
}

// recordRequest records the result of a request other than a read. a is the
// alert that it left.
func (c *conn) recordRequest(r *request, a *Alert, err error) {
	rec := Record{Patient: r.Ref.Patient, Key: r.Ref.Key, ID: r.Ref.ID, Test: a.Test}
	switch r.Type {
	case reqRaise:
		rec.Event, rec.Patient, rec.Key, rec.ID, rec.Test = AuditRaise, r.Raise.Patient, r.Raise.Key, r.EventID, r.Raise.Test
		if err == nil {
			rec.Key, rec.ID = a.Key, a.ID
		}
	case reqClear:
		rec.Event = AuditClear
	case reqAnswer:
		rec.Event, rec.Do = AuditAnswer, r.Answer.Do
		if r.Answer.Do == AnswerClose {
			rec.Event = AuditClose
		}
	case reqPause:
		rec = r.Pause.record(c.principal())
	case reqUnpause:
		rec.Event, rec.Patient = AuditPauseEnded, r.Pause.Patient
	case reqReceipt:
		rec.Event, rec.Patient, rec.Key, rec.Stage = AuditReceipt, r.Receipt.Patient, r.Receipt.Key, r.Receipt.Stage
		rec.ID = r.Receipt.AlertID + r.Receipt.NoticeID // one of them is empty
	case reqNotify:
		rec.Event, rec.Patient, rec.ID = AuditNotice, r.Notice.Patient, r.Notice.ID
	default:
		return
	}
	c.record(rec, err)
}
