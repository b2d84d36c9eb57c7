package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/stages/tree"
)

// workbook makes stages with the scenes given, by file, and returns them.
func workbook(t *testing.T, scenes map[string]string) []tree.Stage {
	t.Helper()
	root := t.TempDir()
	for _, stage := range []string{"stage0-a", "stage2-b", "stage4-c", "stage5-d"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, stage, "scenes"), 0o755))
	}
	for file, text := range scenes {
		require.NoError(t, os.WriteFile(filepath.Join(root, file), []byte(text), 0o644))
	}
	stages, err := tree.Stages(root)
	require.NoError(t, err)
	return stages
}

func TestTable_says_of_each_scene_and_stage_how_it_ends(t *testing.T) {
	m, err := find(workbook(t, map[string]string{
		"stage0-a/scenes/it-dies.scene":     "kill n1\nget x => 1 | stage0-3: absent\n",
		"stage2-b/scenes/one-is-cut.scene":  "cut n1 n2\nget x @n2 => 1\n",
		"stage4-c/scenes/it-is-old.scene":   "get x within 1s => 1\n",
		"stage4-c/scenes/it-wins.scene":     "put x 1 => ok\n",
		"stage5-d/scenes/it-is-old.scene":   "lead n1 => ok\nget x within 1s => 1\n",
		"stage5-d/scenes/one-is-new.scene":  "add n6 => ok\n",
		"stage5-d/scenes/one-leads.scene":   "lead n1 => ok\n",
		"stage5-d/scenes/no-scene-this.txt": "frob\n",
	}))
	require.NoError(t, err)
	m.rows[3].cells[0].err = errors.New("line 1: expected ok, got nothing")
	require.NoError(t, m.surprises(), "a stage before the first that has it")
	require.Equal(t, `| scene | 0 | 2 | 4 | 5 |
|---|:-:|:-:|:-:|:-:|
| it dies | ✗ | ✗ | ✓ | · |
| one is cut | · | ✓ | ✓ | · |
| it is old | · | · | ✓ | ✓ |
| it wins | ✗ | ✓ | ✓ | · |
| one is new | · | · | · | · |
| one leads | · | · | ✓ | ✓ |
`, m.table())

	require.Equal(t, `| scene | 2 |
|---|:-:|
| it dies | ✗ |
| one is cut | ✓ |
| it wins | ✓ |
`, m.only(2).table())
	require.Empty(t, m.only(3).stages)

	m.rows[0].cells[2].err = errors.New("line 2: expected 1, got 2")
	require.Contains(t, m.table(), "| it dies | ✗ | ✗ | ? | · |")
	require.EqualError(t, m.surprises(), "it-dies in stage 4: line 2: expected 1, got 2")
}

func TestStage_plays_its_own_scene_or_the_newest_before_it_or_the_first(t *testing.T) {
	stages := workbook(t, map[string]string{
		"stage2-b/scenes/s.scene": "put x 1 => ok\n",
		"stage4-c/scenes/s.scene": "put x 2 => ok\n",
	})
	m, err := find(stages)
	require.NoError(t, err)
	require.Len(t, m.rows, 1)
	for i, from := range []string{"stage2-b", "stage2-b", "stage4-c", "stage4-c"} {
		require.Equal(t, from, filepath.Base(filepath.Dir(filepath.Dir(m.rows[0].cells[i].file))), stages[i].Name)
	}
}

func TestScene_that_makes_no_sense_is_reported(t *testing.T) {
	_, err := find(workbook(t, map[string]string{"stage0-a/scenes/s.scene": "=> 1\n"}))
	require.ErrorContains(t, err, "s.scene: there is no command before =>")
	_, err = find(workbook(t, nil))
	require.EqualError(t, err, "there are no scenes")
}

// The table itself is made anew by "make matrix"; this holds that no scene and no stage is missing in it.
func TestReadme_has_a_row_for_each_scene(t *testing.T) {
	root, err := tree.Root(".")
	require.NoError(t, err)
	stages, err := tree.Stages(root)
	require.NoError(t, err)
	m, err := find(stages)
	require.NoError(t, err)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	for _, r := range m.rows {
		require.Regexp(t, pattern(r), string(readme), r.name)
	}
}

// pattern is what the row of a scene may be: what is not known until it has been played is either mark.
func pattern(r row) string {
	var b strings.Builder
	fmt.Fprintf(&b, `\| %s \|`, strings.ReplaceAll(r.name, "-", " "))
	for _, c := range r.cells {
		mark := c.mark()
		if c.early && c.Lacks == "" {
			mark = "[✓✗]"
		}
		fmt.Fprintf(&b, ` %s \|`, mark)
	}
	return b.String()
}

func TestTable_that_is_not_in_the_readme_is_reported(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, "README.md"), []byte("# x\n\n| a |\n"), 0o644))
	require.NoError(t, inReadme(root, "| a |\n"))
	require.ErrorContains(t, inReadme(root, "| b |\n"), "the table in README.md is another one")
}

func TestScene_is_played_and_judged(t *testing.T) {
	root, err := tree.Root(".")
	require.NoError(t, err)
	stages, err := tree.Stages(root)
	require.NoError(t, err)
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.scene"), filepath.Join(dir, "bad.scene")
	require.NoError(t, os.WriteFile(good, []byte("put x 1 => ok\nget x => 1\n"), 0o644))
	require.NoError(t, os.WriteFile(bad, []byte("put x 1 => ok\nget x => 2\n"), 0o644))
	m := matrix{stages: stages[:1], rows: []row{{cells: []cell{{stage: stages[0], file: good}, {stage: stages[0], file: bad}}}}}
	var told []int
	require.NoError(t, m.play(t.Context(), dir, func(played, all int) {
		require.Equal(t, 2, all)
		told = append(told, played)
	}))
	require.Equal(t, []int{1, 2}, told)
	require.NoError(t, m.rows[0].cells[0].err)
	require.EqualError(t, m.rows[0].cells[1].err, "line 2: get x => 2: expected 2, got 1")
}
