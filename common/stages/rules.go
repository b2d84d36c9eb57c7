package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// rulesPage has a row for each rule of the paper.
const rulesPage = "RULES.md"

var (
	// ruleRow is a row of it: the rule, a file and what in it, the package of a test and its name, and a patch.
	ruleRow = regexp.MustCompile("^\\| .+ \\| \\[[^]]+\\]\\((stage[^/)]+)/([^)]+)\\) `(\\w+)` \\| ([\\w./]+) `(\\w+)(/[^`]+)?` \\| \\[`(\\w+)`\\]\\(([^)]+)\\) \\|$")
	// leftOut is one about a rule that is not there, and says why.
	leftOut = regexp.MustCompile(`^\| .+ \| left out: .+ \| - \| - \|$`)
	// caughtBy is where a patch names its tests; the line may go on in those that follow.
	caughtBy = regexp.MustCompile(`(?m)^# Caught by: (.*(?:\n#  .*)*)`)
)

// A paperRule says where a rule stands, the test that fails without it, and the bug that takes it out.
type paperRule struct {
	stage, file, name string // name is of a function or type in the file
	dir, test, sub    string // of the test's package, inside the stage
	bug, patch        string
}

// ruleProblems holds each row of the rules against what it names.
func (w workbook) ruleProblems() ([]string, error) {
	page, err := w.text(rulesPage)
	if err != nil {
		return nil, err
	}
	if page == "" {
		return []string{"there is no " + rulesPage}, nil
	}
	var problems []string
	for i, line := range strings.Split(page, "\n") {
		at := fmt.Sprintf("%s:%d: ", rulesPage, i+1)
		switch m := ruleRow.FindStringSubmatch(line); {
		case m != nil:
			wrong, err := w.rowProblems(paperRule{m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8]})
			if err != nil {
				return nil, err
			}
			for _, p := range wrong {
				problems = append(problems, at+p)
			}
		case strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| the rule |") && !leftOut.MatchString(line):
			problems = append(problems, at+"a row has the rule, [a file](PATH) and its `function`, the package of a test and its `name`, "+
				"and [`a bug`](PATCH); or the rule, \"left out: \" and why, -, and -")
		}
	}
	return problems, nil
}

// rowProblems returns what is not as a row says.
func (w workbook) rowProblems(r paperRule) (problems []string, err error) {
	source, err := w.text(r.stage, r.file)
	if err != nil {
		return nil, err
	}
	if source == "" {
		problems = append(problems, fmt.Sprintf("there is no file %s in %s", r.file, r.stage))
	} else if !regexp.MustCompile(`(?m)^(?:func (?:\(.*?\) )?|type )` + r.name + `\b`).MatchString(source) {
		problems = append(problems, fmt.Sprintf("%s of %s has no function or type %s", r.file, r.stage, r.name))
	}
	tests, err := w.tests(filepath.Join(r.stage, r.dir))
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	if !tests[r.test] {
		problems = append(problems, fmt.Sprintf("package %s of %s has no test %s", r.dir, r.stage, r.test))
	}
	file := "testdata/bugs/" + r.bug + ".patch"
	if want := r.stage + "/" + file; r.patch != want {
		problems = append(problems, fmt.Sprintf("the link of the bug %s is to %s, not to %s", r.bug, r.patch, want))
	}
	patch, err := w.text(r.stage, file)
	if err != nil {
		return nil, err
	}
	if patch == "" {
		return append(problems, fmt.Sprintf("there is no bug %s in %s", r.bug, r.stage)), nil
	}
	if m := caughtBy.FindStringSubmatch(patch); m == nil || !slices.Contains(names(m[1]), r.test+r.sub) {
		problems = append(problems, fmt.Sprintf("the bug %s of %s is not said to be caught by %s", r.bug, r.stage, r.test+r.sub))
	}
	return problems, nil
}

// names are the words of a header's value, among them the tests.
func names(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(", #\n", r) })
}

// text returns what a file holds, nothing if there is no such file.
func (w workbook) text(file ...string) (string, error) {
	text, err := os.ReadFile(filepath.Join(w.root, filepath.Join(file...)))
	if os.IsNotExist(err) {
		return "", nil
	}
	return string(text), err
}
