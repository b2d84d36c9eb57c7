// Command stages keeps what is said about the step from one stage to the next
// (steps.txt) and the tree in agreement, shows a step, and carries a change made
// in one stage into those that follow.
//
//	go run ./common/stages check
//	go run ./common/stages diff                 all steps, a line each
//	go run ./common/stages diff -from 0 -to 1   one step, in reading order
//	go run ./common/stages carry -file server/conn.go -from 0 [-base REV]
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"raftworkbook/common/stages/tree"
)

// errUsage is returned by run when the command line makes no sense; what is wrong
// has been said.
var errUsage = errors.New("usage: stages check | diff [-from N -to M] | carry -file PATH -from N [-base REV]")

func main() {
	signal.Ignore(syscall.SIGPIPE)
	err := run(os.Args[1:], os.Stdout)
	if err == nil || errors.Is(err, syscall.EPIPE) { // whoever reads it has seen enough
		return
	}
	fmt.Fprintln(os.Stderr, "stages:", err)
	if errors.Is(err, errUsage) {
		os.Exit(2)
	}
	os.Exit(1)
}

func run(args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	w, err := open(".")
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	from := flags.Int("from", -1, "the earlier stage's `number`")
	switch args[0] {
	case "check":
		if err := parse(flags, args); err != nil {
			return err
		}
		return w.check(out)
	case "diff":
		to := flags.Int("to", -1, "the later stage's `number`")
		if err := parse(flags, args); err != nil {
			return err
		}
		if *from < 0 && *to < 0 {
			return w.overview(out)
		}
		return w.diff(out, *from, *to)
	case "carry":
		file := flags.String("file", "", "the file that was changed, as a `path` inside the stage")
		base := flags.String("base", "HEAD", "the `revision` that the change was made to")
		if err := parse(flags, args); err != nil {
			return err
		}
		return w.carry(out, *file, *from, *base)
	}
	return errUsage
}

// parse reads the flags that follow the command's name, and nothing else.
func parse(flags *flag.FlagSet, args []string) error {
	if flags.Parse(args[1:]) != nil || flags.NArg() > 0 {
		return errUsage
	}
	return nil
}

// A workbook is the tree with what steps.txt says about it.
type workbook struct {
	root   string
	stages []tree.Stage
	steps  []step
}

// open finds the workbook that dir lies in.
func open(dir string) (workbook, error) {
	root, err := tree.Root(dir)
	if err != nil {
		return workbook{}, err
	}
	return load(root, stepsText)
}

// load is the workbook at root with the given text of steps.
func load(root, text string) (workbook, error) {
	stages, err := tree.Stages(root)
	if err != nil {
		return workbook{}, err
	}
	steps, err := parseSteps(text)
	return workbook{root: root, stages: stages, steps: steps}, err
}
