package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// check prints every way in which the tree is not as it should be, and fails if
// there is one.
func (w workbook) check(out io.Writer) error {
	problems, err := w.problems()
	if err != nil {
		return err
	}
	for _, p := range problems {
		fmt.Fprintln(out, p)
	}
	if n := len(problems); n > 0 {
		return fmt.Errorf("steps, chapters, rules and borders do not hold: %d found", n)
	}
	return nil
}

// problems returns what is wrong with the steps, the chapters, the rules, the front page and the borders, a message each.
func (w workbook) problems() ([]string, error) {
	steps, err := w.stepProblems()
	if err != nil {
		return nil, err
	}
	chapters, err := w.chapterProblems()
	if err != nil {
		return nil, err
	}
	rows, err := w.ruleProblems()
	if err != nil {
		return nil, err
	}
	front, err := w.frontProblems()
	if err != nil {
		return nil, err
	}
	borders, err := w.borderProblems()
	return slices.Concat(steps, chapters, rows, front, borders), err
}

// stepProblems holds steps.txt against each pair of neighbouring stages.
func (w workbook) stepProblems() ([]string, error) {
	var problems []string
	for i := 1; i < len(w.stages); i++ {
		from, to := w.stages[i-1], w.stages[i]
		s, ok := w.step(from.Number, to.Number)
		if !ok {
			problems = append(problems, fmt.Sprintf("steps.txt says nothing about the step from %s to %s", from.Name, to.Name))
			continue
		}
		changes, err := w.compare(from, to)
		if err != nil {
			return nil, err
		}
		problems = append(problems, s.problems(changes)...)
	}
	for _, s := range w.steps {
		if !w.has(s.from) || !w.has(s.to) {
			problems = append(problems, fmt.Sprintf("steps.txt has a step %v, but the stages are not there", s))
		}
	}
	return problems, nil
}

func (w workbook) step(from, to int) (step, bool) {
	for _, s := range w.steps {
		if s.from == from && s.to == to {
			return s, true
		}
	}
	return step{from: from, to: to}, false
}

func (w workbook) has(number int) bool {
	for _, s := range w.stages {
		if s.Number == number {
			return true
		}
	}
	return false
}

// problems returns where the changes are not what the step says: all that changed
// must be listed, all that is listed must have changed, and the whole must keep to
// its bound.
func (s step) problems(changes []change) []string {
	var problems []string
	chapterDiffers := entry{mark: changed, pattern: chapter}
	if !chapterDiffers.used(changes) {
		problems = append(problems, fmt.Sprintf("step %v: both stages must have a %s, each its own", s, chapter))
	}
	for _, c := range changes {
		if c.path != chapter && !c.listed(s.entries) {
			problems = append(problems, s.drift(c))
		}
	}
	for _, e := range s.entries {
		if !e.used(changes) {
			problems = append(problems, fmt.Sprintf("step %v lists \"%s %s\", but %s", s, e.mark, e.pattern, e.mark.denied()))
		}
	}
	if plus, minus := size(changes); plus+minus > s.bound {
		problems = append(problems, fmt.Sprintf("step %v has %d lines of code (%d added, %d removed), its bound is %d",
			s, plus+minus, plus, minus, s.bound))
	}
	return problems
}

func (c change) listed(entries []entry) bool {
	for _, e := range entries {
		if e.matches(c) {
			return true
		}
	}
	return false
}

func (e entry) used(changes []change) bool {
	for _, c := range changes {
		if e.matches(c) {
			return true
		}
	}
	return false
}

// denied says what was found of a file listed with mark m instead.
func (m mark) denied() string {
	switch m {
	case added:
		return "no such file is new in the later stage"
	case dropped:
		return "no such file is gone from the later stage"
	}
	return "no such file differs between the stages"
}

// drift is the message about a file that is not as it should be and not listed.
func (s step) drift(c change) string {
	list := fmt.Sprintf("list \"%s %s\" in common/stages/steps.txt", c.mark, c.path)
	switch c.mark {
	case added:
		return fmt.Sprintf("%s is new in stage %d, but step %v does not say so: %s", c.path, s.to, s, list)
	case dropped:
		return fmt.Sprintf("%s is gone from stage %d, but step %v does not say so: copy it, or %s", c.path, s.to, s, list)
	}
	return fmt.Sprintf("%s is not the same in stage %d and stage %d, but step %v does not say so:\n%s\n"+
		"    carry the change (make carry FILE=%s FROM=%d), or %s",
		c.path, s.from, s.to, s, firstDifference(c.before, c.after), c.path, s.from, list)
}

// firstDifference shows the first lines in which two texts differ.
func firstDifference(before, after []byte) string {
	a, b := lines(before), lines(after)
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	var shown strings.Builder
	fmt.Fprintf(&shown, "    line %d", n+1)
	for _, line := range a[n:min(n+3, len(a))] {
		fmt.Fprintf(&shown, "\n    - %s", line)
	}
	for _, line := range b[n:min(n+3, len(b))] {
		fmt.Fprintf(&shown, "\n    + %s", line)
	}
	return shown.String()
}
