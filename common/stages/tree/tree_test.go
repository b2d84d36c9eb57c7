package tree

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoot_is_found_from_anywhere_inside(t *testing.T) {
	root := t.TempDir()
	inside := filepath.Join(root, "a", "b")
	require.NoError(t, os.MkdirAll(inside, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "go.mod"), nil, 0o644))
	found, err := Root(inside)
	require.NoError(t, err)
	require.Equal(t, root, found)
}

func TestStages_come_in_order(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"stage1-b", "common", "stage0-a", "stage8-h", "stage2"} {
		require.NoError(t, os.Mkdir(filepath.Join(root, name), 0o755))
	}
	stages, err := Stages(root)
	require.NoError(t, err)
	require.Equal(t, []Stage{
		{Number: 0, Name: "stage0-a", Dir: filepath.Join(root, "stage0-a")},
		{Number: 1, Name: "stage1-b", Dir: filepath.Join(root, "stage1-b")},
	}, stages)
}

func TestStages_two_with_one_number_are_refused(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"stage0-a", "stage0-b"} {
		require.NoError(t, os.Mkdir(filepath.Join(root, name), 0o755))
	}
	_, err := Stages(root)
	require.EqualError(t, err, "stage0-a and stage0-b have the same number")
}

func TestFiles_leave_out_what_gitignore_names(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		".gitignore": "# artefacts\n\n*.test\nout/\n/stage0-a/bin\n", "stage0-a/.hidden/x": "", "stage0-a/x.test": "",
		"stage0-a/out/x": "", "stage0-a/bin": "", "stage0-a/kv/bin": "", "stage0-a/a.go": "",
	} {
		file := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	files, err := Files(root, "stage0-a")
	require.NoError(t, err)
	require.Equal(t, []string{"a.go", "kv/bin"}, files)
	top, err := Top(root)
	require.NoError(t, err)
	require.Equal(t, []string{"stage0-a"}, top)
}
