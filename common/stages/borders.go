package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"raftworkbook/common/stages/tree"
)

// visible are the entries that the top of the workbook may have.
var visible = regexp.MustCompile(`^(README\.md|RULES\.md|DIFFERENCES\.md|Makefile|go\.mod|go\.sum|common|stage[0-7]-.*)$`)

// pure are the packages that the algorithm may use. None of them knows of time,
// network, files, randomness, locks or goroutines.
var pure = []string{
	"bytes", "cmp", "encoding/binary", "encoding/json", "errors", "fmt", "iter", "maps",
	"math", "math/bits", "slices", "sort", "strconv", "strings", "unicode/utf8",
}

// A source is one Go file, as far as the borders need it.
type source struct {
	// path is from the root.
	path string
	// stage is the name of the stage that it belongs to; empty in common.
	stage string
	// room is the stage's package that it lies in: "raft", "kv", "" for main.
	room    string
	test    bool
	imports []string
	// goroutines are the lines on which it starts one.
	goroutines []int
}

// rules are the borders: each returns what it has against a file, empty for
// nothing.
var rules = []func(source) string{
	stagesStandAlone,
	commonKnowsNoStage,
	runtimeNeedsOnlyStandardLibrary,
	coreIsPure,
	coreStartsNoGoroutine,
	lessonNeedsNoTools,
}

// borderProblems returns every file that crosses a border, and every entry at the
// top that does not belong there.
func (w workbook) borderProblems() ([]string, error) {
	var problems []string
	top, err := tree.Top(w.root)
	if err != nil {
		return nil, err
	}
	for _, name := range top {
		if !visible.MatchString(name) {
			problems = append(problems, name+": does not belong at the top, only README.md, RULES.md, DIFFERENCES.md, Makefile, go.mod, go.sum, common and the stages do")
		}
	}
	files, err := tree.Files(w.root, ".")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if !strings.HasSuffix(file, ".go") || (change{path: file}).isTestdata() {
			continue
		}
		s, err := w.source(file)
		if err != nil {
			return nil, err
		}
		for _, rule := range rules {
			if against := rule(s); against != "" {
				problems = append(problems, s.path+": "+against)
			}
		}
	}
	return problems, nil
}

// source parses the file, a path from the root.
func (w workbook) source(file string) (source, error) {
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, filepath.Join(w.root, file), nil, parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	s := source{path: file, test: strings.HasSuffix(file, "_test.go")}
	if parts := strings.Split(file, "/"); strings.HasPrefix(parts[0], "stage") {
		s.stage = parts[0]
		if len(parts) > 2 {
			s.room = parts[1]
		}
	}
	for _, spec := range parsed.Imports {
		s.imports = append(s.imports, strings.Trim(spec.Path.Value, "`\""))
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if g, ok := n.(*ast.GoStmt); ok {
			s.goroutines = append(s.goroutines, fset.Position(g.Pos()).Line)
		}
		return true
	})
	return s, nil
}

// importing returns the first import for which bad is true.
func (s source) importing(bad func(path string) bool) (path string, ok bool) {
	i := slices.IndexFunc(s.imports, bad)
	if i < 0 {
		return "", false
	}
	return s.imports[i], true
}

// stageOf returns the stage that an import path lies in, empty if in none.
func stageOf(path string) string {
	inside, ok := strings.CutPrefix(path, tree.Module+"/")
	if !ok || !strings.HasPrefix(inside, "stage") {
		return ""
	}
	name, _, _ := strings.Cut(inside, "/")
	return name
}

func isCommon(path string) bool {
	return strings.HasPrefix(path, tree.Module+"/common/")
}

// isForeign tells whether path is of another module: the first part of such a path
// is a host name.
func isForeign(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return strings.Contains(first, ".")
}

func stagesStandAlone(s source) string {
	path, ok := s.importing(func(p string) bool { return stageOf(p) != "" && stageOf(p) != s.stage })
	if s.stage == "" || !ok {
		return ""
	}
	return fmt.Sprintf("imports %s: no stage imports another", path)
}

func commonKnowsNoStage(s source) string {
	path, ok := s.importing(func(p string) bool { return stageOf(p) != "" })
	if s.stage != "" || !ok {
		return ""
	}
	return fmt.Sprintf("imports %s: common must not know any stage", path)
}

func runtimeNeedsOnlyStandardLibrary(s source) string {
	path, ok := s.importing(isForeign)
	if s.stage == "" || s.test || !ok {
		return ""
	}
	return fmt.Sprintf("imports %s: beside the workbook itself, a stage runs on the standard library alone", path)
}

func coreIsPure(s source) string {
	path, ok := s.importing(func(p string) bool { return !slices.Contains(pure, p) })
	if s.room != "raft" || s.test || !ok {
		return ""
	}
	return fmt.Sprintf("imports %s: the algorithm knows no time, network, files, randomness or locks "+
		"(common/stages/borders.go lists what it may use)", path)
}

func coreStartsNoGoroutine(s source) string {
	if s.room != "raft" || s.test || len(s.goroutines) == 0 {
		return ""
	}
	return fmt.Sprintf("line %d starts a goroutine: the algorithm starts none", s.goroutines[0])
}

func lessonNeedsNoTools(s source) string {
	path, ok := s.importing(isCommon)
	if (s.room != "raft" && s.room != "kv") || s.test || !ok {
		return ""
	}
	return fmt.Sprintf("imports %s: common holds tools, and %s is the lesson", path, s.room)
}
