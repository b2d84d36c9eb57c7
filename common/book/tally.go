package main

import "fmt"

// A tally is what was done with a chapter, and what is wrong with it.
type tally struct {
	// run are the commands that were run, compared those of them whose output was compared.
	run, compared int
	// excerpts are the parts of files that were compared.
	excerpts int
	// named is how many targets, stages, tests, scenes, files and patches were looked for.
	named int
	// leftOut and uncompared say of each place why.
	leftOut, uncompared []string
	problems            []string
}

func (t *tally) problem(path string, line int, format string, args ...any) {
	t.problems = append(t.problems, fmt.Sprintf("%s:%d: %s", path, line, fmt.Sprintf(format, args...)))
}

func (s *session) problem(line int, format string, args ...any) {
	s.tally.problem(s.path, line, format, args...)
}

// leaveOut takes down that commands are not run.
func (s *session) leaveOut(line, commands int, why string) {
	if commands > 0 {
		s.leftOut = append(s.leftOut, fmt.Sprintf("%s:%d: %s", s.path, line, why))
	}
}

func (t *tally) add(other tally) {
	t.run += other.run
	t.compared += other.compared
	t.excerpts += other.excerpts
	t.named += other.named
	t.leftOut = append(t.leftOut, other.leftOut...)
	t.uncompared = append(t.uncompared, other.uncompared...)
	t.problems = append(t.problems, other.problems...)
}

func (t tally) counts() string {
	return fmt.Sprintf("%d commands run, %d compared; %d left out; %d excerpts; %d names", t.run, t.compared, len(t.leftOut), t.excerpts, t.named)
}
