package linear

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A fakeT is a test that may fail.
type fakeT struct {
	testing.TB
	artifacts string
	message   string
}

func (t *fakeT) Helper()                           {}
func (t *fakeT) ArtifactDir() string               { return t.artifacts }
func (t *fakeT) Fatalf(format string, args ...any) { t.message = fmt.Sprintf(format, args...) }

func violation() *History { return tell(put(1, 10, 20, "1"), get(2, 30, 40, "7")) }

// hard returns a history that is no pass, and whose check takes ages: none of very
// many orders of open appends gives the value read.
func hard() *History {
	deeds := []deed{put(1, 10, 20, "")}
	for i := range 20 {
		deeds = append(deeds, unknowing(add(i, 30, 40, fmt.Sprint(i), 0)))
	}
	return tell(append(deeds, get(2, 50, 60, "00"))...)
}

func TestRequire_accepts_a_linearizable_history(t *testing.T) {
	ft := &fakeT{}
	Require(ft, tell(put(1, 10, 20, "1"), get(2, 30, 40, "1")))
	require.Empty(t, ft.message)
}

func TestRequire_fails_with_the_sentence_the_count_and_the_picture(t *testing.T) {
	setArtifacts(t, false)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ft := &fakeT{}
	Require(ft, violation())
	m := regexp.MustCompile(`^not linearizable: c2 read x = "7" at 40 ms, but nothing ever wrote "7" \(2 operations; picture: (.*)\)$`).
		FindStringSubmatch(ft.message)
	require.NotNil(t, m, ft.message)
	require.Equal(t, temp, filepath.Dir(m[1]))
	requirePicture(t, m[1])
}

func TestRequire_keeps_the_picture_among_the_artifacts(t *testing.T) {
	setArtifacts(t, true)
	ft := &fakeT{artifacts: t.TempDir()}
	Require(ft, violation())
	requirePicture(t, filepath.Join(ft.artifacts, "history.html"))
}

func TestRequire_says_why_there_is_no_picture(t *testing.T) {
	setArtifacts(t, true)
	ft := &fakeT{artifacts: filepath.Join(t.TempDir(), "missing")}
	Require(ft, violation())
	require.Contains(t, ft.message, "nothing ever wrote")
	require.Contains(t, ft.message, "no such file")
}

func setArtifacts(t *testing.T, on bool) {
	t.Helper()
	before := flag.Lookup("test.artifacts").Value.String()
	require.NoError(t, flag.Set("test.artifacts", fmt.Sprint(on)))
	t.Cleanup(func() { require.NoError(t, flag.Set("test.artifacts", before)) })
}

func requirePicture(t *testing.T, path string) {
	t.Helper()
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(page), "<html")
	require.Contains(t, string(page), "but nothing ever wrote")
	require.Contains(t, string(page), "began at 30 ms, answered at 40 ms")
}

func TestCheck_that_runs_out_of_time_is_no_pass(t *testing.T) {
	for _, timeout := range []time.Duration{20 * time.Millisecond, 0, -1} {
		r := hard().Check(timeout)
		require.Equal(t, Unknown, r.Verdict)
		require.Equal(t, fmt.Sprintf("the check did not end within %v: x has 22 operations, 20 of them of unknown outcome", timeout), r.Reason)
	}
	ft := &fakeT{}
	failUnlessLinearizable(ft, hard().Check(20*time.Millisecond))
	require.Equal(t, "not known to be linearizable: the check did not end within 20ms: "+
		"x has 22 operations, 20 of them of unknown outcome (22 operations)", ft.message)
}

func TestCheck_that_runs_out_of_time_still_proves_what_is_plain(t *testing.T) {
	h := hard()
	h.Begin(Op{Client: 2, Kind: CAS, Key: "x", Expect: new("00"), Value: "1"}).Return(foundInstead("00"))
	r := h.Check(time.Second) // for the search, and as long again for the proof, which takes next to nothing
	require.Equal(t, Violation, r.Verdict)
	require.Equal(t, `c2's cas of x from "00" to "1" found "00" at 60 ms, but that is what it expected, so it should have swapped`, r.Reason)
}

func TestPicture_is_only_of_a_violation(t *testing.T) {
	require.EqualError(t, tell().Check(time.Second).WritePicture(io.Discard),
		"linear: no violation to draw: the history is linearizable")
}
