package lab

import "os"

// A style says how to mark text on a terminal.
type style bool

const (
	plain  style = false
	colour style = true
)

// terminalStyle is that of a terminal whose user has not asked for no colour (https://no-color.org).
func terminalStyle() style { return style(os.Getenv("NO_COLOR") == "") }

func (s style) good(text string) string { return s.sgr("32", text) }
func (s style) bad(text string) string  { return s.sgr("31", text) }
func (s style) dim(text string) string  { return s.sgr("2", text) }

func (s style) sgr(code, text string) string {
	if s == plain {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
