package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds a line of a scene or a pipe, in bytes: the largest value with most of it escaped.
const maxLine = 1 << 20

// byteOrderMark is what some editors put at the beginning of a file.
const byteOrderMark = "\ufeff"

// A player carries out lines from a file or a pipe.
type player struct {
	lab *Lab

	// out takes the answers; with narrate, also the story around them.
	out     io.Writer
	narrate bool
	style   style

	// failed takes each failure. If it returns false, that was the last line.
	failed func(error) bool

	// unmet is the failure of a command that was answered with an error, unless the next line expects
	// it.
	unmet error

	// lost is why out cannot be written any more. That was the last line, too.
	lost error
}

// Scene plays a scene and tells it on out: narration, commands, answers. It stops at the first line
// that fails, and returns why, with the number of the line.
func (l *Lab) Scene(ctx context.Context, scene io.Reader, out io.Writer) error {
	return l.scene(ctx, scene, out, plain)
}

func (l *Lab) scene(ctx context.Context, scene io.Reader, out io.Writer, s style) error {
	var first error
	p := player{lab: l, out: out, narrate: true, style: s, failed: func(err error) bool {
		first = err
		return false
	}}
	if err := p.play(ctx, scene); err != nil {
		return err
	}
	return first
}

// play carries out all lines. Its own error is that of reading them or of writing to out.
func (p *player) play(ctx context.Context, r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	number := 0
	for lines.Scan() {
		number++
		if ctx.Err() != nil {
			return ctx.Err()
		}
		text := lines.Text()
		if number == 1 {
			text = strings.TrimPrefix(text, byteOrderMark)
		}
		err := p.line(ctx, number, text)
		if p.lost != nil {
			return p.lost
		}
		if errors.Is(err, errQuit) {
			break
		}
		if err != nil && !p.failed(err) {
			return nil
		}
	}
	if p.unmet != nil && !p.failed(p.unmet) {
		return nil
	}
	if err := p.lab.later.settle(ctx); err != nil {
		p.failed(err)
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("line %d is longer than %d bytes", number+1, maxLine)
	}
	return lines.Err()
}

// line carries out one line.
func (p *player) line(ctx context.Context, number int, text string) error {
	ln, err := parse(text)
	if err == nil && len(ln.words) == 0 {
		p.tell(narration(text))
		return nil
	}
	if unmet := p.unmet; unmet != nil && !ln.expect {
		p.unmet = nil
		if !p.failed(unmet) {
			return errQuit
		}
	}
	p.unmet = nil
	if err == nil {
		p.tell("> " + ln.said(p.lab.opt.Stage))
	} else {
		p.tell("> " + brief(text))
	}
	answer, err := p.lab.Run(ctx, text)
	if errors.Is(err, errQuit) {
		return err
	}
	p.answer(ln, answer, err)
	if err != nil {
		return fmt.Errorf("line %d: %s: %w", number, brief(text), err)
	}
	if isError(answer) && ln.outcome == nil {
		p.unmet = fmt.Errorf("line %d: %s: %s", number, brief(text), answer)
	}
	return nil
}

// tell writes a line of the story.
func (p *player) tell(s string) {
	if p.narrate {
		p.print(s)
	}
}

// print writes to out, unless that has failed before.
func (p *player) print(s string) {
	if p.lost == nil {
		_, p.lost = fmt.Fprintln(p.out, s)
	}
}

// answer writes an answer, in the story with a mark that says whether it is the expected one.
func (p *player) answer(ln line, answer string, err error) {
	switch {
	case !p.narrate:
	case ln.outcome != nil && ln.after == 0 && err == nil:
		answer += " " + p.style.good("✓")
	case err != nil:
		answer += " " + p.style.bad("✗ "+oneLine(err.Error()))
	}
	if answer = strings.TrimPrefix(answer, " "); answer != "" {
		p.print(answer)
	}
}

// narration is a comment without its mark.
func narration(text string) string {
	text = strings.TrimPrefix(strings.TrimSpace(text), "#")
	return strings.TrimPrefix(text, " ")
}

// brief is a line for a message.
func brief(text string) string { return cut(strings.TrimSpace(text), maxShown) }
