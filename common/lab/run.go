package lab

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// waitTime is how long "wait" repeats a command, and waitPause how often.
	waitTime  = 5 * time.Second
	waitPause = 20 * time.Millisecond

	// maxShown is how much of an answer a message about a failed expectation repeats, in characters.
	maxShown = 300
)

// unexpected is the error of an outcome that did not follow.
type unexpected struct {
	want, got string
	waited    time.Duration // 0 unless the command was repeated
}

func (u *unexpected) Error() string {
	s := fmt.Sprintf("expected %.*s, got %.*s", maxShown, u.want, maxShown, u.got)
	if u.waited > 0 {
		s += fmt.Sprintf(" after %v", u.waited.Round(time.Millisecond))
	}
	return s
}

// check compares an answer with what this stage expects; no outcome fits all.
func (l *Lab) check(o *outcome, answer string) error {
	if o == nil || matches(o.in(l.opt.Stage), answer) {
		return nil
	}
	return &unexpected{want: join(o.in(l.opt.Stage)), got: join(wordsOf(answer))}
}

// Run carries out one line of a scene, as the prompt does, and returns the answer: what a node said, an
// error of the protocol included ("error not_leader: ..."), or "ok". An error of Run means that the line
// makes no sense, could not be carried out, or did not have the outcome that it names; in the last case
// the answer is there too.
func (l *Lab) Run(ctx context.Context, text string) (answer string, err error) {
	ln, err := parse(text)
	if err != nil || len(ln.words) == 0 {
		return "", err
	}
	if ln.expect {
		last, ok := l.session.lastAnswer()
		if !ok {
			return "", errors.New("there is no answer yet to expect something of")
		}
		err := l.check(ln.outcome, last)
		if err == nil {
			l.session.keep(text)
		}
		return "", err
	}
	c, err := l.lookUp(ln.words[0])
	if err != nil {
		return "", err
	}
	if c.run == nil {
		return "", fmt.Errorf("%s cannot be used here; usage: %s %s", c.name, c.name, c.usage)
	}
	if ln.after > 0 {
		answer, err = l.putOff(c, ln)
	} else {
		answer, err = l.perform(ctx, c, ln)
	}
	l.session.record(l.opt.Stage, c, ln, text, answer, err)
	return answer, err
}

// perform carries out a line, now.
func (l *Lab) perform(ctx context.Context, c command, ln line) (string, error) {
	if ln.wait {
		return l.await(ctx, c, ln)
	}
	return l.carryOut(ctx, c, ln)
}

// carryOut runs a command once and checks its outcome.
func (l *Lab) carryOut(ctx context.Context, c command, ln line) (string, error) {
	answer, err := c.run(ctx, l, ln.words[1:])
	if errors.Is(err, errTooFew) {
		return "", fmt.Errorf("%w; usage: %s %s", err, c.name, c.usage)
	}
	if err != nil {
		return "", err
	}
	return answer, l.check(ln.outcome, answer)
}

// await runs a command until its outcome holds, or for waitTime.
func (l *Lab) await(ctx context.Context, c command, ln line) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, waitTime)
	defer cancel()
	began := time.Now()
	again := time.NewTicker(waitPause)
	defer again.Stop()
	var last string
	var miss *unexpected
	for {
		answer, err := l.carryOut(ctx, c, ln)
		switch {
		case !errors.As(err, new(*unexpected)):
			return answer, err
		case miss == nil || ctx.Err() == nil: // else it was cut short, and the one before says more
			last = answer
			errors.As(err, &miss)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			miss.waited = time.Since(began)
			return last, miss
		}
	}
}
