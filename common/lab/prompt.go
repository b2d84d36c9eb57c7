package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/term"
)

// maxTyped is the longest line that the terminal's editor takes, in characters; it drops the rest.
const maxTyped = 4096

// A prompt reads commands from a terminal, with history and line editing. What nodes write goes through
// it too, so that it appears above the line that is being typed.
//
// The terminal is raw only while a line is read: at other times Ctrl-C is a signal.
type prompt struct {
	terminal *term.Terminal
	in       int // standard input
	cooked   *term.State
	style    style

	mu        sync.Mutex
	ended     bool   // never raw again
	interrupt func() // ends the command that runs; nil while a line is read
}

func newPrompt() (*prompt, error) {
	in := int(os.Stdin.Fd())
	cooked, err := term.GetState(in)
	if err != nil {
		return nil, err
	}
	return &prompt{
		terminal: term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{os.Stdin, os.Stdout}, "> "),
		in:     in,
		cooked: cooked,
		style:  terminalStyle(),
	}, nil
}

// Write shows what nodes write.
func (p *prompt) Write(b []byte) (int, error) {
	text, newline := strings.CutSuffix(string(b), "\n")
	text = p.style.dim(text)
	if newline {
		text += "\n"
	}
	if _, err := io.WriteString(p.terminal, text); err != nil {
		return 0, err
	}
	return len(b), nil
}

// run reads and carries out commands until the user or ctx ends it.
func (p *prompt) run(ctx context.Context, l *Lab) error {
	p.terminal.AutoCompleteCallback = l.complete
	if err := p.print(l.banner()); err != nil {
		return err
	}
	for {
		quit, err := p.turn(ctx, l)
		if quit || err != nil {
			return err
		}
	}
}

// turn reads a command and carries it out.
func (p *prompt) turn(ctx context.Context, l *Lab) (quit bool, err error) {
	ctx, interrupt := context.WithCancel(ctx)
	defer interrupt()
	text, err := p.read(interrupt)
	switch {
	case errors.Is(err, io.EOF):
		return true, p.print("") // the shell's prompt gets a line of its own
	case err != nil:
		return true, err
	case len([]rune(text)) >= maxTyped:
		return false, p.print(p.style.bad("that line is too long for the prompt: use a pipe or a scene"))
	}
	answer, err := l.Run(ctx, text)
	if errors.Is(err, errQuit) {
		return true, nil
	}
	return false, p.show(answer, err)
}

// show writes what came of a command. Its own error is that of writing.
func (p *prompt) show(answer string, err error) error {
	var lines []string
	switch {
	case isError(answer):
		lines = append(lines, p.style.bad(answer))
	case answer != "":
		lines = append(lines, answer)
	}
	if err != nil {
		lines = append(lines, p.style.bad(oneLine(err.Error())))
	}
	if len(lines) == 0 {
		return nil
	}
	return p.print(strings.Join(lines, "\n"))
}

func (p *prompt) print(text string) error {
	_, err := fmt.Fprintln(p.terminal, text)
	return err
}

// read lets the user type a line. From then until the next read, Ctrl-C calls interrupt.
func (p *prompt) read(interrupt func()) (string, error) {
	if err := p.raw(); err != nil {
		return "", err
	}
	defer p.cook(interrupt)
	if width, height, err := term.GetSize(p.in); err == nil && width > 0 {
		p.terminal.SetSize(width, height)
	}
	text, err := p.terminal.ReadLine()
	if errors.Is(err, term.ErrPasteIndicator) {
		err = nil
	}
	return text, err
}

func (p *prompt) raw() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return io.EOF
	}
	p.interrupt = nil
	_, err := term.MakeRaw(p.in)
	return err
}

func (p *prompt) cook(interrupt func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interrupt = interrupt
	term.Restore(p.in, p.cooked)
}

// end gives the terminal back for good, whatever run is doing.
func (p *prompt) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	term.Restore(p.in, p.cooked)
}

// interrupted ends the command that runs; it returns false if none does.
func (p *prompt) interrupted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.interrupt == nil {
		return false
	}
	p.interrupt()
	return true
}

// banner says what there is and how to talk to it.
func (l *Lab) banner() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Stage %d. ", l.opt.Stage)
	if len(l.first) == 1 {
		fmt.Fprintf(&b, "One node, for clients at\n\n")
	} else {
		fmt.Fprintf(&b, "%d nodes, for clients at\n\n", len(l.first))
	}
	for _, n := range l.first {
		fmt.Fprintf(&b, "  %s  %s\n", n.ID, n.Client)
	}
	if l.byOrder() && !l.fresh {
		fmt.Fprint(&b, "\nNobody leads, since the data is of an earlier run. See who has the best log (status, log n1), and order\n"+
			"that node to lead: lead n1.\n")
	}
	host, port, _ := strings.Cut(l.members[0].Client, ":")
	fmt.Fprintf(&b, "\nTry put x 1 and get x, and help for more; Ctrl-D ends. From another terminal:\n\n"+
		`  printf '{"id":1,"op":"put","key":"x","value":"1"}\n' | nc -w 1 %s %s`+"\n", host, port)
	return b.String()
}

// complete is called for each key: a tab completes the word before it, as far as all candidates agree.
func (l *Lab) complete(typed string, pos int, key rune) (string, int, bool) {
	if key != '\t' {
		return "", 0, false
	}
	start := strings.LastIndexAny(typed[:pos], " ,<>@") + 1
	word := typed[start:pos]
	candidates := slices.DeleteFunc(l.candidates(strings.Fields(typed[:start])), func(c string) bool { return !strings.HasPrefix(c, word) })
	if len(candidates) == 0 {
		return typed, pos, true // no tab in the line either
	}
	done := typed[:start] + commonPrefix(candidates)
	return done + typed[pos:], len(done), true
}

// candidates are the words that may follow those before: first a command, then most likely a node.
func (l *Lab) candidates(before []string) []string {
	if len(before) > 1 && before[0] == "after" {
		before = before[2:]
	}
	if len(before) > 0 && before[0] == "wait" {
		before = before[1:]
	}
	var names []string
	switch {
	case len(before) == 0:
		for _, c := range commands() {
			if c.from <= l.opt.Stage {
				names = append(names, c.name+" ")
			}
		}
	case len(before) == 1 && before[0] == "run":
		names = []string{"get ", "put ", "cas ", "append ", "delete ", "list ", "status "}
	case len(before) == 2 && before[0] == "get" && l.opt.Stage >= firstSession:
		names = append(l.ids(), "within ")
	default:
		names = append(l.ids(), clientName)
	}
	return names
}

// commonPrefix is what all begin with.
func commonPrefix(all []string) string {
	prefix := all[0]
	for _, s := range all[1:] {
		for !strings.HasPrefix(s, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
	}
	return prefix
}
