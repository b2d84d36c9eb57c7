package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFront_page_has_the_sizes_of_the_steps(t *testing.T) {
	root := ruled(t, page)
	w, err := load(root, ruledSteps)
	require.NoError(t, err)
	var table bytes.Buffer
	require.NoError(t, w.overview(&table))
	rows := strings.Split(table.String(), "\n")
	sizes := []string{strings.Fields(rows[1])[6], strings.Fields(rows[2])[6]}
	front := "# Front\n\n| [0 server](stage0-server/README.md) | it is there | " + sizes[0] + " | run |\n" +
		"| [1 client](stage1-client/README.md) | it asks | " + sizes[1] + " | run |\n\n```\n" + table.String() + "```\n"
	put(t, root, "README.md", front)
	require.Empty(t, problems(t, root, ruledSteps))

	put(t, root, "README.md", strings.Replace(front, "| "+sizes[1]+" |", "| 9999 |", 1))
	require.Equal(t, []string{"README.md does not say in the row of stage1-client that its size is " + sizes[1]}, problems(t, root, ruledSteps))
	put(t, root, "README.md", strings.Replace(front, rows[2], "", 1))
	require.Equal(t, []string{"README.md does not have the table that make diff prints"}, problems(t, root, ruledSteps))
}
