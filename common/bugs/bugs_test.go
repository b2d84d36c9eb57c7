package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/stages/tree"
)

const counter = `package counter

// Add returns n plus one.
func Add(n int) int {
	return n + 1
}

// Wait returns at once.
func Wait() {
}
`

const counterTest = `package counter

import "testing"

func TestAdd_adds_one(t *testing.T) {
	t.Log("adding")
	t.Run("to two", func(t *testing.T) {
		if n := Add(2); n != 3 {
			t.Fatalf("2 and 1 are %d", n)
		}
	})
}

func TestAdd_exists(t *testing.T) { Add(0) }

func TestWait_waits(t *testing.T) { Wait() }
`

// fakeStage is a stage of a module of its own, with one package, and the given
// patches to it: the lines of the header, and then a line to remove and one to put
// there.
func fakeStage(t *testing.T, patches map[string]string) tree.Stage {
	t.Helper()
	root := t.TempDir()
	s := tree.Stage{Name: "stage0-fake", Dir: filepath.Join(root, "stage0-fake")}
	put(t, filepath.Join(root, "go.mod"), "module fake\n\ngo 1.26\n")
	put(t, filepath.Join(s.Dir, "counter", "counter.go"), counter)
	put(t, filepath.Join(s.Dir, "counter", "counter_test.go"), counterTest)
	for name, text := range patches {
		put(t, filepath.Join(s.Dir, "testdata", "bugs", name+".patch"), text)
	}
	return s
}

func put(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
}

// inAdd is a patch that puts a line in the place of the body of Add.
func inAdd(header, line string) string {
	return header + `--- a/counter/counter.go
+++ b/counter/counter.go
@@ -2,5 +2,5 @@
 
 // Add returns n plus one.
 func Add(n int) int {
-	return n + 1
+	` + line + `
 }
`
}

// inWait is a patch that puts a line into Wait.
func inWait(header, line string) string {
	return header + `--- a/counter/counter.go
+++ b/counter/counter.go
@@ -7,4 +7,5 @@
 
 // Wait returns at once.
 func Wait() {
+	` + line + `
 }
`
}

func headed(first, caughtBy string, more ...string) string {
	return "# " + first + "\n# Rule: counting is exact.\n# Caught by: " + caughtBy + "\n" + strings.Join(more, "")
}

func TestBugs_each_patch_gets_its_verdict(t *testing.T) {
	stage := fakeStage(t, map[string]string{
		"adds_two":     inAdd(headed("B001 Two are added.", "counter TestAdd_adds_one/to_two"), "return n + 2"),
		"same_in_red":  inAdd(headed("B002 Nothing changes.", "counter TestAdd_adds_one"), "return 1 + n"),
		"from_nowhere": strings.Replace(inAdd(headed("B003 The line is not there.", "counter TestAdd_adds_one"), "return 0"), "n + 1", "m + 1", 1),
		"no_type":      inAdd(headed("B004 It has no type.", "counter TestAdd_adds_one"), `return "n"`),
		"no_test":      inAdd(headed("B005 Nobody looks.", "counter TestAdd_not_there"), "return n + 2"),
		"no_subtest":   inAdd(headed("B006 Nobody looks.", "counter TestAdd_adds_one/to_three"), "return n + 2"),
		"falls_over":   inAdd(headed("B007 It panics.", "counter TestAdd_exists, TestAdd_adds_one"), `panic("no")`),
		"one_of_two":   inAdd(headed("B008 One looks away.", "counter TestAdd_adds_one, TestAdd_exists"), "return n + 2"),
		"for_ever":     inWait(headed("B009 It waits for ever.", "counter TestWait_waits", "# Flags: -timeout=2s\n"), "select {}"),
		"no_package":   inAdd(headed("B010 The package is not there.", "conuter TestAdd_adds_one"), "return n + 2"),
	})
	var out bytes.Buffer
	err := check(t.Context(), &out, stage, nil, 1)
	require.EqualError(t, err, "stage0-fake: 7 of 10 bugs were not caught", "%s", &out)

	report, last, _ := strings.Cut(out.String(), "3 of 10 bugs caught in ")
	require.NotEmpty(t, last)
	require.Equal(t, `stage0-fake
  B001   adds_two      caught          TestAdd_adds_one/to_two
         counter_test.go:9: 2 and 1 are 4
  B002   same_in_red   GOT AWAY        TestAdd_adds_one
         TestAdd_adds_one passes
  B003   from_nowhere  DOES NOT APPLY  TestAdd_adds_one
         patch failed: counter/counter.go:2
  B004   no_type       DOES NOT BUILD  TestAdd_adds_one
         counter/counter.go:5:9: cannot use "n" (untyped string constant) as int value in return statement
  B005   no_test       NO SUCH TEST    TestAdd_not_there
  B006   no_subtest    NO SUCH TEST    TestAdd_adds_one/to_three
  B007   falls_over    caught (panic)  TestAdd_exists, TestAdd_adds_one
         panic: no [recovered, repanicked]
  B008   one_of_two    GOT AWAY        TestAdd_adds_one, TestAdd_exists
         TestAdd_exists passes
  B009   for_ever      caught (hangs)  TestWait_waits
         panic: test timed out after 2s
  B010   no_package    DOES NOT BUILD  TestAdd_adds_one
         stat conuter: directory not found
`, report)
	text, err := os.ReadFile(filepath.Join(stage.Dir, "counter", "counter.go"))
	require.NoError(t, err)
	require.Equal(t, counter, string(text), "the tree must stay as it is")
}

func TestBugs_a_data_race_is_caught(t *testing.T) {
	line := "n := 0; done := make(chan int); go func() { n++; done <- 1 }(); n++; <-done"
	stage := fakeStage(t, map[string]string{
		"races": inWait(headed("B001 It races.", "counter TestWait_waits", "# Flags: -race\n"), line),
	})
	var out bytes.Buffer
	require.NoError(t, check(t.Context(), &out, stage, nil, 1), "%s", &out)
	require.Contains(t, out.String(), "B001   races  caught (race)   TestWait_waits\n         data race in fake/stage0-fake/counter.Wait")
}

func TestBugs_a_patch_may_bring_and_remove_files(t *testing.T) {
	stage := fakeStage(t, map[string]string{
		"moved": headed("B001 It is moved, and broken.", "counter TestAdd_adds_one") + `--- a/counter/counter.go
+++ /dev/null
@@ -1,10 +0,0 @@
-` + strings.ReplaceAll(strings.TrimSuffix(counter, "\n"), "\n", "\n-") + `
--- /dev/null
+++ b/counter/moved.go
@@ -0,0 +1,5 @@
+package counter
+
+func Add(n int) int { return n }
+
+func Wait() {}
`,
	})
	var out bytes.Buffer
	require.NoError(t, check(t.Context(), &out, stage, nil, 1), "%s", &out)
	require.NoFileExists(t, filepath.Join(stage.Dir, "counter", "moved.go"))
}

func TestBugs_what_is_the_same_in_the_stage_before_is_left_out(t *testing.T) {
	bug := map[string]string{"adds_two": inAdd(headed("B001 Two are added.", "counter TestAdd_adds_one"), "return n + 2")}
	before, stage := fakeStage(t, bug), fakeStage(t, bug)
	left := func() int {
		all, err := patches(stage.Dir)
		require.NoError(t, err)
		return len(inherited{stage, before}.fresh(all))
	}
	require.Zero(t, left())
	for _, file := range []string{"counter/counter.go", "counter/counter_test.go", "testdata/bugs/adds_two.patch"} {
		name := filepath.Join(before.Dir, file)
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		put(t, name, string(text)+"// changed\n")
		require.Equal(t, 1, left(), file)
		put(t, name, string(text))
	}
	var out bytes.Buffer
	require.NoError(t, check(t.Context(), &out, stage, &before, 1))
	require.Contains(t, out.String(), "1 bugs of stage0-fake are those of stage0-fake")
	require.Contains(t, out.String(), "0 of 0 bugs caught")

	require.NoError(t, os.Remove(filepath.Join(before.Dir, "counter", "counter_test.go")))
	require.Equal(t, 1, left())
}

func TestBugs_a_stage_without_any_fails(t *testing.T) {
	require.EqualError(t, check(t.Context(), &bytes.Buffer{}, fakeStage(t, nil), nil, 1), "stage0-fake has no bugs in testdata/bugs")
}

func TestBugs_all_malformed_patches_are_named(t *testing.T) {
	stage := fakeStage(t, map[string]string{"a": "# B1 A.\n", "b": ""})
	err := check(t.Context(), &bytes.Buffer{}, stage, nil, 1)
	require.ErrorContains(t, err, "a.patch: a line must name the rule")
	require.ErrorContains(t, err, "b.patch: the first line must be an id")
}

func TestPatch_header_says_what_is_missing(t *testing.T) {
	const diff = "--- a/x.go\n+++ b/x.go\n"
	for _, c := range []struct{ text, want string }{
		{diff, `the first line must be an id and what happens, as in "# B003 One read is taken for one message."`},
		{"# One read.\n" + diff, `the first line must be an id and what happens, as in "# B003 One read is taken for one message."`},
		{"# B003 One read.\n# Caught by: x TestX\n" + diff, `a line must name the rule that is broken, as in "# Rule: a line may arrive in any number of pieces."`},
		{"# B003 One read.\n# Rule: r\n" + diff, `a line must name the test, as in "# Caught by: server TestServer_reassembles_a_line"`},
		{"# B003 One read.\n# Rule: r\n# Caught by: TestX\n" + diff, `a line must name the test, as in "# Caught by: server TestServer_reassembles_a_line"`},
		{"# B003 One read.\n# Rule: r\n# Caught by: x TestX\n", `there is no diff with lines like "+++ b/server/conn.go"`},
	} {
		_, err := parse(c.text)
		require.EqualError(t, err, c.want, "%s", c.text)
	}
}

func TestPatch_header_is_read(t *testing.T) {
	p, err := parse(`# B003 One read is taken
#   for one message.
# Rule: any number of pieces.
# Caught by: server TestA/b, TestB,
#   . TestC
# Flags: -race -timeout=5s
--- a/server/conn.go	2026-01-01
+++ b/server/conn.go
`)
	require.NoError(t, err)
	require.Equal(t, patch{
		id: "B003", title: "One read is taken for one message.",
		catchers: []catcher{{"server", "TestA/b"}, {"server", "TestB"}, {".", "TestC"}},
		flags:    []string{"-race", "-timeout=5s"},
		touched:  []string{"server/conn.go"},
	}, p)
}

func TestComplaint_picks_the_line_that_says_what_is_wrong(t *testing.T) {
	const testify = `=== RUN   TestX
    x_test.go:3: logged
    x_test.go:6: 
        	Error Trace:	/some/where/x_test.go:6
        	            				/some/where/run.go:9
        	Error:      	Not equal: 
        	            	expected: 1
        	            	actual  : 2
        	            	
        	            	Diff:
        	            	--- Expected
        	Test:       	TestX
        	Messages:   	the sum
--- FAIL: TestX (0.00s)
`
	require.Equal(t, "x_test.go:6: Not equal: expected: 1 actual : 2", complaint(testify))
	require.Equal(t, "x_test.go:9: fatal", complaint("=== RUN TestX\n    x_test.go:3: logged\n    x_test.go:9: fatal\n--- FAIL: TestX\n"))
	require.Equal(t, "left behind: Goroutine 7 in state select, with x.run", complaint(
		"=== RUN TestX\n--- PASS: TestX\ngoleak: Errors on successful test run: found unexpected goroutines:\n[Goroutine 7 in state select, with x.run on top of the stack:\n"))
	require.Equal(t, "data race in x.put()", complaint(
		"==================\nWARNING: DATA RACE\nWrite at 0x00c0 by goroutine 8:\n  runtime.mapassign()\n      map.go:9 +0x0\n  x.put()\n      x.go:3 +0x2\n"))
	require.Equal(t, "fatal error: concurrent map writes", complaint("=== RUN TestX\nfatal error: concurrent map writes\n"))
}

func TestBugs_of_a_sample_the_others_have_to_apply(t *testing.T) {
	caught := inAdd(headed("B001 Two are added.", "counter TestAdd_adds_one"), "return n + 2")
	missed := inAdd(headed("B002 Nothing changes.", "counter TestAdd_adds_one"), "return 1 + n")
	stage := fakeStage(t, map[string]string{"a": caught, "b": missed, "c": strings.Replace(caught, "B001", "B003", 1)})
	var out bytes.Buffer
	require.NoError(t, check(t.Context(), &out, stage, nil, 2), "%s", &out)
	require.Contains(t, out.String(), "2 of 2 bugs caught")

	stage = fakeStage(t, map[string]string{"a": caught, "b": strings.Replace(missed, "n + 1", "m + 1", 1)})
	err := check(t.Context(), &out, stage, nil, 2)
	require.ErrorContains(t, err, "stage0-fake: b does not apply: ")
}
