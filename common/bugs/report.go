package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"raftworkbook/common/stages/tree"
)

// maxDetail is how many characters of what a test said are shown.
const maxDetail = 110

// check puts in the bugs of one stage, as many at once as there are processors,
// and prints a row for each as it is known, in order. It fails unless all of them
// are caught, and if there are none. Those that are the same in the stage before are
// left out, if that is given. Of those that are left one in so many is tried; the others have to apply.
func check(ctx context.Context, out io.Writer, stage tree.Stage, before *tree.Stage, oneIn int) error {
	began := time.Now()
	all, err := patches(stage.Dir)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fmt.Errorf("%s has no bugs in testdata/bugs", stage.Name)
	}
	if before != nil {
		fresh := inherited{stage, *before}.fresh(all)
		fmt.Fprintf(out, "%d bugs of %s are those of %s, with the same code and the same tests\n", len(all)-len(fresh), stage.Name, before.Name)
		all = fresh
	}
	all, err = sample(all, oneIn, stage.Dir)
	if err != nil {
		return fmt.Errorf("%s: %w", stage.Name, err)
	}
	r := report{out: out, status: statusLine(out)}
	for _, p := range all {
		r.nameWidth = max(r.nameWidth, len(p.name))
	}
	fmt.Fprintln(out, stage.Name)
	var failure error
	for i, found := range start(ctx, all, stage.Dir) {
		fmt.Fprintf(r.status, "  %d of %d ...", i+1, len(all))
		f := <-found // all of them: none may still run when we return
		fmt.Fprint(r.status, "\r\x1b[K")
		failure = cmp.Or(failure, f.err)
		if failure == nil {
			r.row(all[i], f.verdict)
		}
	}
	if failure != nil {
		return failure
	}
	fmt.Fprintf(out, "%d of %d bugs caught in %v\n\n", r.caught, len(all), time.Since(began).Round(100*time.Millisecond))
	if missed := len(all) - r.caught; missed > 0 {
		return fmt.Errorf("%s: %d of %d bugs were not caught", stage.Name, missed, len(all))
	}
	return nil
}

// sample returns one in so many patches. It fails if another does not apply.
func sample(all []patch, oneIn int, stage string) (some []patch, err error) {
	for i, p := range all {
		if i%oneIn == 0 {
			some = append(some, p)
		} else if err := p.applies(stage); err != nil {
			return nil, fmt.Errorf("%s does not apply: %w", p.name, err)
		}
	}
	return some, nil
}

// A finding is what came of one patch.
type finding struct {
	verdict verdict
	err     error
}

// start tries all patches in order, as many at once as there are processors. It
// returns a channel for each, which gets its finding.
func start(ctx context.Context, all []patch, stage string) []chan finding {
	findings := make([]chan finding, len(all))
	for i := range findings {
		findings[i] = make(chan finding, 1)
	}
	var taken atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		go func() {
			for i := taken.Add(1) - 1; i < int64(len(all)); i = taken.Add(1) - 1 {
				v, err := all[i].catch(ctx, stage)
				findings[i] <- finding{v, err}
			}
		}()
	}
	return findings
}

// A report is the table that grows.
type report struct {
	out io.Writer
	// status is where progress goes: nowhere, unless out is a terminal.
	status    io.Writer
	nameWidth int
	caught    int
}

func statusLine(out io.Writer) io.Writer {
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return out
	}
	return io.Discard
}

func (r *report) row(p patch, v verdict) {
	if v.caught() {
		r.caught++
	}
	fmt.Fprintf(r.out, "  %-5s  %-*s  %-*s  %s\n", p.id, r.nameWidth, p.name, len(caughtByPanic), v.result, p.tests())
	if v.detail != "" {
		fmt.Fprintf(r.out, "         %s\n", shorten(v.detail))
	}
}

// tests names the tests that should catch the bug.
func (p patch) tests() string {
	names := p.catchers[0].test
	for _, c := range p.catchers[1:] {
		names += ", " + c.test
	}
	return names
}

func shorten(detail string) string {
	if runes := []rune(detail); len(runes) > maxDetail {
		return string(runes[:maxDetail]) + "…"
	}
	return detail
}
