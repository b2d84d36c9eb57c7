package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"

	"raftworkbook/common/stages/tree"
)

// inherited tells which bugs of a stage say nothing that the stage before does not say: the patch, the files that it
// touches and those that hold its tests are the same there.
type inherited struct {
	stage, before tree.Stage
}

// fresh returns the patches that are not inherited.
func (in inherited) fresh(all []patch) []patch {
	return slices.DeleteFunc(slices.Clone(all), in.has)
}

func (in inherited) has(p patch) bool {
	file, err := filepath.Rel(in.stage.Dir, p.file)
	if err != nil || !in.same(file) {
		return false
	}
	for _, name := range p.touched {
		if !in.same(name) {
			return false
		}
	}
	for _, c := range p.catchers {
		tests, err := filepath.Glob(filepath.Join(in.stage.Dir, c.dir, "*_test.go"))
		if err != nil || !slices.ContainsFunc(tests, func(test string) bool { return in.holds(test, c) }) {
			return false
		}
	}
	return true
}

// holds reports whether a file has the test of c, and is the same in the stage before.
func (in inherited) holds(test string, c catcher) bool {
	text, err := os.ReadFile(test)
	name, _, _ := bytes.Cut([]byte(c.test), []byte("/"))
	return err == nil && bytes.Contains(text, slices.Concat([]byte("func "), name, []byte("("))) &&
		in.same(filepath.Join(c.dir, filepath.Base(test)))
}

// same reports whether a file, a path inside the stage, is the same in both, but for the stage's own directory.
func (in inherited) same(file string) bool {
	here, err := os.ReadFile(filepath.Join(in.stage.Dir, file))
	there, errThere := os.ReadFile(filepath.Join(in.before.Dir, file))
	return err == nil && errThere == nil && bytes.Equal(here, bytes.ReplaceAll(there, []byte(in.before.Name), []byte(in.stage.Name)))
}
