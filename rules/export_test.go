package rules

// holds reports whether j judges a patient.
func (j *Judge) holds(patient string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.beds[patient] != nil
}

// count is how many patients j judges by now.
func (j *Judge) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for _, b := range j.beds {
		b.row.mu.Lock()
		if b.c != nil {
			n++
		}
		b.row.mu.Unlock()
	}
	return n
}

// judgedVitals is how many vitals j has judged.
func (j *Judge) judgedVitals() uint64 { return j.stats.vitals.Load() }
