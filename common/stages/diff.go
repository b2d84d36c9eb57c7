package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"

	"golang.org/x/term"

	"raftworkbook/common/stages/tree"
)

// overview prints a line for the first stage and one for each step.
func (w workbook) overview(out io.Writer) error {
	if len(w.stages) == 0 {
		return errors.New("there is no stage yet")
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "step\tfiles +\t~\t-\tlines +\t-\ttotal\tbound\t")
	first, err := contents(w.root, w.stages[0])
	if err != nil {
		return err
	}
	var whole []change
	for path, text := range first {
		whole = append(whole, change{path: path, mark: added, after: text})
	}
	row(t, step{}, fmt.Sprint(w.stages[0].Number), whole)
	for i := 1; i < len(w.stages); i++ {
		changes, err := w.compare(w.stages[i-1], w.stages[i])
		if err != nil {
			return err
		}
		s, _ := w.step(w.stages[i-1].Number, w.stages[i].Number)
		row(t, s, s.String(), changes)
	}
	return t.Flush()
}

func row(out io.Writer, s step, name string, changes []change) {
	bound := ""
	if s.bound > 0 {
		bound = fmt.Sprint(s.bound)
	}
	files := make(map[mark]int)
	for _, c := range changes {
		files[c.mark]++
	}
	plus, minus := size(changes)
	fmt.Fprintf(out, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t\n", name,
		files[added], files[changed], files[dropped], plus, minus, plus+minus, bound)
}

// diff prints what differs between two stages: the files in reading order, code
// before tests, and a table of them. What no one reads as a diff (the chapter, and
// the material of tests) is in the table only.
func (w workbook) diff(out io.Writer, from, to int) error {
	before, err := tree.Find(w.stages, from)
	if err != nil {
		return err
	}
	after, err := tree.Find(w.stages, to)
	if err != nil {
		return err
	}
	changes, err := w.compare(before, after)
	if err != nil {
		return err
	}
	s, _ := w.step(from, to)
	changes = codeFirst(s.order(changes))
	if err := show(out, changes, before, after); err != nil {
		return err
	}
	return s.summary(out, changes)
}

// codeFirst moves the tests behind the rest and keeps the order otherwise.
func codeFirst(changes []change) []change {
	var code, tests []change
	for _, c := range changes {
		if c.isTest() {
			tests = append(tests, c)
		} else {
			code = append(code, c)
		}
	}
	return append(code, tests...)
}

// show prints the changes as git does, with color on a terminal. Both sides are
// written to a directory of their own first, so that they can be spelled alike.
func show(out io.Writer, changes []change, from, to tree.Stage) error {
	dir, err := os.MkdirTemp("", "stages-diff-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, c := range changes {
		if c.path == chapter || c.isTestdata() {
			continue
		}
		before, after := "/dev/null", "/dev/null"
		if c.mark != added {
			before = from.Name + "/" + c.path
		}
		if c.mark != dropped {
			after = to.Name + "/" + c.path
		}
		if err := errors.Join(write(dir, before, c.before), write(dir, after, c.after)); err != nil {
			return err
		}
		if err := gitDiff(out, dir, before, after); err != nil {
			return err
		}
	}
	return nil
}

// write puts text into dir/name, unless that stands for no file.
func write(dir, name string, text []byte) error {
	if name == "/dev/null" {
		return nil
	}
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

func gitDiff(out io.Writer, dir, before, after string) error {
	color := "--color=never"
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		color = "--color=always"
	}
	git := exec.Command("git", "--no-pager", "diff", "--no-index", "--no-ext-diff", "--no-prefix", color, "--", before, after)
	git.Dir, git.Stdout, git.Stderr = dir, out, os.Stderr
	err := git.Run()
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case ok && exit.ExitCode() == 1:
		return nil // they differ, as they should
	case ok && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGPIPE:
		return syscall.EPIPE
	}
	return err
}

// summary prints a table of the changes and the size of the step.
func (s step) summary(out io.Writer, changes []change) error {
	fmt.Fprintln(out)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range changes {
		plus, minus := countLines(lines(c.before), lines(c.after))
		fmt.Fprintln(t, strings.TrimRight(fmt.Sprintf("%s %s\t+%d\t-%d\t%s", c.mark, c.path, plus, minus, c.note), "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	plus, minus := size(changes)
	fmt.Fprintf(out, "\n%d lines of code: %d added, %d removed, without blank lines, comments and tests", plus+minus, plus, minus)
	if s.bound > 0 {
		fmt.Fprintf(out, " (bound %d)", s.bound)
	}
	fmt.Fprintln(out)
	return nil
}

func lines(text []byte) []string {
	if len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}
