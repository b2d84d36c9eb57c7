package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"raftworkbook/common/stages/tree"
)

// names are what there is in the tree that a command may name.
type names struct {
	root    string
	files   map[string]bool
	dirs    map[string]bool
	bases   map[string]bool            // the names of all files, without their directories
	targets map[string]bool            // of the Makefile
	tests   map[string]map[string]bool // the tests of each directory
}

var (
	target   = regexp.MustCompile(`(?m)^([a-z]+):`)
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w*)\(`)
)

func newNames(root string) (names, error) {
	n := names{root: root, files: map[string]bool{}, dirs: map[string]bool{}, bases: map[string]bool{},
		targets: map[string]bool{}, tests: map[string]map[string]bool{}}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return n, err
	}
	for _, m := range target.FindAllSubmatch(makefile, -1) {
		n.targets[string(m[1])] = true
	}
	files, err := tree.Files(root, ".")
	if err != nil {
		return n, err
	}
	for _, file := range files {
		n.files[file], n.bases[path.Base(file)] = true, true
		for dir := path.Dir(file); !n.dirs[dir]; dir = path.Dir(dir) {
			n.dirs[dir] = true
		}
		if !strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return n, err
		}
		dir := path.Dir(file)
		if n.tests[dir] == nil {
			n.tests[dir] = map[string]bool{}
		}
		for _, m := range testFunc.FindAllSubmatch(text, -1) {
			n.tests[dir][string(m[1])] = true
		}
	}
	return n, nil
}

var (
	span     = regexp.MustCompile("(?s)`([^`]+)`")
	made     = regexp.MustCompile(`(?:^|&& |; )make(?: ([a-z]+))?((?: [A-Z]+=\S+)*)`)
	stageSet = regexp.MustCompile(`(?:STAGE|FROM|TO)=(\d+)`)
	inStage  = regexp.MustCompile(`(?:^|[ =])(?:\./)?((?:stage\d-[a-z]|common)[\w/.-]*)`)
	runs     = regexp.MustCompile(`go test .*-(?:run|fuzz) (?:'([^']*)'|(\S+))`)
	base     = regexp.MustCompile(`^([\w-]+\.(?:scene|patch|trace))$`)
)

// missing says which of the things that a chapter names there are not.
func (n names) missing(c chapter) (problems []string, named int) {
	look := func(line int, command string) {
		wrong, count := n.wrong(command)
		named += count
		for _, w := range wrong {
			problems = append(problems, fmt.Sprintf("%s:%d: %s: %s", c.path, line, command, w))
		}
	}
	for _, p := range c.prose {
		for _, m := range span.FindAllStringSubmatchIndex(p.text, -1) {
			look(p.line+strings.Count(p.text[:m[0]], "\n"), strings.ReplaceAll(p.text[m[2]:m[3]], "\n", " "))
		}
	}
	for _, b := range c.blocks {
		for _, s := range b.steps() {
			if s.prompt == "$" {
				look(s.line, s.typed)
			}
		}
	}
	return problems, named
}

// wrong says what a command names that there is not, and how many things it names.
func (n names) wrong(command string) (wrong []string, named int) {
	there := func(ok bool, format string, args ...any) {
		if named++; !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	for _, m := range made.FindAllStringSubmatch(command, -1) {
		if m[1] != "" {
			there(n.targets[m[1]], "there is no target %s", m[1])
		}
		for _, stage := range stageSet.FindAllStringSubmatch(m[2], -1) {
			there(n.stage(stage[1]) != "", "there is no stage %s", stage[1])
		}
	}
	var dirs []string
	for _, m := range inStage.FindAllStringSubmatch(command, -1) {
		name := strings.TrimSuffix(strings.TrimSuffix(m[1], "/..."), "/")
		if strings.Contains(name, "NAME") || strings.Contains(name, "*") {
			name = path.Dir(name)
		}
		there(n.dirs[name] || n.files[name], "there is no %s", name)
		if n.dirs[name] {
			dirs = append(dirs, m[1])
		}
	}
	if m := runs.FindStringSubmatch(command); m != nil {
		there(n.matches(m[1]+m[2], dirs), "there is no test %s", m[1]+m[2])
	}
	if m := base.FindStringSubmatch(command); m != nil && !strings.HasPrefix(m[1], "NAME.") {
		there(n.bases[m[1]], "there is no such file")
	}
	return wrong, named
}

// stage is the directory of the stage with a number; empty if there is none.
func (n names) stage(number string) string {
	for dir := range n.dirs {
		if strings.HasPrefix(dir, "stage"+number+"-") && !strings.Contains(dir, "/") {
			return dir
		}
	}
	return ""
}

// matches tells whether each alternative of the pattern is a test of one of the packages.
func (n names) matches(pattern string, packages []string) bool {
	if pattern == "^$" {
		return true
	}
	for _, one := range strings.Split(pattern, "|") {
		name, _, _ := strings.Cut(one, "/")
		wanted, err := regexp.Compile(name)
		if err != nil || !n.someTest(wanted, packages) {
			return false
		}
	}
	return true
}

func (n names) someTest(wanted *regexp.Regexp, packages []string) bool {
	for dir, tests := range n.tests {
		for _, p := range packages {
			below, all := strings.CutSuffix(p, "/...")
			if dir != below && !(all && strings.HasPrefix(dir, below+"/")) {
				continue
			}
			for test := range tests {
				if wanted.MatchString(test) {
					return true
				}
			}
		}
	}
	return false
}

// readLines reads a file of a stage.
func readLines(root, stage, file string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(root, stage, file))
	return strings.Split(string(text), "\n"), err
}
