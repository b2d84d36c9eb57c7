package lab

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A Preview says how a scene would go in a stage.
type Preview struct {
	// Lacks is what the stage does not have and the scene needs, a command or a node; empty if there is no such thing.
	Lacks string

	// Wrong means that something goes wrong in this stage, and that the scene says so: an outcome names the stage.
	Wrong bool
}

// Look reads a scene as it would be played in a stage, by so many nodes. It fails if a line makes no sense in any stage.
func Look(scene io.Reader, stage, nodes int) (p Preview, err error) {
	l := &Lab{opt: Options{Stage: stage, Nodes: nodes}}
	lines := bufio.NewScanner(scene)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		ln, err := parse(lines.Text())
		if err != nil {
			return p, err
		}
		if len(ln.words) == 0 {
			continue
		}
		if p.Lacks == "" {
			p.Lacks = l.lacks(ln)
		}
		if ln.outcome != nil && join(ln.outcome.in(stage)) != join(ln.outcome.other) {
			p.Wrong = true
		}
	}
	return p, lines.Err()
}

// lacks is what a line needs and the stage does not have.
func (l *Lab) lacks(ln line) string {
	if _, err := l.lookUp(ln.words[0]); err != nil && !ln.expect {
		return err.Error()
	}
	for _, w := range ln.words[1:] {
		if w.is("within") && l.opt.Stage < firstSession {
			return w.text
		}
		for _, name := range strings.FieldsFunc(w.text, func(r rune) bool { return strings.ContainsRune("@,<>", r) }) {
			number, isNode := strings.CutPrefix(name, "n")
			if n, err := strconv.Atoi(number); isNode && err == nil && n > l.opt.Nodes && l.opt.Stage < firstMembers {
				return fmt.Sprintf("there is no %s", name)
			}
		}
	}
	return ""
}
