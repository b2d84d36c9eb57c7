package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
)

// maxSession is how much of a session is remembered for "save", in bytes.
const maxSession = 16 << 20

// A session remembers what was done, as the lines of a scene.
type session struct {
	mu       sync.Mutex
	lines    []string
	bytes    int
	full     bool
	last     string
	answered bool
}

// lastAnswer is the answer to the command before, if there was one.
func (s *session) lastAnswer() (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.answered
}

// keep adds a line as it is.
func (s *session) keep(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes+len(text) > maxSession {
		s.full = true
	}
	if s.full {
		return
	}
	s.lines = append(s.lines, strings.TrimSpace(text))
	s.bytes += len(text)
}

// record adds a command with the outcome that it had. One that could not be carried out leaves no trace.
func (s *session) record(stage int, c command, ln line, text, answer string, err error) {
	var miss *unexpected
	if err != nil && !errors.As(err, &miss) {
		return
	}
	s.mu.Lock()
	s.last, s.answered = answer, true
	s.mu.Unlock()
	switch {
	case c.name == "help" || c.name == "save":
	case ln.after > 0, ln.outcome != nil && err == nil:
		s.keep(text)
	case c.loose:
		s.keep(join(ln.words))
	case c.read && stage >= firstCluster:
		// A person types slowly, and what was read had come from another node. A scene does not.
		s.keep("wait " + join(ln.words) + " => " + outcomeOf(answer))
	default:
		s.keep(join(ln.words) + " => " + outcomeOf(answer))
	}
}

// outcomeOf is the outcome that an answer meets: of an error, its code alone.
func outcomeOf(answer string) string {
	if isError(answer) {
		code, _, _ := strings.Cut(answer, ":")
		return code
	}
	return join(wordsOf(answer))
}

func isError(answer string) bool { return strings.HasPrefix(answer, "error ") }

// runSave writes the session to a new file.
func runSave(_ context.Context, l *Lab, args []word) (string, error) {
	if len(args) == 0 {
		return "", errTooFew
	}
	if len(args) > 1 {
		return "", tooMuch(args[1:])
	}
	l.session.mu.Lock()
	defer l.session.mu.Unlock()
	if l.session.full {
		return "", fmt.Errorf("the session is too long to save: more than %d MiB", maxSession>>20)
	}
	f, err := os.OpenFile(args[0].text, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("%s exists already: choose another name", args[0].text)
	}
	if err != nil {
		return "", err
	}
	_, err = fmt.Fprintf(f, "# A session with stage %d, nodes: %d.\n\n%s\n",
		l.opt.Stage, len(l.first), strings.Join(l.session.lines, "\n"))
	return "ok", errors.Join(err, f.Close())
}
