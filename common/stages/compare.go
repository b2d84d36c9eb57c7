package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"raftworkbook/common/stages/tree"
)

// A change is one file that is not the same in two stages.
type change struct {
	// path is relative to the stage.
	path string
	mark mark
	// before and after are the file's contents, nil where it does not exist. Both
	// spell the stage's directory as the later stage does.
	before, after []byte
	// note is what steps.txt says about the file.
	note string
}

// compare returns what differs between two stages, sorted by path.
func (w workbook) compare(from, to tree.Stage) ([]change, error) {
	before, err := contents(w.root, from)
	if err != nil {
		return nil, err
	}
	after, err := contents(w.root, to)
	if err != nil {
		return nil, err
	}
	var changes []change
	for path, text := range before {
		text = respell(text, from, to)
		c := change{path: path, mark: changed, before: text, after: after[path]}
		if _, ok := after[path]; !ok {
			c.mark = dropped
		}
		if c.mark == dropped || !bytes.Equal(c.before, c.after) {
			changes = append(changes, c)
		}
	}
	for path, text := range after {
		if _, ok := before[path]; !ok {
			changes = append(changes, change{path: path, mark: added, after: text})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.path, b.path) })
	return changes, nil
}

// contents reads all files of a stage, by path.
func contents(root string, s tree.Stage) (map[string][]byte, error) {
	paths, err := tree.Files(root, s.Name)
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte, len(paths))
	for _, p := range paths {
		if files[p], err = os.ReadFile(filepath.Join(s.Dir, p)); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// respell returns a text of stage from as stage to would have it: with its own
// directory, and so its own import path.
func respell(text []byte, from, to tree.Stage) []byte {
	return bytes.ReplaceAll(text, []byte(from.Name), []byte(to.Name))
}
