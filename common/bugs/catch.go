package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// timeout bounds one run of a test that a patch gives no -timeout of its own.
const timeout = "-timeout=60s"

// catch puts the patch into the stage and runs the tests that should fail. The
// verdict is that of the first which does not, or else of the first.
func (p patch) catch(ctx context.Context, stage string) (verdict, error) {
	dir, err := os.MkdirTemp("", "bugs-")
	if err != nil {
		return verdict{}, err
	}
	defer os.RemoveAll(dir)
	overlay, err := p.overlay(stage, dir)
	if err != nil {
		return verdict{result: doesNotApply, detail: err.Error()}, nil
	}
	var first verdict
	for i, c := range p.catchers {
		v, err := p.try(ctx, stage, overlay, c)
		if err != nil || !v.caught() {
			return v, err
		}
		if i == 0 {
			first = v
		}
	}
	return first, nil
}

// try runs one test with the patch in.
func (p patch) try(ctx context.Context, stage, overlay string, c catcher) (verdict, error) {
	args := []string{"test", "-json", "-count=1", "-vet=off", timeout, "-run", pattern(c.test)}
	args = append(args, p.flags...)
	test := exec.CommandContext(ctx, "go", append(args, "./"+c.dir)...)
	test.Dir = stage
	// Through the environment the overlay also reaches a go build that the test
	// itself runs.
	test.Env = append(os.Environ(), "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+overlay))
	test.Cancel = func() error { return test.Process.Signal(os.Interrupt) }
	test.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	test.Stdout, test.Stderr = &stdout, &stderr
	err := test.Run()
	if ctx.Err() != nil {
		return verdict{}, errors.New("interrupted")
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return verdict{}, err
	}
	said := short(stdout.String(), filepath.Join(filepath.Dir(overlay), copies), stage)
	return judge(c.test, said, stderr.String()), nil
}

// short is what go test said with paths relative to the given directories.
func short(said string, dirs ...string) string {
	for _, dir := range dirs {
		said = strings.ReplaceAll(said, dir+string(filepath.Separator), "")
	}
	return said
}

// pattern is the -run that selects the named test alone.
func pattern(test string) string {
	parts := strings.Split(test, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}
