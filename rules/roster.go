package rules

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"time"
)

// The roster decides which node judges which patient. It is the list of the
// nodes that are alive, which all of them share by compare-and-set in the Store.
// There is no leader. A node says every beat that it is alive, and up to when it
// has judged all of its patients; one that has not for stale is gone, and the
// others take over from the time that it has said last.
const (
	beat      = time.Second
	stale     = 4 * time.Second
	rosterKey = "rules"
)

// roster is shared by the nodes.
type roster struct {
	Generation uint64            `json:"generation"` // counts how often the list of members changed
	Members    map[string]member `json:"members"`
	Gone       map[string]member `json:"gone,omitempty"` // not caught up with by all others yet
	Changes    []change          `json:"changes,omitempty"`
}

// A change names the patients whose Settings have changed; none means all.
type change struct {
	Number   uint64   `json:"number"`
	Patients []string `json:"patients,omitempty"`
}

const changesKept = 64

// announce adds a change.
func (r *roster) announce(patients []string) {
	if len(patients) > 200 {
		patients = nil
	}
	r.Changes = append(r.Changes, change{r.newest() + 1, patients})
	r.Changes = r.Changes[max(0, len(r.Changes)-changesKept):]
}

// newest is the number of the newest change.
func (r *roster) newest() uint64 {
	if len(r.Changes) == 0 {
		return 0
	}
	return r.Changes[len(r.Changes)-1].Number
}

// changed lists whose Settings have changed after the given change; all reports
// whether that is everybody.
func (r *roster) changed(after uint64) (patients []string, all bool) {
	for i, c := range r.Changes {
		if c.Number <= after {
			continue
		}
		if len(c.Patients) == 0 || i == 0 && c.Number > after+1 {
			return nil, true
		}
		patients = append(patients, c.Patients...)
	}
	return patients, false
}

// member is a node's report of itself.
type member struct {
	Until      millis `json:"until"`      // alive until then
	Judged     millis `json:"judged"`     // all entries of its patients that were received before this are judged
	Own        millis `json:"own"`        // the same without the patients whom others are still taking over from it
	Generation uint64 `json:"generation"` // with the patients of this list
}

// report says that me is alive, and returns the roster as it is then.
func report(old []byte, me string, now, own, judged millis, generation uint64) roster {
	var r roster
	if json.Unmarshal(old, &r) != nil {
		r = roster{}
	}
	if r.Members == nil {
		r.Members = make(map[string]member)
	}
	if r.Gone == nil {
		r.Gone = make(map[string]member)
	}
	for name, m := range r.Members {
		if m.Until <= now {
			r.leave(name, m)
		}
	}
	if _, ok := r.Members[me]; !ok {
		r.Generation++
		generation = 0
	}
	if old, ok := r.Members[me]; ok && generation == 0 { // of a life before this one
		own, judged = min(own, old.Judged), min(judged, old.Judged)
	}
	r.Members[me] = member{Until: now + span(stale), Judged: judged, Own: own, Generation: generation}
	for name, g := range r.Gone {
		if r.caughtUp(g) {
			delete(r.Gone, name)
		}
	}
	return r
}

// leave moves a member to those who are gone.
func (r *roster) leave(name string, m member) {
	r.Generation++
	m.Generation = r.Generation
	if old, ok := r.Gone[name]; ok {
		m.Judged = min(m.Judged, old.Judged)
	}
	delete(r.Members, name)
	r.Gone[name] = m
}

// caughtUp reports whether all members have taken over the patients of a node that is
// gone.
func (r *roster) caughtUp(g member) bool {
	for _, m := range r.Members {
		if m.Generation < g.Generation || m.Own <= g.Judged {
			return false
		}
	}
	return true
}

// takenOver reports whether all that me has given up, judged up to left, is with
// others who have judged on from there.
func (r *roster) takenOver(me string, left millis) bool {
	for name, m := range r.Members {
		if m.Generation < r.Generation || name != me && m.Own <= left {
			return false
		}
	}
	return true
}

// since is the time up to which all patients' entries are judged, by any node.
func (r *roster) since(now millis) millis {
	least := now
	for _, list := range []map[string]member{r.Members, r.Gone} {
		for _, m := range list {
			least = min(least, m.Judged)
		}
	}
	return least
}

// owner returns which of the members judges a patient.
func (r *roster) owner(patient string) string {
	var best string
	var most uint64
	for name := range r.Members {
		h := fnv.New64a()
		h.Write([]byte(name))
		h.Write([]byte{0})
		h.Write([]byte(patient))
		if n := mix(h.Sum64()); best == "" || n > most || n == most && name > best {
			best, most = name, n
		}
	}
	return best
}

// mix spreads the bits of a hash whose last bytes have moved its low bits only.
func mix(x uint64) uint64 {
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>32
}

// beat reports to the other nodes. away takes this node off the list.
func (j *Judge) beat(ctx context.Context, away bool) error {
	began := time.Now()
	now := millisOf(j.hub.Now())
	own, judged := j.judgedUpTo()
	j.mu.Lock()
	news := j.toAnnounce
	j.mu.Unlock()
	var r roster
	_, err := j.hub.Share(ctx, rosterKey, func(old []byte) []byte {
		r = report(old, j.opt.Node, now, own, judged, j.generation)
		if away {
			r.leave(j.opt.Node, r.Members[j.opt.Node])
		}
		for _, patients := range news {
			r.announce(patients)
		}
		b, _ := json.Marshal(r)
		return b
	})
	if err != nil {
		return err
	}
	j.mu.Lock()
	j.toAnnounce = j.toAnnounce[len(news):]
	if r.takenOver(j.opt.Node, j.left) {
		j.left = never
	}
	j.mu.Unlock()
	if j.generation > 0 {
		j.refresh(r.changed(j.seen))
	}
	j.seen = r.newest()
	if r.Generation != j.roster.Generation {
		j.settled = began.Add(beat)
		if len(r.Members) == 1 {
			j.settled = began
		}
	}
	j.roster = r
	if !j.onDuty() {
		j.dutyBegan.Store(int64(time.Since(j.began)))
	}
	j.dutyEnds.Store(int64(began.Add(stale).Sub(j.began)))
	return nil
}

// onDuty reports whether the other nodes still count on this one.
func (j *Judge) onDuty() bool { return int64(time.Since(j.began)) < j.dutyEnds.Load() }

// steady reports whether this node has been on duty for so long that all that has waited
// for the Store is in the log.
func (j *Judge) steady() bool {
	return j.onDuty() && int64(time.Since(j.began))-j.dutyBegan.Load() >= int64(grace)
}
