// Command bugs shows that the tests of a stage can fail: it puts each bug of
// stageN/testdata/bugs in, one at a time, and runs the test that should catch it.
// The tree is not touched.
//
//	go run ./common/bugs             every stage
//	go run ./common/bugs -stage 0    one stage
//	go run ./common/bugs -new        what a stage has in common with the one before
//	                                 (patch, code and test) in that one alone
//	go run ./common/bugs -one-in 8   a sample: of the others it only sees that they can be put in
//
// A bug is a file NAME.patch, named for its behaviour: a few lines of header and a
// diff with paths relative to the stage, so that the same patch serves the stages
// that follow:
//
//	# B003 One read is taken for one message.
//	# Rule: a line may arrive in any number of pieces.
//	# Caught by: server TestServer_reassembles_a_line_from_single_bytes
//	# Flags: -race
//	--- a/server/conn.go
//	+++ b/server/conn.go
//	...
//
// "Caught by" names a package of the stage (. is the stage's own directory) and a
// test in it, or several of them with commas between; each of them must fail. A
// subtest is named by its path. Flags, which may be left out, are given to go test.
// A line of header that begins with two spaces goes on with the line before it.
//
// To put one in by hand, and take it out again:
//
//	git apply --directory=stage0-kvserver stage0-kvserver/testdata/bugs/NAME.patch
//	git apply -R --directory=stage0-kvserver stage0-kvserver/testdata/bugs/NAME.patch
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"raftworkbook/common/stages/tree"
)

func main() {
	number := flag.Int("stage", -1, "the stage's `number`; all of them if left out")
	onlyNew := flag.Bool("new", false, "leave out what is the same in the stage before")
	oneIn := flag.Int("one-in", 1, "try one in so `many`; the others only have to apply")
	flag.Parse()
	if flag.NArg() > 0 || *oneIn < 1 {
		fmt.Fprintln(os.Stderr, "usage: bugs [-stage N] [-new] [-one-in N]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *number, *onlyNew, *oneIn)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bugs:", err)
		os.Exit(1)
	}
}

// run checks the bugs of the stage with the given number, or of all stages if it is
// negative; with onlyNew those that are not the same in the stage before, and of them one in so many.
func run(ctx context.Context, number int, onlyNew bool, oneIn int) error {
	root, err := tree.Root(".")
	if err != nil {
		return err
	}
	stages, err := tree.Stages(root)
	if err != nil {
		return err
	}
	if number >= 0 {
		if _, err := tree.Find(stages, number); err != nil {
			return err
		}
	}
	var failures []error
	for i, s := range stages {
		if number >= 0 && s.Number != number {
			continue
		}
		var before *tree.Stage
		if onlyNew && i > 0 {
			before = &stages[i-1]
		}
		failures = append(failures, check(ctx, os.Stdout, s, before, oneIn))
	}
	return errors.Join(failures...)
}
