package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// page is a row that is true in ruled, and one of a rule that is left out.
const page = "# Rules\n\n| the rule | stands in | the test | the bug |\n|---|---|---|---|\n" +
	"| 1. one is kept (§1) | [kv/keep.go](stage0-server/kv/keep.go) `Keep` | kv `TestKeep/one` | [`keeps_none`](stage0-server/testdata/bugs/keeps_none.patch) |\n" +
	"| 2. none is kept | left out: one is enough | - | - |\n"

// ruled is the small workbook with that page.
func ruled(t *testing.T, page string) (root string) {
	t.Helper()
	root = plant(t, small)
	put(t, root, "RULES.md", page)
	put(t, root, "stage0-server/README.md", "# Zero\n| `keeps_none` | rule | kv `TestKeep` |\n")
	put(t, root, "stage0-server/kv/set.go", "package kv\n\ntype Set struct{}\n\nfunc (s *Set) add() {}\n")
	put(t, root, "stage0-server/testdata/bugs/keeps_none.patch", "# B001 None is kept.\n# Rule: one is.\n# Caught by: kv TestOther,\n#   TestKeep/one\n# Flags: -race\n--- a/kv/keep.go\n")
	for _, stage := range []string{"stage0-server", "stage1-client"} {
		put(t, root, stage+"/kv/kv_test.go", "package kv\n\nfunc TestKeep(t *testing.T) {}\n")
	}
	return root
}

// ruledSteps is what the two stages of ruled differ in.
const ruledSteps = smallSteps + "- kv/set.go\n- testdata/bugs/*.patch\n"

func TestRules_that_stand_where_the_page_says_are_no_problem(t *testing.T) {
	require.Empty(t, problems(t, ruled(t, page), ruledSteps))
	for _, name := range []string{"`Set`", "`add`"} {
		of := strings.NewReplacer("keep.go", "set.go", "`Keep`", name).Replace(page)
		require.Empty(t, problems(t, ruled(t, of), ruledSteps), "%s", of)
	}
}

func TestRules_that_do_not_stand_where_the_page_says_are_named(t *testing.T) {
	const form = "a row has the rule, [a file](PATH) and its `function`, the package of a test and its `name`, " +
		"and [`a bug`](PATCH); or the rule, \"left out: \" and why, -, and -"
	for _, c := range []struct {
		name, old, new string // a replacement in the page
		want           []string
	}{
		{"a file that is not there", "(stage0-server/kv/keep.go)", "(stage0-server/kv/gone.go)",
			[]string{"there is no file kv/gone.go in stage0-server"}},
		{"a function that is not there", "`Keep`", "`Kept`",
			[]string{"kv/keep.go of stage0-server has no function or type Kept"}},
		{"a function that only begins like it", "`Keep`", "`Kee`",
			[]string{"kv/keep.go of stage0-server has no function or type Kee"}},
		{"a test that is not there", "`TestKeep/one`", "`TestKept/one`",
			[]string{"package kv of stage0-server has no test TestKept", "the bug keeps_none of stage0-server is not said to be caught by TestKept/one"}},
		{"a test of another package", "kv `TestKeep/one`", "client `TestKeep/one`",
			[]string{"package client of stage0-server has no test TestKeep"}},
		{"a bug that is not there", "keeps_none", "keeps_one",
			[]string{"there is no bug keeps_one in stage0-server"}},
		{"a bug of another stage", "(stage0-server/testdata", "(stage1-client/testdata",
			[]string{"the link of the bug keeps_none is to stage1-client/testdata/bugs/keeps_none.patch, not to stage0-server/testdata/bugs/keeps_none.patch"}},
		{"a bug that another test catches", "`TestKeep/one`", "`TestKeep/two`",
			[]string{"the bug keeps_none of stage0-server is not said to be caught by TestKeep/two"}},
		{"a bug of which a part of the test's name is caught", "`TestKeep/one`", "`TestKeep`",
			[]string{"the bug keeps_none of stage0-server is not said to be caught by TestKeep"}},
		{"a row without a bug", " | [`keeps_none`](stage0-server/testdata/bugs/keeps_none.patch) |", " | |", []string{form}},
		{"a rule that is nowhere", "[kv/keep.go](stage0-server/kv/keep.go) `Keep`", "everywhere", []string{form}},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := strings.ReplaceAll(page, c.old, c.new)
			require.NotEqual(t, page, changed)
			var want []string
			for _, p := range c.want {
				want = append(want, "RULES.md:5: "+p)
			}
			require.Equal(t, want, problems(t, ruled(t, changed), ruledSteps))
		})
	}
}

func TestRules_left_out_say_why(t *testing.T) {
	found := problems(t, ruled(t, strings.Replace(page, "left out: one is enough", "left out: ", 1)), ruledSteps)
	require.Len(t, found, 1)
	require.Contains(t, found[0], "RULES.md:6: a row has the rule")
}

func TestRules_need_their_page(t *testing.T) {
	root := ruled(t, page)
	require.NoError(t, os.Remove(filepath.Join(root, "RULES.md")))
	require.Equal(t, []string{"there is no RULES.md"}, problems(t, root, ruledSteps))
}
