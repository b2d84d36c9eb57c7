package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWorkbook_agrees_with_its_steps_and_borders(t *testing.T) {
	w, err := open(".")
	require.NoError(t, err)
	require.NotEmpty(t, w.stages)
	found, err := w.problems()
	require.NoError(t, err)
	require.Empty(t, found, "\n%s", strings.Join(found, "\n"))
}

// small is a workbook of two stages in which everything is right.
const small = `-- go.mod --
module raftworkbook
-- RULES.md --
# Rules
-- common/tool/tool.go --
package tool
-- stage0-server/README.md --
# Zero
-- stage0-server/main.go --
package main

import _ "raftworkbook/stage0-server/kv"

func main() {}
-- stage0-server/kv/kv.go --
package kv

// Old is dropped.
func Old() {}
-- stage0-server/kv/keep.go --
package kv

// Keep is the same in both.
func Keep() {}
-- stage1-client/README.md --
# One
-- stage1-client/main.go --
package main

import (
	_ "raftworkbook/stage1-client/client"
	_ "raftworkbook/stage1-client/kv"
)

func main() {}
-- stage1-client/client/client.go --
package client

// Call is new.
func Call() {
	println("called")
}
-- stage1-client/client/client_test.go --
package client
-- stage1-client/kv/keep.go --
package kv

// Keep is the same in both.
func Keep() {}`

const smallSteps = `# a comment
step 0 to 1, at most 20 lines

~ main.go
+ client/*.go       the calls
- kv/kv.go
`

func TestCheck_finds_nothing_where_all_is_listed(t *testing.T) {
	require.Empty(t, problems(t, plant(t, small), smallSteps))
}

func TestCheck_finds_a_copied_file_that_has_drifted(t *testing.T) {
	root := plant(t, small)
	put(t, root, "stage1-client/kv/keep.go", "package kv\n\n// Keep is the same in both.\nfunc Keep() { panic(1) }\n")
	found := problems(t, root, smallSteps)
	require.Equal(t, []string{`kv/keep.go is not the same in stage 0 and stage 1, but step 0→1 does not say so:
    line 4
    - func Keep() {}
    + func Keep() { panic(1) }
    carry the change (make carry FILE=kv/keep.go FROM=0), or list "~ kv/keep.go" in common/stages/steps.txt`}, found)
}

func TestCheck_finds_what_the_list_and_the_tree_do_not_agree_on(t *testing.T) {
	for _, c := range []struct {
		name, old, new string // a replacement in the steps
		want           string
	}{
		{"a new file that is not listed", "+ client/*.go       the calls\n", "+ client/client.go\n",
			`client/client_test.go is new in stage 1, but step 0→1 does not say so: list "+ client/client_test.go" in common/stages/steps.txt`},
		{"a file that is gone and not listed", "- kv/kv.go\n", "",
			`kv/kv.go is gone from stage 1, but step 0→1 does not say so: copy it, or list "- kv/kv.go" in common/stages/steps.txt`},
		{"a file listed as changed that is the same", "~ main.go\n", "~ main.go\n~ kv/keep.go\n",
			`step 0→1 lists "~ kv/keep.go", but no such file differs between the stages`},
		{"a file listed as new that is not there", "~ main.go\n", "~ main.go\n+ api/api.go\n",
			`step 0→1 lists "+ api/api.go", but no such file is new in the later stage`},
		{"a file listed as dropped that is still there", "~ main.go\n", "~ main.go\n- kv/keep.go\n",
			`step 0→1 lists "- kv/keep.go", but no such file is gone from the later stage`},
		{"a step above its bound", "at most 20", "at most 8",
			`step 0→1 has 11 lines of code (8 added, 3 removed), its bound is 8`},
		{"a pair of stages without a step", smallSteps, "",
			`steps.txt says nothing about the step from stage0-server to stage1-client`},
		{"a step without its stages", smallSteps, smallSteps + "step 1 to 2, at most 5 lines\n",
			`steps.txt has a step 1→2, but the stages are not there`},
	} {
		t.Run(c.name, func(t *testing.T) {
			steps := strings.Replace(smallSteps, c.old, c.new, 1)
			require.NotEqual(t, smallSteps, steps)
			require.Equal(t, []string{c.want}, problems(t, plant(t, small), steps))
		})
	}
}

func TestCheck_finds_a_chapter_that_was_copied(t *testing.T) {
	root := plant(t, small)
	put(t, root, "stage1-client/README.md", "# Zero\n")
	require.Equal(t, []string{"step 0→1: both stages must have a README.md, each its own"},
		problems(t, root, smallSteps))
}

func TestCheck_finds_a_chapter_that_names_what_is_not_there(t *testing.T) {
	root := plant(t, small)
	put(t, root, "stage0-server/README.md", "# Zero\n`TestThat`, `FuzzThis/sub`, kv `TestOther`\n| `old_bug` | rule | kv `TestThat` |\n")
	put(t, root, "stage0-server/kv/kv_test.go", "package kv\n\nfunc TestThat(t *testing.T) {}\n")
	put(t, root, "stage0-server/testdata/bugs/new_bug.patch", "")
	put(t, root, "common/tool/tool_test.go", "package tool\n\nfunc FuzzThis(f *testing.F) {}\n")
	put(t, root, "stage1-client/kv/kv_test.go", "package kv\n\nfunc TestThat(t *testing.T) {}\n")
	put(t, root, "stage1-client/testdata/bugs/new_bug.patch", "")
	require.Equal(t, []string{
		"the chapter of stage0-server names TestOther, but there is no such test",
		"the chapter of stage0-server lists the bug old_bug, but there is no such patch",
		"the chapter of stage0-server does not list the bug new_bug, which is new with it",
	}, problems(t, root, smallSteps))
}

func TestCheck_leaves_artefacts_out(t *testing.T) {
	root := plant(t, small)
	put(t, root, ".gitignore", "# artefacts\n*.test\n/stage?-*/stage?-*\n")
	put(t, root, "stage1-client/kv.test", "")
	put(t, root, "stage1-client/stage1-client", "")
	put(t, root, "top.test", "")
	put(t, root, "stage1-client/.swap", "")
	require.Empty(t, problems(t, root, smallSteps))
}

func TestSteps_a_line_that_makes_no_sense_is_named(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"~ main.go", `steps.txt:1: "~ main.go" is neither a step nor one of its files`},
		{"step 0 to 1, at most 5 lines\n* main.go", `steps.txt:2: "* main.go" is neither a step nor one of its files`},
		{"step 0 to 1", `steps.txt:1: "step 0 to 1" is neither a step nor one of its files`},
		{"step 0 to 1, at most 5 lines\n\n+ [", `steps.txt:3: "+ [" is neither a step nor one of its files`},
	} {
		_, err := parseSteps(c.text)
		require.EqualError(t, err, c.want)
	}
}
