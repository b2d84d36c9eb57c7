package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// separator stands between a script and what it makes the nodes say.
const separator = "----"

// Golden plays each file of the pattern and requires that the nodes say what stands there. With update it writes the
// files anew, for a person to read the difference.
//
// A file has parts with an empty line between them: the lines of a script, which may be comments (#), a line ----, and
// what the nodes say to that.
func Golden(t *testing.T, a Algorithm, pattern string, update bool) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), func(t *testing.T) {
			if err := golden(a, file, update); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// golden plays one file.
func golden(a Algorithm, file string, update bool) error {
	was, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	is, err := replay(a, string(was))
	switch {
	case err != nil:
		return fmt.Errorf("%s:%w", file, err)
	case update:
		return os.WriteFile(file, []byte(is), 0o644)
	case is != string(was):
		return fmt.Errorf("%s:%s\n-update writes what they say now", file, difference(string(was), is))
	}
	return nil
}

// replay plays a file and returns it with what the nodes say now.
func replay(a Algorithm, file string) (string, error) {
	p := newPlayer(a)
	var now strings.Builder
	script := true
	say := func() {
		now.WriteString(separator + "\n" + p.out.String())
		p.out.Reset()
		script = false
	}
	for i, line := range strings.Split(strings.TrimRight(file, "\n"), "\n") {
		if !script && line != "" {
			continue // what they said before
		}
		if script = true; line == separator {
			say()
			continue
		}
		now.WriteString(line + "\n")
		if err := p.play(line); err != nil {
			return "", fmt.Errorf("%d: %w", i+1, err)
		}
	}
	if script {
		say()
	}
	return now.String(), nil
}

// difference shows the first line in which two texts differ.
func difference(was, is string) string {
	before, now := strings.Split(was, "\n"), strings.Split(is, "\n")
	for i := 0; ; i++ {
		if i == len(before) || i == len(now) || before[i] != now[i] {
			at := func(lines []string) string { return strings.Join(lines[min(i, len(lines)):min(i+3, len(lines))], "\n") }
			return fmt.Sprintf("%d: it was\n%s\nand now it is\n%s", i+1, at(before), at(now))
		}
	}
}
