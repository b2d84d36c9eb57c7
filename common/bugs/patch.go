package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A patch is one bug, as its file describes it.
type patch struct {
	// file is where it stands, name what it does.
	file, name string
	// id and title are its first line.
	id, title string
	catchers  []catcher
	// flags are given to go test.
	flags []string
	// touched are the files that it changes, relative to the stage.
	touched []string
}

// A catcher is a test that must fail once the bug is in.
type catcher struct {
	// dir is the test's package, relative to the stage.
	dir string
	// test is its name; a subtest's is a path.
	test string
}

// patches returns the bugs of the stage in dir, sorted by id. It fails if one of
// them is not as it should be, and says of each what to write.
func patches(dir string) ([]patch, error) {
	files, err := filepath.Glob(filepath.Join(dir, "testdata", "bugs", "*.patch"))
	if err != nil {
		return nil, err
	}
	var all []patch
	var malformed []error
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		p, err := parse(string(text))
		if err != nil {
			malformed = append(malformed, fmt.Errorf("%s: %w", file, err))
		}
		p.file, p.name = file, strings.TrimSuffix(filepath.Base(file), ".patch")
		all = append(all, p)
	}
	slices.SortStableFunc(all, func(a, b patch) int { return strings.Compare(a.id, b.id) })
	return all, errors.Join(malformed...)
}

var (
	titleLine = regexp.MustCompile(`^([A-Z]+[0-9]+[a-z]?) (.+)$`)
	fileLine  = regexp.MustCompile(`(?m)^(?:---|\+\+\+) [ab]/([^\t\n]+)`)
)

// parse reads a patch. Its errors say which line is missing, and how to write it.
func parse(text string) (patch, error) {
	var p patch
	values := header(text)
	title := titleLine.FindStringSubmatch(values[""])
	if title == nil {
		return p, fmt.Errorf("the first line must be an id and what happens, as in %q", "# B003 One read is taken for one message.")
	}
	p.id, p.title = title[1], title[2]
	if values["Rule"] == "" {
		return p, fmt.Errorf("a line must name the rule that is broken, as in %q", "# Rule: a line may arrive in any number of pieces.")
	}
	if p.catchers = catchers(values["Caught by"]); p.catchers == nil {
		return p, fmt.Errorf("a line must name the test, as in %q", "# Caught by: server TestServer_reassembles_a_line")
	}
	p.flags = strings.Fields(values["Flags"])
	for _, m := range fileLine.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(p.touched, m[1]) {
			p.touched = append(p.touched, m[1])
		}
	}
	if p.touched == nil {
		return p, fmt.Errorf("there is no diff with lines like %q", "+++ b/server/conn.go")
	}
	return p, nil
}

// header returns the values of a patch's first lines by their keys; the very first
// line has none.
func header(text string) map[string]string {
	values := make(map[string]string)
	key := ""
	for line := range strings.Lines(text) {
		line, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "# ")
		if !ok {
			break
		}
		if strings.HasPrefix(line, "  ") {
			values[key] += " " + strings.TrimSpace(line)
			continue
		}
		value := line
		if len(values) > 0 {
			key, value, _ = strings.Cut(line, ":")
		}
		values[key] = strings.TrimSpace(value)
	}
	return values
}

// catchers reads "server TestA, TestB, . TestC": a test without a package is in the
// one named before. It returns nil if the value makes no sense.
func catchers(value string) []catcher {
	var all []catcher
	dir := ""
	for item := range strings.SplitSeq(value, ",") {
		fields := strings.Fields(item)
		if len(fields) == 2 {
			dir, fields = fields[0], fields[1:]
		}
		if len(fields) != 1 || dir == "" {
			return nil
		}
		all = append(all, catcher{dir: dir, test: fields[0]})
	}
	return all
}
