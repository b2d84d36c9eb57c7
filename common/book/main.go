// Command book holds the chapters against the program: it types the commands that they show, compares what
// comes with what they say, and looks whether the targets, stages, tests, scenes and patches exist that they
// name. The tree is not touched: each chapter is played in a copy.
//
//	go run ./common/book            the README and all chapters
//	go run ./common/book -stage 3   one chapter
//
// What it takes for what, in a fenced block:
//
//   - A line after "$ " is typed in a shell, one for the whole chapter; a here-document goes on to its end. A
//     node, or a lab that is given no commands, gets a terminal of its own and runs on.
//   - A line after "> " is typed at the prompt of the lab. Each part of a chapter (from a heading, or from a
//     paragraph that begins in bold) has a new lab of the chapter's stage, unless it starts one itself.
//   - A line "^C" is Ctrl-C: in the shell, if something runs there, or in the terminal that was opened last.
//   - All else is what the command above it writes; a line "..." stands for any lines.
//   - A block with no commands after blocks with nothing but commands is what came of them. It may leave lines
//     out, and may be what the shell and the lab said, or what one terminal did.
//   - A trace, a block that begins like "n1   at  2s", is what one of the terminals shows.
//   - A block under a paragraph that is the name of a scene is that scene, played; under one that names a file of
//     testdata, with a link or "From", it is part of that file.
//
// At a heading all terminals are closed. What differs from run to run, a time or a checksum, is made equal
// (compare.go). Comments that are not shown say what else there is to know. The last one holds commands, and
// is for what the text only describes:
//
//	<!-- book: not run: WHY -->
//	<!-- book: not compared: WHY -->
//	<!-- book: varies /REGULAR EXPRESSION/: WHY -->
//	<!-- book:
//	$ COMMAND
//	-->
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"raftworkbook/common/stages/tree"
)

// verbose shows each command when it is done.
var verbose bool

func main() {
	number := flag.Int("stage", -1, "the stage's `number`; all of them, and the README, if left out")
	flag.BoolVar(&verbose, "v", false, "show each command, and how long it takes")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: book [-stage N] [-v]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if stage, ok := isApart(); ok {
		err = runApart(ctx, stage, os.Stdout)
	} else {
		err = run(ctx, *number, os.Stdout)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "book:", err)
		os.Exit(1)
	}
}

// run plays the chapter of the stage with the given number, or the README and all chapters if it is negative.
func run(ctx context.Context, number int, out io.Writer) error {
	root, err := tree.Root(".")
	if err != nil {
		return err
	}
	chapters, err := chaptersOf(root, number)
	if err != nil {
		return err
	}
	if err := portsAreFree(); !canBeApart() && err != nil {
		return err
	}
	if err := prepare(ctx, root); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	results := playAll(ctx, root, chapters)
	var all tally
	var failed error // the first; all that has begun ends before this does
	for i, c := range chapters {
		r := <-results[i]
		if r.err != nil && failed == nil {
			failed = fmt.Errorf("%s: %w", c.path, r.err)
			stop()
		}
		if failed != nil {
			continue
		}
		for _, p := range r.Problems {
			fmt.Fprintln(out, p)
		}
		fmt.Fprintf(out, "%-34s %s; %3.0f s\n", c.path, r.counts(), r.took.Seconds())
		all.add(r.tally)
	}
	if failed != nil {
		return failed
	}
	fmt.Fprintf(out, "%-34s %s\n", "in all", all.counts())
	for _, l := range all.LeftOut {
		fmt.Fprintln(out, "left out:", l)
	}
	for _, l := range all.Uncompared {
		fmt.Fprintln(out, "not compared:", l)
	}
	if n := len(all.Problems); n > 0 {
		return fmt.Errorf("%d of what the chapters say is not so", n)
	}
	return nil
}

// prepare looks for the one command that the chapters use and a machine may lack, and builds what they run: a command
// has its time, which is not for that.
func prepare(ctx context.Context, root string) error {
	if _, err := exec.LookPath("nc"); err != nil {
		return fmt.Errorf("the chapters speak to servers with nc, which is not there (netcat-openbsd on Debian): %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "./...")
	build.Dir, build.Env = root, append(os.Environ(), buildFlags)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// buildFlags let all copies of the tree share what is built.
const buildFlags = "GOFLAGS=-trimpath"

// atOnce is how many chapters are played at once where each has a network of its own: most of their time
// they wait.
const atOnce = 3

// A played is what came of a chapter.
type played struct {
	tally
	took time.Duration
	err  error
}

// playAll plays the chapters, and returns a channel for each.
func playAll(ctx context.Context, root string, chapters []chapter) []chan played {
	check, places := chapter.check, make(chan struct{}, 1)
	if canBeApart() {
		check, places = chapter.checkApart, make(chan struct{}, atOnce)
	}
	var results []chan played
	for range chapters {
		results = append(results, make(chan played, 1))
	}
	go func() {
		for i, c := range chapters {
			places <- struct{}{}
			go func() {
				defer func() { <-places }()
				if err := ctx.Err(); err != nil {
					results[i] <- played{err: err}
					return
				}
				began := time.Now()
				t, err := check(c, ctx, root)
				results[i] <- played{t, time.Since(began), err}
			}()
		}
	}()
	return results
}

// runApart plays one chapter for the process that started this one.
func runApart(ctx context.Context, stage string, out io.Writer) error {
	root, err := tree.Root(".")
	if err != nil {
		return err
	}
	c, err := readChapter(root, stage)
	if err != nil {
		return err
	}
	t, err := c.check(ctx, root)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(t)
}

// chaptersOf reads the chapter of one stage, or of all.
func chaptersOf(root string, number int) ([]chapter, error) {
	stages, err := tree.Stages(root)
	if err != nil {
		return nil, err
	}
	var chapters []chapter
	if number < 0 {
		c, err := readChapter(root, "")
		if err != nil {
			return nil, err
		}
		chapters = append(chapters, c)
	} else {
		s, err := tree.Find(stages, number)
		if err != nil {
			return nil, err
		}
		stages = []tree.Stage{s}
	}
	for _, s := range stages {
		c, err := readChapter(root, s.Name)
		if err != nil {
			return nil, err
		}
		chapters = append(chapters, c)
	}
	return chapters, nil
}

// check looks for what the chapter names, and plays it in a copy of the tree.
func (c chapter) check(ctx context.Context, root string) (tally, error) {
	named, err := newNames(root)
	if err != nil {
		return tally{}, err
	}
	scratch, err := os.MkdirTemp("", "book-")
	if err != nil {
		return tally{}, err
	}
	defer os.RemoveAll(scratch)
	work, tmp := filepath.Join(scratch, "workbook"), filepath.Join(scratch, "tmp")
	if err := errors.Join(copyTree(root, work), os.Mkdir(tmp, 0o755)); err != nil {
		return tally{}, err
	}
	t := play(ctx, c, work, tmp)
	missing, count := named.missing(c)
	t.Problems = append(missing, t.Problems...)
	t.Named = count
	return t, ctx.Err()
}

// copyTree copies the workbook, without what git ignores.
func copyTree(root, to string) error {
	files, err := tree.Files(root, ".")
	if err != nil {
		return err
	}
	for _, file := range files {
		from, copied := filepath.Join(root, file), filepath.Join(to, file)
		info, err := os.Stat(from)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(copied), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(copied, text, info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}
