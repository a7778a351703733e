package carewire

import (
	"maps"
	"slices"
	"strings"
)

// An addressee is a person, group or role with open entries addressed to it.
type addressee struct {
	stamp    uint64                          // changes whenever an entry comes or goes
	patients map[string]map[string]*openItem // open items, by patient and key
}

// leave takes an item from an addressee; stamp says that it does not come back
// at once. Under x.mu.
func (x *openIndex) leave(item *openItem, to string, stamp bool) {
	a := x.addressees[to]
	if a == nil || a.patients[item.Patient][item.Key] == nil {
		return
	}
	of := a.patients[item.Patient]
	if delete(of, item.Key); len(of) == 0 {
		delete(a.patients, item.Patient)
	}
	if !stamp {
		return
	}
	if x.stampOn(a); len(a.patients) == 0 {
		delete(x.addressees, to)
	}
}

func (x *openIndex) stampOn(a *addressee) {
	x.stamp++
	a.stamp = x.stamp
}

// stamps returns the stamps of the addressees named by keys. While they are the
// same, no entry has come or gone.
func (x *openIndex) stamps(keys []string) []uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := make([]uint64, len(keys))
	for i, k := range keys {
		if a := x.addressees[addresseeOf(k)]; a != nil {
			list[i] = a.stamp
		}
	}
	return list
}

// patientsTo returns the patients with open entries addressed to keys.
func (x *openIndex) patientsTo(keys []string) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	seen := make(map[string]bool)
	for _, k := range keys {
		a := x.addressees[addresseeOf(k)]
		if a == nil {
			continue
		}
		if own, ok := strings.CutPrefix(k, selfKey); !ok {
			for patient := range a.patients {
				seen[patient] = true
			}
		} else if a.patients[own] != nil {
			seen[own] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// setsOf returns a patient's open items by key, for each of keys to which
// anything is addressed. Under x.mu.
func (x *openIndex) setsOf(patient string, keys []string) (sets []map[string]*openItem) {
	for _, k := range keys {
		a := x.addressees[addresseeOf(k)]
		if own, ok := strings.CutPrefix(k, selfKey); a == nil || ok && own != patient {
			continue
		}
		if of := a.patients[patient]; of != nil {
			sets = append(sets, of)
		}
	}
	return sets
}

// itemsTo returns the open items of patients that are addressed to keys, each
// once, the most urgent first, then the newest. It holds the lock for one patient
// at a time.
func (x *openIndex) itemsTo(keys, patients []string) (list []*openItem) {
	for _, p := range patients {
		x.mu.Lock()
		sets := x.setsOf(p, keys)
		for i, of := range sets {
			for _, item := range of {
				if !slices.ContainsFunc(sets[:i], func(other map[string]*openItem) bool { return other[item.Key] != nil }) {
					list = append(list, item)
				}
			}
		}
		x.mu.Unlock()
	}
	slices.SortFunc(list, byUrgency)
	return list
}

// countTo counts the items that itemsTo returns.
func (x *openIndex) countTo(keys, patients []string) (n int) {
	for _, p := range patients {
		x.mu.Lock()
		sets := x.setsOf(p, keys)
		for i, of := range sets {
			if i == 0 {
				n += len(of)
				continue
			}
			for key := range of {
				if !slices.ContainsFunc(sets[:i], func(other map[string]*openItem) bool { return other[key] != nil }) {
					n++
				}
			}
		}
		x.mu.Unlock()
	}
	return n
}
