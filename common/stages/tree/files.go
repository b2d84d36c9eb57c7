package tree

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Files returns the files under root/dir, sorted, as slash-separated paths
// relative to root/dir. Hidden ones, and those that root's .gitignore names, are
// left out: they are artefacts.
//
// Of .gitignore it understands what the workbook's own one uses: a name or
// pattern on each line, which with a slash in front is matched from the root.
func Files(root, dir string) ([]string, error) {
	ignored, err := ignored(root)
	if err != nil {
		return nil, err
	}
	top := filepath.Join(root, dir)
	var files []string
	err = filepath.WalkDir(top, func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == top {
			return err
		}
		fromRoot, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		switch {
		case e.Name()[0] == '.' || ignored.match(filepath.ToSlash(fromRoot)):
			if e.IsDir() {
				return filepath.SkipDir
			}
		case !e.IsDir():
			file, err := filepath.Rel(top, name)
			if err != nil {
				return err
			}
			files = append(files, filepath.ToSlash(file))
		}
		return nil
	})
	return files, err
}

// Top returns the visible entries at root that .gitignore does not name.
func Top(root string) ([]string, error) {
	ignored, err := ignored(root)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Name()[0] != '.' && !ignored.match(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// patterns are the lines of a .gitignore.
type patterns []string

func ignored(root string) (patterns, error) {
	text, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var ps patterns
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(strings.TrimSpace(line), "/")
		if line != "" && line[0] != '#' {
			ps = append(ps, line)
		}
	}
	return ps, nil
}

// match tells whether one of ps names the file, a path from the root.
func (ps patterns) match(file string) bool {
	for _, p := range ps {
		rooted, name := strings.HasPrefix(p, "/"), path.Base(file)
		if rooted {
			p, name = p[1:], file
		}
		if ok, _ := path.Match(p, name); ok {
			return true
		}
	}
	return false
}
