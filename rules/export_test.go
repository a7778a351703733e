package rules

// holds reports whether j judges a patient.
func (j *Judge) holds(patient string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.beds[patient] != nil
}

// kill has j do nothing any more, without a word to the others.
func (j *Judge) kill() { j.dead.Store(true) }
