package carewire

// turns queues the work of several senders, in the order of each. The senders
// take turns, so that one that sends much delays no other.
type turns[T any] struct {
	bySender map[string][]T
	order    []string // senders with waiting work, the next first
}

// add puts v at the end of a sender's queue.
func (t *turns[T]) add(sender string, v T) {
	of := t.listOf(sender)
	t.bySender[sender] = append(of, v)
}

// putBack puts v at the front of a sender's queue.
func (t *turns[T]) putBack(sender string, v ...T) {
	of := t.listOf(sender)
	t.bySender[sender] = append(v, of...)
}

func (t *turns[T]) listOf(sender string) []T {
	of, ok := t.bySender[sender]
	if !ok {
		if t.bySender == nil {
			t.bySender = make(map[string][]T)
		}
		t.order = append(t.order, sender)
	}
	return of
}

// take moves at most most items to the end of a list, at most each of them from
// one sender in a turn.
func (t *turns[T]) take(to []T, most, each int) []T {
	for most > 0 && len(t.order) > 0 {
		sender := t.order[0]
		of := t.bySender[sender]
		n := min(len(of), most)
		if len(t.order) > 1 {
			n = min(n, each)
		}
		to, most = append(to, of[:n]...), most-n
		t.order = t.order[1:]
		if n == len(of) {
			delete(t.bySender, sender)
			continue
		}
		clear(of[:n]) // for the collector
		t.bySender[sender] = of[n:]
		t.order = append(t.order, sender)
	}
	if len(t.order) == 0 {
		t.order = nil
	}
	return to
}

// An intake is the vitals and timers that wait for a lane.
type intake struct {
	turns[job]
	n       int            // all that wait, those too whose patient's chart is being read
	waiting map[string]int // how many wait, by sender
}

const (
	intakeMax = 1 << 14 // vitals that may wait for one lane
	turnMax   = 64      // vitals of one sender that are taken in a turn, where others wait
)

// hasRoom reports whether n more vitals of a sender may wait. A sender other
// than the host never has more waiting than there is room left for others.
func (q *intake) hasRoom(sender string, n int) bool {
	left := intakeMax - q.n - n
	return left >= 0 && (sender == hostSender || q.waiting[sender]+n <= left)
}

// count adds n to the number of a sender's waiting vitals.
func (q *intake) count(sender string, n int) {
	if q.waiting == nil {
		q.waiting = make(map[string]int)
	}
	q.n += n
	addCount(q.waiting, sender, n)
}

func (q *intake) push(j job) {
	q.count(j.entry.Sender, 1)
	q.add(j.entry.Sender, j)
}

// pull moves at most n vitals to the end of jobs.
func (q *intake) pull(jobs []job, n int) []job {
	from := len(jobs)
	jobs = q.take(jobs, n, turnMax)
	for _, j := range jobs[from:] {
		q.count(j.entry.Sender, -1)
	}
	return jobs
}
