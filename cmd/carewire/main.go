// Carewire is a command for operators of a carewire host and for authors of
// clients. It watches, publishes, raises and answers alerts as any client does,
// checks tokens and proxies, shows the host's metrics, and maintains the files
// of boltstore.
//
//	export CAREWIRE_URL=wss://ehr.example/carewire CAREWIRE_TOKEN=…
//	carewire check
//	carewire watch p-17
//
// docs/command.md describes it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/carewire/carewire"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := &tool{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv}
	os.Exit(t.run(ctx, os.Args[1:]))
}

// A tool is one run of the command.
type tool struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string

	flags *flag.FlagSet // of the command that runs
	json  bool
}

// A command is one of the things that the tool can do.
type command struct {
	name, args, does string
	run              func(*tool, context.Context, []string) error
}

var commands []command

func init() { // a variable could not refer to itself by way of usage
	commands = []command{
		{"watch", "[PATIENT...]", "show the newest values and the open alerts", (*tool).watch},
		{"tail", "[PATIENT...]", "print each event as it comes", (*tool).tail},
		{"publish", "PATIENT NAME=VALUE...", "send vitals", (*tool).publish},
		{"raise", "PATIENT TEXT", "raise an alert", (*tool).raise},
		{"clear", "PATIENT KEY", "say that an alert's condition is over", (*tool).clear},
		{"answer", "PATIENT KEY VERB", "accept, reject, release, assign, handover or close an alert", (*tool).answer},
		{"history", "PATIENT", "print the log of a patient", (*tool).history},
		{"replay", "[FILE]", "publish recorded vitals again, at their pace", (*tool).replay},
		{"stats", "", "show the host's numbers", (*tool).stats},
		{"check", "", "say whether token, proxy and host are right", (*tool).check},
		{"store", "inspect|verify|compact|backup FILE [TO]", "look after a file of boltstore", (*tool).store},
	}
}

const environment = `
Environment:
  CAREWIRE_URL         address of the Hub, such as wss://ehr.example/carewire
  CAREWIRE_TOKEN       bearer token
  CAREWIRE_TOKEN_FILE  a file with the token instead, read again when it is renewed
  CAREWIRE_METRICS     address of the numbers, for stats; default: /metrics on the host of CAREWIRE_URL
`

// errUsage means that the command was not called as it must be; that was said.
var errUsage = errors.New("usage")

// run carries out a command and returns the exit status: 0, 1 if it failed, or 2
// if it was not called as it must be.
func (t *tool) run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		t.usage(t.err)
		return 2
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" {
		t.usage(t.out)
		return 0
	}
	for _, c := range commands {
		if c.name != args[0] {
			continue
		}
		t.flags = flag.NewFlagSet(c.name, flag.ContinueOnError)
		t.flags.SetOutput(t.err)
		t.flags.BoolVar(&t.json, "json", false, "write JSON, one value a line")
		t.flags.Usage = func() {
			fmt.Fprintf(t.err, "usage: carewire %s [flags] %s\n%s.\n", c.name, c.args, c.does)
			t.flags.PrintDefaults()
		}
		err := c.run(t, ctx, args[1:])
		switch {
		case err == nil, ctx.Err() != nil && errors.Is(err, context.Canceled):
			return 0
		case errors.Is(err, flag.ErrHelp):
			return 0
		case errors.Is(err, errUsage):
			return 2
		case errors.Is(err, errSaid):
			return 1
		}
		fmt.Fprintln(t.err, "carewire "+c.name+":", printable(explain(err)))
		return 1
	}
	fmt.Fprintf(t.err, "carewire: there is no command %q\n", args[0])
	t.usage(t.err)
	return 2
}

func (t *tool) usage(w io.Writer) {
	fmt.Fprint(w, "usage: carewire COMMAND [flags] [arguments]\n\nCommands:\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-8s %s\n", c.name, c.does)
	}
	fmt.Fprint(w, environment, "\nFlags come before arguments; carewire COMMAND -h lists them.\n")
}

// parse reads the flags, and checks that there are at least so many arguments,
// and at most most; negative: any number.
func (t *tool) parse(args []string, least, most int) ([]string, error) {
	if err := t.flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, errUsage
	}
	rest := t.flags.Args()
	for _, arg := range rest {
		if len(arg) > 1 && arg[0] == '-' {
			return nil, t.misuse("%s comes after an argument: flags come first", arg)
		}
	}
	if len(rest) < least || most >= 0 && len(rest) > most {
		return nil, t.misuse("wrong number of arguments: %d", len(rest))
	}
	return rest, nil
}

// misuse describes a fault in the command line.
func (t *tool) misuse(format string, args ...any) error {
	fmt.Fprintf(t.err, "carewire %s: %s\n", t.flags.Name(), fmt.Sprintf(format, args...))
	t.flags.Usage()
	return errUsage
}

// errSaid means that the error was printed already.
var errSaid = errors.New("failed")

// explain tells an error in words for people, and how to mend it.
func explain(err error) string {
	var request *carewire.RequestError
	switch {
	case errors.As(err, &request):
		return explainRequest(request)
	case errors.Is(err, carewire.ErrUnauthenticated):
		return "the host does not know this token (401): get a fresh one; carewire check says more"
	case errors.Is(err, carewire.ErrForbidden):
		return "the host does not let this token's owner in (403); carewire check says more"
	case errors.Is(err, carewire.ErrBusy):
		return "the host has too many connections (429): try again later"
	case errors.Is(err, carewire.ErrUnavailable):
		return "the host is not ready (503): try again later; carewire check says more"
	}
	return err.Error()
}

func explainRequest(err *carewire.RequestError) string {
	switch err.Code {
	case carewire.CodeForbidden:
		return "not allowed, or there is no such thing: the host does not say which"
	case carewire.CodeInvalid:
		return "the host refuses " + printable(err.Field+": "+err.Reason)
	case carewire.CodeEnded:
		return "the alert has ended"
	case carewire.CodeRefused:
		return "the alert's state does not allow this; it is " + alertState(err.Alert)
	case carewire.CodeConflict:
		return "somebody else was faster; the alert is now " + alertState(err.Alert)
	case carewire.CodeGap:
		return "these entries are no longer kept: ask for a later time, or for other kinds"
	}
	return "the host refuses: " + printable(string(err.Code))
}

// print writes a value as JSON, or lines of text for people.
func (t *tool) print(value any, lines string) {
	if !t.json {
		for line := range strings.Lines(lines) {
			fmt.Fprintln(t.out, printable(strings.TrimSuffix(line, "\n")))
		}
		return
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		fmt.Fprintln(t.err, "carewire:", err)
		return
	}
	fmt.Fprintln(t.out, printableJSON(strings.TrimSuffix(b.String(), "\n")))
}

// list is a flag that may be given several times, or with commas.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*l = append(*l, part)
		}
	}
	return nil
}
