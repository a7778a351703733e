package main

import (
	"fmt"
	"slices"
	"strings"
)

// The commands, in the Java Speech Grammar Format. The grammars are closed: the
// recogniser can hear nothing else. There is no command to close an alert.
const (
	commandGrammar = `#JSGF V1.0;
grammar commands;
<bed> = one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve;
public <command> = accept bed <bed> | reject bed <bed> | what is bed <bed> | call a nurse;
`
	confirmGrammar = `#JSGF V1.0;
grammar confirmations;
<bed> = one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve;
public <confirmation> = confirm bed <bed> | confirm the call | cancel that;
`
)

var bedNames = strings.Fields("one two three four five six seven eight nine ten eleven twelve")

// A command is a recognised utterance.
type command struct {
	verb string // accept, reject, ask or call
	bed  int    // 0 for a call
}

// parseCommand reads a text that the recogniser has heard under commandGrammar.
func parseCommand(s string) (command, bool) {
	if s == "call a nurse" {
		return command{verb: "call"}, true
	}
	for prefix, verb := range map[string]string{"accept bed ": "accept", "reject bed ": "reject", "what is bed ": "ask"} {
		if name, ok := strings.CutPrefix(s, prefix); ok {
			bed := slices.Index(bedNames, name) + 1
			return command{verb, bed}, bed > 0
		}
	}
	return command{}, false
}

// confirmation is the phrase that must be said before c is carried out. It names the bed
// again, so that one word heard wrongly does nothing.
func (c command) confirmation() string {
	if c.verb == "call" {
		return "confirm the call"
	}
	return "confirm bed " + bedNames[c.bed-1]
}

// question is spoken and shown before anything is sent.
func (c command) question() string {
	if c.verb == "call" {
		return "Call a nurse? Say: confirm the call."
	}
	return fmt.Sprintf("%s%s the alert of bed %s? Say: %s.", strings.ToUpper(c.verb[:1]), c.verb[1:], bedNames[c.bed-1], c.confirmation())
}
