package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	// lastEvents is how many a report shows.
	lastEvents = 40
	// fewSeeds are enough for somebody careless to lose something.
	fewSeeds = 50
)

// Careful runs one seed after the other under a careful operator, as many as fit into the time, and requires that every
// property holds. If only is not 0 it runs that seed alone.
func Careful(t testing.TB, a Algorithm, only uint64, fit time.Duration) {
	t.Helper()
	s := newSeeds(t, a, only)
	for s.more(fit) {
		s.next(false)
	}
	s.sum()
}

// Careless does so under a careless operator. What needs no care must hold all the same, and of what does the simulator
// has to find a loss: that something was acknowledged and is not in the log in the end.
func Careless(t testing.TB, a Algorithm, only uint64, fit time.Duration) {
	t.Helper()
	s := newSeeds(t, a, only)
	loss := ""
	for s.more(fit) || loss == "" && only == 0 && s.run < fewSeeds {
		for _, v := range s.next(true).found {
			if v.property == Honesty && loss == "" {
				loss = fmt.Sprintf("seed %d: %v", s.seed-1, v)
			}
		}
	}
	s.sum()
	if loss == "" && only == 0 {
		t.Fatalf("of %d seeds with a careless operator none lost what was acknowledged", s.run)
	}
	t.Log(loss)
}

// Repeats requires that seeds, run again, are the same to the letter.
func Repeats(t testing.TB, a Algorithm) {
	t.Helper()
	for seed := range uint64(2) {
		first, second := tale(simulate(a, seed, false, 1<<20)), tale(simulate(a, seed, false, 1<<20))
		if first != second {
			t.Fatalf("seed %d is not the same run again: line %s", seed, difference(first, second))
		}
	}
}

// tale is the trace of a run.
func tale(o outcome) string {
	var b strings.Builder
	for _, e := range o.trace {
		b.WriteString(e.String())
	}
	return b.String()
}

// Elections runs seeds as Careful does, with nodes that elect who leads. It says how many terms that took once the faults had ended: one,
// unless a vote is split or a candidate lacks what a majority has.
func Elections(t testing.TB, a Algorithm, only uint64, fit time.Duration) {
	t.Helper()
	s := newSeeds(t, a, only)
	took := map[int]int{}
	for s.more(fit) {
		for _, terms := range s.next(false).elections {
			took[terms]++
		}
	}
	s.sum()
	t.Logf("terms until somebody led, once the faults had ended, and how often: %v", took)
}

// seeds is a test that runs them.
type seeds struct {
	t         testing.TB
	algorithm Algorithm
	only      uint64
	seed      uint64 // the next one
	run       int
	events    int
	start     time.Time
}

func newSeeds(t testing.TB, a Algorithm, only uint64) *seeds {
	return &seeds{t: t, algorithm: a, only: only, seed: max(only, 1), start: time.Now()}
}

// more reports whether to run another seed: one at least, and not more than one if it is the only one.
func (s *seeds) more(fit time.Duration) bool {
	return s.run == 0 || s.only == 0 && time.Since(s.start) < fit
}

// next runs the next seed. It ends the test if something was violated.
func (s *seeds) next(careless bool) outcome {
	s.t.Helper()
	o := twice(s.algorithm, s.seed, careless)
	s.run++
	s.seed++
	s.events += 2 * o.events
	if o.failed {
		s.t.Fatal(report(o, simulate(s.algorithm, o.seed, careless, lastEvents)))
	}
	if s.only != 0 {
		s.t.Log(o.mix)
	}
	return o
}

// twice runs a seed twice: it must be the same both times.
func twice(a Algorithm, seed uint64, careless bool) outcome {
	o := simulate(a, seed, careless, 0)
	if again := simulate(a, seed, careless, 0); !o.failed && (again.hash != o.hash || again.events != o.events) {
		o.failed = true
		o.found = append(o.found, violation{Determinism, fmt.Sprintf("%d events, and others when it is run again", o.events)})
	}
	return o
}

// report is what there is to say of a seed that failed, and of the same with explanations.
func report(o, explained outcome) string {
	var b strings.Builder
	last := o.found[len(o.found)-1]
	fmt.Fprintf(&b, "seed %d: %v\n\tgo test ./%s -run Sim -seed=%d\n\n%v\n\n%s", o.seed, last, here(), o.seed, o.mix, tale(explained))
	if !slices.Contains(explained.found, last) {
		fmt.Fprintf(&b, "That was another run: with explanations the algorithm does something else.\n")
	}
	return b.String()
}

// sum says how much was run.
func (s *seeds) sum() {
	took := time.Since(s.start)
	s.t.Logf("%d seeds, each twice: %d events, %.0f a second", s.run, s.events, float64(s.events)/took.Seconds())
}

// here is the directory of the test, from the top of the module.
func here() string {
	dir, err := os.Getwd()
	if err != nil {
		return "."
	}
	for top := dir; top != filepath.Dir(top); top = filepath.Dir(top) {
		if _, err := os.Stat(filepath.Join(top, "go.mod")); err == nil {
			if path, err := filepath.Rel(top, dir); err == nil {
				return filepath.ToSlash(path)
			}
		}
	}
	return "."
}
