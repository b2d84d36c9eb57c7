package main

import "fmt"

// A tally is what was done with a chapter, and what is wrong with it.
type tally struct {
	// Run are the commands that were run, Compared those of them whose output was compared.
	Run, Compared int
	// Excerpts are the parts of files that were compared.
	Excerpts int
	// Named is how many targets, stages, tests, scenes, files and patches were looked for.
	Named int
	// LeftOut and Uncompared say of each place why.
	LeftOut, Uncompared []string
	Problems            []string
}

func (t *tally) problem(path string, line int, format string, args ...any) {
	t.Problems = append(t.Problems, fmt.Sprintf("%s:%d: %s", path, line, fmt.Sprintf(format, args...)))
}

func (s *session) problem(line int, format string, args ...any) {
	s.tally.problem(s.path, line, format, args...)
}

// leaveOut takes down that commands are not run.
func (s *session) leaveOut(line, commands int, why string) {
	if commands > 0 {
		s.LeftOut = append(s.LeftOut, fmt.Sprintf("%s:%d: %s", s.path, line, why))
	}
}

func (t *tally) add(other tally) {
	t.Run += other.Run
	t.Compared += other.Compared
	t.Excerpts += other.Excerpts
	t.Named += other.Named
	t.LeftOut = append(t.LeftOut, other.LeftOut...)
	t.Uncompared = append(t.Uncompared, other.Uncompared...)
	t.Problems = append(t.Problems, other.Problems...)
}

func (t tally) counts() string {
	return fmt.Sprintf("%3d commands run, %3d compared, %d left out; %2d excerpts; %3d names",
		t.Run, t.Compared, len(t.LeftOut), t.Excerpts, t.Named)
}
