package carewire

const chartReaders = 8 // patients of one lane whose charts are read at once

// newCharts are the charts that a lane does not have yet: they are read beside it,
// so that alerts, and the vitals of others, do not wait for that. The vitals of
// these patients wait here, in order.
type newCharts struct {
	jobs    map[string][]job  // of the patients whose charts are to be read, being read or found, in order
	queue   turns[string]     // patients whose charts are to be read, by the sender that needs them
	readers int               // goroutines that read
	found   map[string]*chart // the result of reading, for the appender
}

// takeCharts takes the charts that were found, and queues the vitals that
// waited for them. Under l.mu.
func (l *lane) takeCharts() {
	for patient, c := range l.charted.found {
		l.unpark(l.charted.jobs[patient])
		delete(l.charted.jobs, patient)
		if l.chartOf(patient) != nil {
			continue
		}
		old := l.charts[patient]
		for key, s := range c.series {
			if old != nil && old.series[key] != nil {
				s.goOn(old.series[key])
			}
		}
		if len(l.charts) >= chartsMost {
			clear(l.charts)
		}
		l.charts[patient] = c
	}
	clear(l.charted.found)
}

// findChart has the chart of a vital's patient read; the vital waits until it is.
func (l *lane) findChart(j job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, patient := &l.charted, j.entry.Patient
	if n.jobs == nil {
		n.jobs, n.found = make(map[string][]job), make(map[string]*chart)
	}
	if l.intake.count(j.entry.Sender, 1); n.jobs[patient] == nil {
		n.queue.add(j.entry.Sender, patient)
	}
	n.jobs[patient] = append(n.jobs[patient], j)
	if n.readers < chartReaders {
		n.readers++
		go l.readCharts()
	}
}

// readCharts reads charts until there are none to be read.
func (l *lane) readCharts() {
	n := &l.charted
	for {
		l.mu.Lock()
		next := n.queue.take(nil, 1, 1)
		if len(next) == 0 {
			n.readers--
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		patient := next[0]
		c, err := l.readChart(l.lanes.ctx, patient)
		l.mu.Lock()
		var jobs []job
		if err == nil {
			n.found[patient] = c // the appender takes it, with the jobs
		} else {
			jobs = n.jobs[patient]
			delete(n.jobs, patient)
			for i := range jobs {
				l.intake.count(jobs[i].entry.Sender, -1)
			}
		}
		signal(l.wake)
		l.mu.Unlock()
		for _, j := range jobs {
			j.done(AppendResult{Err: ErrUnavailable})
		}
	}
}

// unpark puts jobs before the other waiting jobs of their senders. Under l.mu.
func (l *lane) unpark(jobs []job) {
	of := make(map[string][]job)
	for _, j := range jobs {
		of[j.entry.Sender] = append(of[j.entry.Sender], j)
	}
	for sender, list := range of {
		l.intake.putBack(sender, list...)
	}
}
