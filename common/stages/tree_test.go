package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// plant writes a workbook into a directory of its own: the given text holds the
// files, each headed by a line "-- path --".
func plant(t *testing.T, text string) (root string) {
	t.Helper()
	root = t.TempDir()
	for _, part := range strings.Split("\n"+text, "\n-- ")[1:] {
		name, content, _ := strings.Cut(part, " --\n")
		if content != "" {
			content += "\n"
		}
		put(t, root, name, content)
	}
	return root
}

func put(t *testing.T, root, name, content string) {
	t.Helper()
	file := filepath.Join(root, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
}

func read(t *testing.T, root, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	return string(text)
}

// problems returns all that is wrong with the workbook at root.
func problems(t *testing.T, root, steps string) []string {
	t.Helper()
	w, err := load(root, steps)
	require.NoError(t, err)
	found, err := w.problems()
	require.NoError(t, err)
	return found
}
