package lab

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxWord is how much of a word a message about it repeats, in characters.
const maxWord = 40

// A word is one word of a command, an answer or an outcome. Words are separated by blanks; one that
// begins with a double quote is in the notation of Go's and JSON's strings.
type word struct {
	text   string
	quoted bool
}

// is reports whether the word is s, unquoted: a quoted word is always a key or a value.
func (w word) is(s string) bool { return !w.quoted && w.text == s }

// String is the word as show writes it.
func (w word) String() string {
	if w.quoted {
		return show(w.text)
	}
	return w.text
}

// words takes a line apart.
func words(line string) ([]word, error) {
	var ws []word
	for {
		line = strings.TrimLeftFunc(line, unicode.IsSpace)
		if line == "" {
			return ws, nil
		}
		w, rest, err := cutWord(line)
		if err != nil {
			return nil, err
		}
		ws, line = append(ws, w), rest
	}
}

// cutWord takes the first word off a line that begins with one.
func cutWord(line string) (w word, rest string, err error) {
	if line[0] != '"' {
		end := strings.IndexFunc(line, unicode.IsSpace)
		if end < 0 {
			end = len(line)
		}
		return word{text: line[:end]}, line[end:], validText(line[:end])
	}
	literal, err := strconv.QuotedPrefix(line)
	if err != nil {
		return word{}, "", fmt.Errorf("a word in quotes that does not end, or has a wrong escape: %s", cut(line, maxWord))
	}
	rest = line[len(literal):]
	if rest != "" && !startsBlank(rest) {
		return word{}, "", fmt.Errorf("no blank after the word in quotes %s", cut(literal, maxWord))
	}
	text, err := strconv.Unquote(literal)
	if err != nil {
		return word{}, "", err
	}
	return word{text, true}, rest, validText(text)
}

// validText refuses what JSON could not carry unaltered.
func validText(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("not UTF-8")
	}
	return nil
}

// cut is s for a message, with no more than its first characters.
func cut(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return s
}

func startsBlank(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsSpace(r)
}

// reserved are words that mean something in an answer or an outcome, so that a value that is one of them
// is shown in quotes.
var reserved = []string{"absent", "ok", "error", "swapped", "not", "nothing", "...", "=>", "|"}

// show writes a key or value so that it can be read back as one word: as it is where that is clear, else
// in quotes.
func show(s string) string {
	plain := s != "" && !strings.ContainsFunc(s, needsQuotes) && !strings.HasPrefix(s, "#") && !strings.HasPrefix(s, "@")
	for _, r := range reserved {
		plain = plain && s != r
	}
	if plain && !isStageTag(s) {
		return s
	}
	return strconv.Quote(s)
}

func needsQuotes(r rune) bool {
	return r == '"' || unicode.IsSpace(r) || !strconv.IsPrint(r)
}

// wordsOf takes an answer apart, which may hold what a server said, and so quotes of any kind.
func wordsOf(answer string) []word {
	var ws []word
	for {
		answer = strings.TrimLeftFunc(answer, unicode.IsSpace)
		if answer == "" {
			return ws
		}
		w, rest, err := cutWord(answer)
		if err != nil {
			end := strings.IndexFunc(answer, unicode.IsSpace)
			if end < 0 {
				end = len(answer)
			}
			w, rest = word{text: answer[:end]}, answer[end:]
		}
		ws, answer = append(ws, w), rest
	}
}

// join writes words as one line, in the notation of show.
func join(ws []word) string {
	var parts []string
	for _, w := range ws {
		parts = append(parts, w.String())
	}
	return strings.Join(parts, " ")
}
