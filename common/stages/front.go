package main

import (
	"fmt"
	"regexp"
	"strings"
)

// frontPage begins with a table of the stages, and holds one of the steps.
const frontPage = "README.md"

// frontProblems holds the front page against the tree: its table of the steps is what make diff prints, and the size of
// each stage is the one in there.
func (w workbook) frontProblems() ([]string, error) {
	page, err := w.text(frontPage)
	if err != nil || page == "" {
		return nil, err
	}
	var table strings.Builder
	if err := w.overview(&table); err != nil {
		return nil, err
	}
	var problems []string
	if !strings.Contains(page, table.String()) {
		problems = append(problems, fmt.Sprintf("%s does not have the table that make diff prints", frontPage))
	}
	rows := strings.Split(strings.TrimSpace(table.String()), "\n")[1:]
	for i, s := range w.stages {
		size := strings.Fields(rows[i])[6]
		if !regexp.MustCompile(fmt.Sprintf(`(?m)^\| \[%d .*\(%s/README\.md\).*\| %s \|`, s.Number, s.Name, size)).MatchString(page) {
			problems = append(problems, fmt.Sprintf("%s does not say in the row of %s that its size is %s", frontPage, s.Name, size))
		}
	}
	return problems, nil
}
