package main

import (
	"go/scanner"
	"go/token"
	"strings"
)

// isCode tells whether lines of the file count towards a step's bound.
func (c change) isCode() bool {
	return strings.HasSuffix(c.path, ".go") && !c.isTest()
}

// isTest tells whether the file is read with the tests, after the code.
func (c change) isTest() bool {
	return strings.HasSuffix(c.path, "_test.go") || c.isTestdata()
}

// isTestdata tells whether the file is material for tests: patches, corpora.
func (c change) isTestdata() bool {
	return strings.Contains("/"+c.path, "/testdata/")
}

// size returns how many lines of code the changes add and remove: no blank lines,
// comments or tests.
func size(changes []change) (plus, minus int) {
	for _, c := range changes {
		if c.isCode() {
			p, m := countLines(code(c.before), code(c.after))
			plus, minus = plus+p, minus+m
		}
	}
	return plus, minus
}

// code returns the lines of a Go file without comments and blank lines.
func code(src []byte) []string {
	bare := []byte(string(src))
	fset := token.NewFileSet()
	file := fset.AddFile("", fset.Base(), len(src))
	var s scanner.Scanner
	s.Init(file, src, nil, scanner.ScanComments)
	for {
		pos, tok, text := s.Scan()
		if tok == token.EOF {
			break
		}
		if tok == token.COMMENT {
			blank(bare[file.Offset(pos):][:len(text)])
		}
	}
	var lines []string
	for line := range strings.Lines(string(bare)) {
		if line = strings.TrimRight(line, " \t\r\n"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// blank overwrites text with spaces, but keeps its lines.
func blank(text []byte) {
	for i, c := range text {
		if c != '\n' {
			text[i] = ' '
		}
	}
}

// countLines returns how many lines must be added to and removed from a to make
// b, at least.
func countLines(a, b []string) (plus, minus int) {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	// row[j] is the length of the longest common subsequence of the lines of a so
	// far and b[:j].
	row := make([]int, len(b)+1)
	for _, line := range a {
		diagonal := 0
		for j := range b {
			above := row[j+1]
			if line == b[j] {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(above, row[j])
			}
			diagonal = above
		}
	}
	common := row[len(b)]
	return len(b) - common, len(a) - common
}
