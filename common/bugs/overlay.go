package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// copies is where, in a patch's temporary directory, the patched files are.
const copies = "copies"

// overlay applies the patch to copies, inside dir, of the files that it touches in
// the stage, and returns the file that tells go build to take the copies for the
// originals. It fails if the patch does not apply.
func (p patch) overlay(stage, dir string) (file string, err error) {
	patched := filepath.Join(dir, copies)
	if err := os.Mkdir(patched, 0o755); err != nil {
		return "", err
	}
	for _, name := range p.touched {
		if err := copyFile(filepath.Join(stage, name), filepath.Join(patched, name)); err != nil {
			return "", err
		}
	}
	if err := p.apply(patched); err != nil {
		return "", err
	}
	replace := make(map[string]string) // "" means that the file is not there
	for _, name := range p.touched {
		original, replacement := filepath.Join(stage, name), filepath.Join(patched, name)
		if _, err := os.Stat(replacement); err != nil {
			replacement = ""
		}
		replace[original] = replacement
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, text, 0o600)
}

// applies fails if the patch does not apply to the stage.
func (p patch) applies(stage string) error {
	dir, err := os.MkdirTemp("", "bugs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	_, err = p.overlay(stage, dir)
	return err
}

// apply puts the patch into the files under dir.
func (p patch) apply(dir string) error {
	git := exec.Command("git", "apply", "--whitespace=nowarn", p.file)
	git.Dir = dir
	// Inside a repository git would look for the files at its top.
	git.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	if said, err := git.CombinedOutput(); err != nil {
		first, _, _ := strings.Cut(string(said), "\n")
		return fmt.Errorf("%s", strings.TrimPrefix(first, "error: "))
	}
	return nil
}

// copyFile copies a file, unless it does not exist: the patch may bring it.
func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}
