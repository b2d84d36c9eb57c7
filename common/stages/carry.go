package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"raftworkbook/common/stages/tree"
)

// A patch is the change that is carried: a file of one stage before and after.
type patch struct {
	file string
	// from is the stage that the change was made in.
	from tree.Stage
	// base is the file as it was; nil if it is new.
	base []byte
	// after is the file as it is now.
	after []byte
}

// carry merges the change that was made to a file of one stage, since the revision
// base, into the same file of all stages that follow. It stops at the first stage
// in which the two conflict, and fails: what is settled there is carried on from
// there.
func (w workbook) carry(out io.Writer, file string, from int, base string) error {
	if !filepath.IsLocal(file) {
		return fmt.Errorf("%q is not a file inside a stage: give it as server/conn.go", file)
	}
	stage, err := tree.Find(w.stages, from)
	if err != nil {
		return err
	}
	p, err := w.patch(filepath.ToSlash(filepath.Clean(file)), stage, base)
	if err != nil {
		return err
	}
	for _, to := range w.stages {
		if to.Number <= from {
			continue
		}
		outcome, conflicts, err := p.merge(to)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s/%s: %s\n", to.Name, p.file, outcome)
		if conflicts {
			return fmt.Errorf("settle %s/%s, then go on with: make carry FILE=%s FROM=%d", to.Name, p.file, p.file, to.Number)
		}
	}
	return nil
}

// patch finds out what has changed in file since the revision base.
func (w workbook) patch(file string, from tree.Stage, base string) (patch, error) {
	p := patch{file: file, from: from}
	var err error
	if p.after, err = os.ReadFile(filepath.Join(from.Dir, file)); err != nil {
		return p, err
	}
	if p.base, err = w.committed(base, from.Name+"/"+file); err != nil {
		return p, err
	}
	if p.base != nil && bytes.Equal(p.base, p.after) {
		return p, fmt.Errorf("%s/%s is as it was in %s: nothing to carry (BASE=HEAD~1 carries what the last commit changed)",
			from.Name, file, base)
	}
	return p, nil
}

// committed returns the file, a path from the root, as of a revision; nil if it was
// not there.
func (w workbook) committed(revision, file string) ([]byte, error) {
	if _, err := w.git("rev-parse", "--verify", "--quiet", revision+"^{commit}"); err != nil {
		return nil, fmt.Errorf("%s is no commit here: %w", revision, err)
	}
	there, err := w.git("ls-tree", "--name-only", revision, "--", file)
	if err != nil || len(there) == 0 {
		return nil, err
	}
	return w.git("show", revision+":./"+file)
}

func (w workbook) git(args ...string) ([]byte, error) {
	git := exec.Command("git", args...)
	git.Dir = w.root
	var stderr bytes.Buffer
	git.Stderr = &stderr
	text, err := git.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w\n%s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return append([]byte{}, text...), nil // an empty file is not nil
}

// merge puts the change into stage to, and says what it did there.
func (p patch) merge(to tree.Stage) (outcome string, conflicts bool, err error) {
	name := filepath.Join(to.Dir, p.file)
	ours, err := os.ReadFile(name)
	absent := errors.Is(err, fs.ErrNotExist)
	if err != nil && !absent {
		return "", false, err
	}
	base, after := respell(p.base, p.from, to), respell(p.after, p.from, to)
	switch {
	case absent && p.base != nil:
		return "is not there, skipped", false, nil
	case absent:
		return "new, copied", false, errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, after, 0o644))
	case bytes.Equal(ours, after):
		return "has it already", false, nil
	case bytes.Equal(ours, base):
		return "was the same, now the new version", false, os.WriteFile(name, after, 0o644)
	}
	n, err := p.mergeFile(name, base, after)
	if err != nil || n == 0 {
		return "merged", false, err
	}
	return fmt.Sprintf("CONFLICT, %d marked in the file", n), true, nil
}

// mergeFile merges the change from base to after into the named file, and
// returns how many conflicts it has left in it.
func (p patch) mergeFile(name string, base, after []byte) (conflicts int, err error) {
	dir, err := os.MkdirTemp("", "stages-carry-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	baseFile, afterFile := filepath.Join(dir, "base"), filepath.Join(dir, "after")
	if err := errors.Join(os.WriteFile(baseFile, base, 0o600), os.WriteFile(afterFile, after, 0o600)); err != nil {
		return 0, err
	}
	git := exec.Command("git", "merge-file",
		"-L", "this stage", "-L", "before", "-L", fmt.Sprintf("carried from stage %d", p.from.Number),
		name, baseFile, afterFile)
	said, err := git.CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() < 128 {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("git merge-file: %w: %s", err, said)
	}
	return 0, nil
}
