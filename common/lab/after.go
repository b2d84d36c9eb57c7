package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// maxLater is how many commands there are at most that "after" has put off.
const maxLater = 16

// later are the commands that "after" has put off.
type later struct {
	slots chan struct{} // one for each that is not over

	mu     sync.Mutex
	failed error // the first failure since settle
}

// putOff has a command carried out after the time that its line names. Its answer becomes news.
func (l *Lab) putOff(c command, ln line) (string, error) {
	if c.name == "quit" {
		return "", errors.New("quit cannot be put off")
	}
	select {
	case l.later.slots <- struct{}{}:
	default:
		return "", fmt.Errorf("%d commands are put off already", maxLater)
	}
	if err := l.begin(); err != nil {
		<-l.later.slots
		return "", err
	}
	go func() {
		defer l.tasks.Done()
		defer func() { <-l.later.slots }()
		select {
		case <-time.After(ln.after):
			l.catchUp(c, ln)
		case <-l.life.Done():
		}
	}()
	return "ok", nil
}

// catchUp carries out a command that was put off, and tells of it.
func (l *Lab) catchUp(c command, ln line) {
	name := ln.said(l.opt.Stage)
	ln.after = 0
	answer, err := l.perform(l.life, c, ln)
	if err == nil && isError(answer) && ln.outcome == nil {
		err = errors.New(answer)
	}
	lines := []string{"> " + ln.said(l.opt.Stage)}
	if answer != "" {
		lines = append(lines, strings.Split(answer, "\n")...)
	}
	if err != nil && err.Error() != answer {
		lines = append(lines, oneLine(err.Error()))
	}
	l.news.say(lines...)
	l.later.fail(name, err)
}

// fail notes why a command failed, if it did.
func (l *later) fail(name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.failed == nil {
		l.failed = fmt.Errorf("%s: %w", name, err)
	}
}

// settle waits until all commands that were put off are over, and returns the first failure.
func (l *later) settle(ctx context.Context) error {
	for range maxLater {
		select {
		case l.slots <- struct{}{}:
			defer func() { <-l.slots }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	failed := l.failed
	l.failed = nil
	return failed
}
