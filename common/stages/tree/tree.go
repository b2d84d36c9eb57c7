// Package tree finds the workbook's stages on disk, for the tools that work on
// all of them.
package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// Module is the workbook's module path, the head of every import path in it.
const Module = "raftworkbook"

// A Stage is one directory stageN-name at the top of the workbook.
type Stage struct {
	// Number is its place in the order, from 0 to 7.
	Number int
	// Name is its directory's name, such as "stage0-kvserver".
	Name string
	// Dir is its directory, as a path.
	Dir string
}

var stageName = regexp.MustCompile(`^stage([0-7])-[a-z0-9-]+$`)

// Root returns the nearest directory, from dir upwards, that holds a go.mod. It
// fails if there is none.
func Root(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod here or above: run this inside the workbook")
		}
		dir = parent
	}
}

// Stages returns the stages of the workbook at root, in their order. It fails if
// two of them have one number.
func Stages(root string) ([]Stage, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var stages []Stage
	for _, e := range entries { // sorted by name, and so by number
		m := stageName.FindStringSubmatch(e.Name())
		if m == nil || !e.IsDir() {
			continue
		}
		s := Stage{Number: int(m[1][0] - '0'), Name: e.Name(), Dir: filepath.Join(root, e.Name())}
		if n := len(stages); n > 0 && stages[n-1].Number == s.Number {
			return nil, fmt.Errorf("%s and %s have the same number", stages[n-1].Name, s.Name)
		}
		stages = append(stages, s)
	}
	return stages, nil
}

// Find returns the stage with the given number. It fails, naming the numbers that
// there are, if there is no such stage.
func Find(stages []Stage, number int) (Stage, error) {
	var numbers []int
	for _, s := range stages {
		if s.Number == number {
			return s, nil
		}
		numbers = append(numbers, s.Number)
	}
	return Stage{}, fmt.Errorf("there is no stage %d, only %v", number, numbers)
}
