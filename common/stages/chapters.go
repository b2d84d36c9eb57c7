package main

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"raftworkbook/common/stages/tree"
)

var (
	// testName is how a chapter names a test, and testFunc how a test begins.
	testName = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]*)[`/]")
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w*)\(`)
	// bugRow is a row in a chapter's table of bugs.
	bugRow = regexp.MustCompile("(?m)^\\| `([a-z0-9A-Z_]+)` \\|.*`(?:Test|Fuzz)")
)

// chapterProblems holds each chapter against its stage: the tests that it names exist, its table lists the
// bugs that are new with it, and no others.
func (w workbook) chapterProblems() ([]string, error) {
	common, err := w.tests("common")
	if err != nil {
		return nil, err
	}
	var problems []string
	before := map[string]bool{} // the bugs of the stage before
	for _, s := range w.stages {
		chapter, err := os.ReadFile(filepath.Join(w.root, s.Name, "README.md"))
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		own, err := w.tests(s.Name)
		if err != nil {
			return nil, err
		}
		for _, m := range testName.FindAllStringSubmatch(string(chapter), -1) {
			if name := m[1]; !own[name] && !common[name] {
				problems = append(problems, fmt.Sprintf("the chapter of %s names %s, but there is no such test", s.Name, name))
			}
		}
		bugs, err := w.bugs(s.Name)
		if err != nil {
			return nil, err
		}
		listed := map[string]bool{}
		for _, m := range bugRow.FindAllStringSubmatch(string(chapter), -1) {
			if listed[m[1]] = true; !bugs[m[1]] {
				problems = append(problems, fmt.Sprintf("the chapter of %s lists the bug %s, but there is no such patch", s.Name, m[1]))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(bugs)) {
			if !listed[name] && !before[name] {
				problems = append(problems, fmt.Sprintf("the chapter of %s does not list the bug %s, which is new with it", s.Name, name))
			}
		}
		before = bugs
	}
	return problems, nil
}

// tests returns the names of all tests under dir.
func (w workbook) tests(dir string) (map[string]bool, error) {
	names := map[string]bool{}
	files, err := tree.Files(w.root, dir)
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(w.root, dir, file))
		if err != nil {
			return nil, err
		}
		for _, m := range testFunc.FindAllSubmatch(b, -1) {
			names[string(m[1])] = true
		}
	}
	return names, err
}

// bugs returns the names of a stage's bugs.
func (w workbook) bugs(stage string) (map[string]bool, error) {
	names := map[string]bool{}
	files, err := tree.Files(w.root, stage)
	for _, file := range files {
		if dir, name := path.Split(file); dir == "testdata/bugs/" {
			names[strings.TrimSuffix(name, ".patch")] = true
		}
	}
	return names, err
}
