package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// A progress is one line on a terminal that says what is being measured. Elsewhere it says nothing.
type progress struct{ out io.Writer }

func newProgress(w io.Writer) *progress {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &progress{w}
	}
	return &progress{io.Discard}
}

// eraseLine goes to the start of a terminal's line and erases it.
const eraseLine = "\r\x1b[K"

// show puts words in place of the last ones.
func (p *progress) show(format string, args ...any) {
	fmt.Fprintf(p.out, eraseLine+format, args...)
}

// clear takes the line away.
func (p *progress) clear() { fmt.Fprint(p.out, eraseLine) }
