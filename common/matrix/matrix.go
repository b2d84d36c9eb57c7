package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"raftworkbook/common/lab"
	"raftworkbook/common/stages/tree"
)

// atOnce is how many scenes are played at a time: most of them wait.
const atOnce = 4

const (
	firstClusterStage  = 2 // the first with more than one node
	firstElectionStage = 5 // the first without a leader by order
)

// A matrix is all scenes, in the order in which the stages first have them.
type matrix struct {
	stages []tree.Stage
	rows   []row
}

// A row is a scene in all stages.
type row struct {
	name  string
	cells []cell
}

// A cell is a scene in one stage.
type cell struct {
	stage tree.Stage
	file  string // what is played
	early bool   // the stage comes before the first that has the scene
	lab.Preview
	err error // where it ended otherwise than the scene says
}

// find finds all scenes, and what each stage would play.
func find(stages []tree.Stage) (matrix, error) {
	m := matrix{stages: stages}
	known := map[string]bool{}
	for _, s := range stages {
		files, err := filepath.Glob(filepath.Join(s.Dir, "scenes", "*.scene"))
		if err != nil {
			return m, err
		}
		for _, file := range files {
			name := filepath.Base(file)
			if known[name] {
				continue
			}
			known[name] = true
			r, err := newRow(stages, name, file)
			if err != nil {
				return m, err
			}
			m.rows = append(m.rows, r)
		}
	}
	if len(m.rows) == 0 {
		return m, errors.New("there are no scenes")
	}
	return m, nil
}

// only is the part of the matrix that is about one stage: the scenes that it has all commands for.
func (m matrix) only(stage int) (one matrix) {
	for i, s := range m.stages {
		if s.Number != stage {
			continue
		}
		one.stages = m.stages[i : i+1]
		for _, r := range m.rows {
			if c := r.cells[i : i+1]; c[0].Lacks == "" {
				one.rows = append(one.rows, row{r.name, c})
			}
		}
	}
	return one
}

// newRow returns the row of a scene whose first file is given.
func newRow(stages []tree.Stage, name, file string) (row, error) {
	r := row{name: strings.TrimSuffix(name, ".scene")}
	from := -1 // the stage whose file it is
	for _, s := range stages {
		if own := filepath.Join(s.Dir, "scenes", name); exists(own) {
			file, from = own, s.Number
		}
		c := cell{stage: s, file: file, early: from < 0}
		f, err := os.Open(file)
		if err != nil {
			return r, err
		}
		c.Preview, err = lab.Look(f, s.Number, nodes(s))
		f.Close()
		if err != nil {
			return r, fmt.Errorf("%s: %w", file, err)
		}
		if s.Number >= firstElectionStage && from >= 0 && from < firstElectionStage {
			c.Lacks = "a leader by order"
		}
		r.cells = append(r.cells, c)
	}
	return r, nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// nodes is how many nodes the lab of a stage has.
func nodes(s tree.Stage) int {
	if s.Number < firstClusterStage {
		return 1
	}
	return 5
}

// play builds the stages into a directory and plays all scenes. It tells after each how many have been played.
func (m matrix) play(ctx context.Context, bins string, tell func(played, all int)) error {
	for _, s := range m.stages {
		build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(bins, s.Name), ".")
		build.Dir = s.Dir
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("%s does not build: %w\n%s", s.Name, err, out)
		}
	}
	var playing sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, atOnce)
	cells, played := m.playable(), 0
	for _, c := range cells {
		slots <- struct{}{}
		playing.Go(func() {
			c.err = c.play(ctx, filepath.Join(bins, c.stage.Name))
			mu.Lock()
			played++
			tell(played, len(cells))
			mu.Unlock()
			<-slots
		})
	}
	playing.Wait()
	return ctx.Err()
}

// playable are the scenes that a stage has all commands for.
func (m matrix) playable() (cells []*cell) {
	for _, r := range m.rows {
		for i := range r.cells {
			if r.cells[i].Lacks == "" {
				cells = append(cells, &r.cells[i])
			}
		}
	}
	return cells
}

// play plays a scene, and returns in which line it ended otherwise than it says.
func (c *cell) play(ctx context.Context, bin string) error {
	scene, err := os.Open(c.file)
	if err != nil {
		return err
	}
	defer scene.Close()
	l, err := lab.Start(ctx, lab.Options{Stage: c.stage.Number, Nodes: nodes(c.stage), Bin: bin})
	if err != nil {
		return err
	}
	return errors.Join(l.Scene(ctx, scene, io.Discard), l.Close())
}

// table is the matrix for the README.
func (m matrix) table() string {
	var b strings.Builder
	b.WriteString("| scene |")
	for _, s := range m.stages {
		fmt.Fprintf(&b, " %d |", s.Number)
	}
	b.WriteString("\n|---|" + strings.Repeat(":-:|", len(m.stages)) + "\n")
	for _, r := range m.rows {
		fmt.Fprintf(&b, "| %s |", strings.ReplaceAll(r.name, "-", " "))
		for _, c := range r.cells {
			fmt.Fprintf(&b, " %s |", c.mark())
		}
		b.WriteString("\n")
	}
	return b.String()
}

// mark is what a cell of the table shows.
func (c cell) mark() string {
	switch {
	case c.Lacks != "":
		return "·"
	case c.surprising():
		return "?"
	case c.Wrong || c.err != nil:
		return "✗"
	}
	return "✓"
}

// surprising reports whether a scene ended otherwise than it says, in a stage that has it or comes later.
func (c cell) surprising() bool { return c.err != nil && !c.early }

// surprises are the scenes that ended otherwise than they say.
func (m matrix) surprises() (err error) {
	for _, r := range m.rows {
		for _, c := range r.cells {
			if c.surprising() {
				err = errors.Join(err, fmt.Errorf("%s in stage %d: %w", r.name, c.stage.Number, c.err))
			}
		}
	}
	return err
}
