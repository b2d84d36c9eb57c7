package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// conn is a file of stage 0 that later stages have, with a change to its first
// function and one to its last.
const conn = `package server

import _ "raftworkbook/stage0-a/api"

func first() { one() }

func between() {}

func last() { one() }
`

// five is a committed workbook of five stages: stage 1 has copied conn.go, stage 2
// has changed its last function, stage 3 has dropped it, stage 4 has what is
// wanted already.
func five(t *testing.T) workbook {
	t.Helper()
	root := t.TempDir()
	put(t, root, "go.mod", "module raftworkbook\n")
	put(t, root, "stage0-a/conn.go", conn)
	put(t, root, "stage1-b/conn.go", strings.ReplaceAll(conn, "stage0-a", "stage1-b"))
	put(t, root, "stage2-c/conn.go", strings.ReplaceAll(secondLast(conn), "stage0-a", "stage2-c"))
	put(t, root, "stage3-d/other.go", "package server\n")
	put(t, root, "stage4-e/conn.go", strings.ReplaceAll(secondFirst(conn), "stage0-a", "stage4-e"))
	git(t, root, "init", "--quiet")
	git(t, root, "add", ".")
	git(t, root, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "base")
	w, err := load(root, "")
	require.NoError(t, err)
	return w
}

func secondFirst(text string) string {
	return strings.Replace(text, "first() { one()", "first() { two()", 1)
}
func secondLast(text string) string {
	return strings.Replace(text, "last() { one()", "last() { two()", 1)
}

func git(t *testing.T, root string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = root
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
}

func TestCarry_brings_a_change_to_all_stages_that_follow(t *testing.T) {
	w := five(t)
	put(t, w.root, "stage0-a/conn.go", secondFirst(conn))
	var out bytes.Buffer
	require.NoError(t, w.carry(&out, "conn.go", 0, "HEAD"))

	require.Equal(t, `stage1-b/conn.go: was the same, now the new version
stage2-c/conn.go: merged
stage3-d/conn.go: is not there, skipped
stage4-e/conn.go: has it already
`, out.String())
	require.Equal(t, strings.ReplaceAll(secondFirst(conn), "stage0-a", "stage1-b"), read(t, w.root, "stage1-b/conn.go"))
	require.Equal(t, strings.ReplaceAll(secondFirst(secondLast(conn)), "stage0-a", "stage2-c"), read(t, w.root, "stage2-c/conn.go"))
	require.NoFileExists(t, w.root+"/stage3-d/conn.go")
}

func TestCarry_stops_at_a_conflict_and_says_how_to_go_on(t *testing.T) {
	w := five(t)
	put(t, w.root, "stage0-a/conn.go", strings.Replace(conn, "last() { one()", "last() { three()", 1))
	after := read(t, w.root, "stage4-e/conn.go")
	var out bytes.Buffer
	err := w.carry(&out, "conn.go", 0, "HEAD")

	require.EqualError(t, err, "settle stage2-c/conn.go, then go on with: make carry FILE=conn.go FROM=2")
	require.Contains(t, out.String(), "stage2-c/conn.go: CONFLICT, 1 marked in the file\n")
	require.Contains(t, read(t, w.root, "stage2-c/conn.go"), `<<<<<<< this stage
func last() { two() }
=======
func last() { three() }
>>>>>>> carried from stage 0
`)
	require.Equal(t, after, read(t, w.root, "stage4-e/conn.go"), "left alone")
}

func TestCarry_copies_a_file_that_is_new(t *testing.T) {
	w := five(t)
	put(t, w.root, "stage3-d/scenes/new.scene", "run ./stage3-d\n")
	var out bytes.Buffer
	require.NoError(t, w.carry(&out, "scenes/new.scene", 3, "HEAD"))
	require.Equal(t, "stage4-e/scenes/new.scene: new, copied\n", out.String())
	require.Equal(t, "run ./stage4-e\n", read(t, w.root, "stage4-e/scenes/new.scene"))
}

func TestCarry_can_start_from_an_older_revision(t *testing.T) {
	w := five(t)
	put(t, w.root, "stage0-a/conn.go", secondFirst(conn))
	git(t, w.root, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-a", "-m", "change")
	require.ErrorContains(t, w.carry(&bytes.Buffer{}, "conn.go", 0, "HEAD"), "nothing to carry")
	require.NoError(t, w.carry(&bytes.Buffer{}, "conn.go", 0, "HEAD~1"))
	require.Contains(t, read(t, w.root, "stage1-b/conn.go"), "first() { two()")
}

func TestCarry_refuses_what_it_cannot_do(t *testing.T) {
	w := five(t)
	require.ErrorContains(t, w.carry(&bytes.Buffer{}, "conn.go", 7, "HEAD"), "there is no stage 7, only [0 1 2 3 4]")
	require.ErrorContains(t, w.carry(&bytes.Buffer{}, "conn.go", 0, "v9"), "v9 is no commit here")
	require.ErrorContains(t, w.carry(&bytes.Buffer{}, "none.go", 0, "HEAD"), "no such file")
	require.ErrorContains(t, w.carry(&bytes.Buffer{}, "../stage1-b/conn.go", 0, "HEAD"), "is not a file inside a stage")
}
