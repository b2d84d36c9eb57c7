// Matrix plays every scene of every stage in every stage that has its commands, and prints how each ends: the workbook's
// argument as one table. It fails if a scene ends otherwise than it says, or if the table in the workbook's README is
// another.
//
//	go run ./common/matrix
//	go run ./common/matrix -stage 2    that stage alone
//
// A stage that has the scene plays its own. One that comes later plays the newest before it, unless that is about a leader
// by order and the stage elects its leader. One that comes earlier plays the first, and may end otherwise: that is what the
// later stage mends.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"raftworkbook/common/stages/tree"
)

func main() {
	stage := flag.Int("stage", -1, "play the scenes in this `stage` alone; all, if negative")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *stage); err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, stage int) error {
	root, err := tree.Root(".")
	if err != nil {
		return err
	}
	stages, err := tree.Stages(root)
	if err != nil {
		return err
	}
	m, err := find(stages)
	if err != nil {
		return err
	}
	if stage >= 0 {
		if m = m.only(stage); len(m.stages) == 0 {
			return fmt.Errorf("there is no stage %d", stage)
		}
	}
	bins, err := os.MkdirTemp("", "raftworkbook-matrix-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bins)
	if err := m.play(ctx, bins, report(time.Now())); err != nil {
		return err
	}
	fmt.Print(m.table())
	if bad := m.surprises(); bad != nil || stage >= 0 {
		return bad
	}
	return inReadme(root, m.table())
}

// report returns what is told of each scene that has been played, on a terminal.
func report(began time.Time) func(played, all int) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return func(int, int) {}
	}
	return func(played, all int) {
		fmt.Fprintf(os.Stderr, "\r%d of %d, %v ", played, all, time.Since(began).Round(time.Second))
		if played == all {
			fmt.Fprint(os.Stderr, "\r\033[K")
		}
	}
}

// inReadme checks that the table stands in the README.
func inReadme(root, table string) error {
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), table) {
		return fmt.Errorf("the table in README.md is another one: the one above belongs there")
	}
	return nil
}
