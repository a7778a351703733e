package pagers

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers/internal/exchange"
)

// A Shift is one person's duty, from Start until before End.
type Shift struct {
	Group      string // the group that the person stands for, without "group:"
	Person     string // the person's ID, without "person:"
	Start, End time.Time
	Err        error // of Rota.More: the reason if Start and End are not known; nil: they are
}

// A Weekly is a duty that repeats each week by local time. From and To are
// times of day such as "22:00"; a To that is not after From ends on the next
// day. When the clock is put forward or back, the shift is shorter or longer by
// as much. A time of day that the clock skips is later by as much. A time that
// occurs twice means the first.
type Weekly struct {
	Group, Person string
	Days          []time.Weekday // on which it begins
	From, To      string
}

// A Substitution puts By in the place of Person, from Start until before End.
// An empty Group means every group. An empty By means that nobody takes over.
type Substitution struct {
	Group, Person, By string
	Start, End        time.Time
}

// A Rota lists the people on duty. Weekly, Shifts and More add up;
// Substitutions then apply once, so a substitute is not substituted again. Do
// not change a Rota that is in use; make another.
type Rota struct {
	// Zone is where the clock of Weekly hangs. It is required if there is any Weekly.
	Zone *time.Location
	// Handover is how long a person whose duty has ended is still on duty beside
	// the next one. Somebody who was substituted until the duty's end is
	// substituted in the handover too. Zero means not at all, and the most is 24 hours.
	Handover      time.Duration
	Weekly        []Weekly
	Shifts        []Shift
	Substitutions []Substitution
	// More gives further shifts that touch the time t, such as those of a
	// calendar. Nil means none. It must be safe for concurrent use.
	More func(ctx context.Context, t time.Time) ([]Shift, error)
}

// Validate checks a Rota. Its error names the field.
func (r *Rota) Validate() error {
	for _, w := range r.Weekly {
		_, okFrom := clock(w.From)
		_, okTo := clock(w.To)
		switch {
		case r.Zone == nil:
			return errors.New("pagers: a Rota with Weekly needs a Zone")
		case !okFrom || !okTo:
			return errors.New("pagers: From or To of a Weekly is not a time of day such as 07:30")
		case w.Group == "" || w.Person == "" || len(w.Days) == 0:
			return errors.New("pagers: a Weekly needs a Group, a Person and Days")
		case slices.Min(w.Days) < time.Sunday || slices.Max(w.Days) > time.Saturday:
			return errors.New("pagers: Days of a Weekly are from 0, Sunday, to 6, Saturday")
		}
	}
	for _, s := range r.Shifts {
		if s.Group == "" || s.Person == "" || !s.Start.Before(s.End) {
			return errors.New("pagers: a Shift needs a Group, a Person, and a Start before its End")
		}
	}
	for _, s := range r.Substitutions {
		if s.Person == "" || !s.Start.Before(s.End) {
			return errors.New("pagers: a Substitution needs a Person, and a Start before its End")
		}
	}
	if r.Handover < 0 || r.Handover > 24*time.Hour {
		return errors.New("pagers: Handover of a Rota is negative, or longer than a day")
	}
	return nil
}

// OnDuty returns the IDs of the persons who stand for a group at the time t,
// sorted, each once. It returns Validate's error, and that of More. An error
// that matches ErrUnknownShift means that there may be others on duty beside
// those whom it returns.
func (r *Rota) OnDuty(ctx context.Context, group string, t time.Time) ([]string, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	shifts := slices.Clone(r.Shifts)
	for _, w := range r.Weekly {
		shifts = append(shifts, w.around(t, r.Zone)...)
	}
	if r.More != nil {
		more, err := r.More(ctx, t)
		if err != nil {
			return nil, err
		}
		shifts = append(shifts, more...)
	}
	var on []string
	var unknown error
	for _, s := range shifts {
		if s.Group == group && s.Err != nil {
			unknown = unknownShift{s.Err}
			continue
		}
		if s.Group != group || t.Before(s.Start) || !t.Before(s.End.Add(r.Handover)) {
			continue
		}
		person := r.substitute(group, s.Person, t)
		if person == s.Person && !t.Before(s.End) { // the handover is with the one who was on duty last
			person = r.substitute(group, s.Person, s.End.Add(-1))
		}
		if person != "" {
			on = append(on, person)
		}
	}
	slices.Sort(on)
	return slices.Compact(on), unknown
}

func (r *Rota) substitute(group, person string, t time.Time) string {
	for _, s := range r.Substitutions {
		if s.Person == person && (s.Group == "" || s.Group == group) && !t.Before(s.Start) && t.Before(s.End) {
			return s.By
		}
	}
	return person
}

// around returns w's shifts that begin on one of the days around t.
func (w *Weekly) around(t time.Time, zone *time.Location) []Shift {
	from, _ := clock(w.From)
	to, _ := clock(w.To)
	next := 0
	if to <= from {
		next = 1
	}
	var shifts []Shift
	year, month, day := t.In(zone).Date()
	for d := -2; d <= 1; d++ {
		begins := time.Date(year, month, day+d, 12, 0, 0, 0, zone)
		if slices.Contains(w.Days, begins.Weekday()) {
			shifts = append(shifts, Shift{Group: w.Group, Person: w.Person, Start: wall(begins, from, zone), End: wall(begins.AddDate(0, 0, next), to, zone)})
		}
	}
	return shifts
}

// wall is the moment at which the clock on the wall shows minutes on day's date.
func wall(day time.Time, minutes int, zone *time.Location) time.Time {
	y, m, d := day.Date()
	hour, minute := minutes/60, minutes%60
	t := time.Date(y, m, d, hour, minute, 0, 0, zone)
	// By the offset of half a day before: of a time that is shown twice the
	// first, and of one that is skipped as much later. time.Date says of
	// neither which it takes.
	_, offset := t.Add(-12 * time.Hour).Zone()
	early := time.Date(y, m, d, hour, minute, 0, 0, time.FixedZone("", offset)).In(zone)
	if shows := t.Hour() == hour && t.Minute() == minute; shows && (early.Hour() != hour || early.Minute() != minute) {
		return t
	}
	return early
}

// clock reads a time of day into minutes.
func clock(s string) (minutes int, ok bool) {
	t, err := time.Parse("15:04", s)
	return t.Hour()*60 + t.Minute(), err == nil && len(s) == 5
}

// OnCall pages the people on duty if a page is for a group. Pages for persons
// and roles pass through. Each person's page has a Key of its own, derived from
// the group's. It succeeds if one person was reached, also when the way to
// another hangs. If a shift of the group is not known, the persons on duty whom
// the rota does know are paged, and Page fails with ErrUnknownShift all the same:
// so the Hub tells the next step early.
type OnCall struct {
	// Rota returns the shifts. It is asked for each page, so that a new one can
	// take its place. It is required.
	Rota func() *Rota
	// Next tells one person. It is required.
	Next carewire.Pager
}

// ErrNobodyOnDuty means that the rota names nobody for a group now.
// The Hub logs it as cause=pagers.nobodyOnDuty.
var ErrNobodyOnDuty error = nobodyOnDuty{}

type nobodyOnDuty struct{}

func (nobodyOnDuty) Error() string { return "pagers: nobody is on duty" }

// ErrUnknownShift means that a shift of the group has an Err, so that perhaps not
// everybody on duty is known. The Hub logs it as cause=pagers.unknownShift.
var ErrUnknownShift error = unknownShift{}

type unknownShift struct{ cause error }

func (u unknownShift) Error() string {
	if u.cause == nil {
		return "pagers: a shift of the group is not known"
	}
	return "pagers: a shift of the group is not known: " + u.cause.Error()
}

func (unknownShift) Is(target error) bool { return target == ErrUnknownShift }

var errNoRota = errors.New("pagers: an OnCall needs a Rota and a Next")

// Validate implements carewire.PageChecker: Rota and Next must be there, and the
// present Rota and Next be valid.
func (o *OnCall) Validate() error {
	if o.Rota == nil || o.Next == nil {
		return errNoRota
	}
	r := o.Rota()
	if r == nil {
		return errNoRota
	}
	return errors.Join(r.Validate(), check(o.Next))
}

// check returns the error of a PageChecker; nil for other Pagers.
func check(p carewire.Pager) error {
	if c, ok := p.(carewire.PageChecker); ok {
		return c.Validate()
	}
	return nil
}

// Page implements carewire.Pager.
func (o *OnCall) Page(ctx context.Context, p carewire.Page) error {
	group, ok := strings.CutPrefix(p.To, "group:")
	if !ok {
		return o.Next.Page(ctx, p)
	}
	r := o.Rota()
	if r == nil {
		return errNoRota
	}
	people, err := r.OnDuty(ctx, group, time.Now())
	if len(people) == 0 {
		return cmp.Or(err, ErrNobodyOnDuty)
	}
	return errors.Join(err, exchange.Each(ctx, people, func(ctx context.Context, person string) error {
		own := p
		own.To = "person:" + person
		own.Key = p.Key + "/" + person
		return o.Next.Page(ctx, own)
	}))
}

// ReportsPages implements carewire.PageReporter: as Next does.
func (o *OnCall) ReportsPages() bool { return reports(o.Next) }

// reports reports whether p is a PageReporter that reports.
func reports(p carewire.Pager) bool {
	r, ok := p.(carewire.PageReporter)
	return ok && r.ReportsPages()
}
