package main

import (
	_ "embed"
	"fmt"
	"path"
	"strings"
)

//go:embed steps.txt
var stepsText string

// A mark says what a step does to a file.
type mark string

const (
	added   mark = "+"
	changed mark = "~"
	dropped mark = "-"
)

// chapter is the one file that every stage writes anew; no step lists it.
const chapter = "README.md"

// A step is what steps.txt says about two neighbouring stages.
type step struct {
	from, to int
	// bound is how many lines of code the step may add and remove, taken together.
	bound int
	// entries are in reading order.
	entries []entry
}

// An entry is one line of a step.
type entry struct {
	mark mark
	// pattern is a path inside the stage; its last part may hold wildcards.
	pattern string
	// note says what the file is about.
	note string
}

func (s step) String() string { return fmt.Sprintf("%d→%d", s.from, s.to) }

func (e entry) matches(c change) bool {
	ok, _ := path.Match(e.pattern, c.path)
	return ok && e.mark == c.mark
}

// parseSteps reads the text of steps.txt. It fails at the first line that it does
// not understand, and names it.
func parseSteps(text string) ([]step, error) {
	var steps []step
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if s, ok := parseStep(line); ok {
			steps = append(steps, s)
			continue
		}
		e, ok := parseEntry(line)
		if !ok || len(steps) == 0 {
			return nil, fmt.Errorf("steps.txt:%d: %q is neither a step nor one of its files", i+1, line)
		}
		last := &steps[len(steps)-1]
		last.entries = append(last.entries, e)
	}
	return steps, nil
}

func parseStep(line string) (s step, ok bool) {
	n, _ := fmt.Sscanf(line, "step %d to %d, at most %d lines", &s.from, &s.to, &s.bound)
	return s, n == 3
}

func parseEntry(line string) (entry, bool) {
	fields := strings.Fields(line)
	if len(fields) < 2 || !strings.Contains("+~-", fields[0]) {
		return entry{}, false
	}
	_, err := path.Match(fields[1], "")
	return entry{mark(fields[0]), fields[1], strings.Join(fields[2:], " ")}, err == nil
}

// order sorts the changes as a reader should meet them: in the order of the step's
// entries, those that no entry matches last.
func (s step) order(changes []change) []change {
	var ordered []change
	taken := make(map[string]bool)
	for _, e := range append(s.entries[:len(s.entries):len(s.entries)], entry{}) {
		for _, c := range changes {
			if !taken[c.path] && (e.matches(c) || e.pattern == "") {
				taken[c.path] = true
				c.note = e.note
				ordered = append(ordered, c)
			}
		}
	}
	return ordered
}
