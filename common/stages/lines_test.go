package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCode_leaves_out_blank_lines_and_comments(t *testing.T) {
	src := "// Package p is a package.\npackage p\n\n/* a\nb */\nvar url = \"http://x\" // not a comment inside\n\t\nvar raw = `// kept\n`\n"
	require.Equal(t, []string{"package p", "var url = \"http://x\"", "var raw = `// kept", "`"}, code([]byte(src)))
}

func TestCountLines_finds_the_smallest_difference(t *testing.T) {
	for _, c := range []struct {
		a, b        string
		plus, minus int
	}{
		{"", "", 0, 0},
		{"", "a b", 2, 0},
		{"a b", "", 0, 2},
		{"a b c", "a b c", 0, 0},
		{"a b c", "a x c", 1, 1},
		{"a b c d", "b d a", 1, 2},
		{"a b a b", "b a b a", 1, 1},
	} {
		plus, minus := countLines(strings.Fields(c.a), strings.Fields(c.b))
		require.Equal(t, [2]int{c.plus, c.minus}, [2]int{plus, minus}, "%q to %q", c.a, c.b)
	}
}

func TestSize_counts_code_and_nothing_else(t *testing.T) {
	plus, minus := size([]change{
		{path: "a.go", before: []byte("package a\nvar x int\n"), after: []byte("package a\n\n// x.\nvar y int\nvar z int\n")},
		{path: "a_test.go", after: []byte("package a\n")},
		{path: "testdata/bugs/a.go", after: []byte("package a\n")},
		{path: "scenes/a.scene", after: []byte("put x 1\n")},
	})
	require.Equal(t, [2]int{2, 1}, [2]int{plus, minus})
}
