package lab

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A line is one line of a scene, or one typed at the prompt:
//
//	# narration
//	COMMAND
//	COMMAND => OUTCOME      the answer must be that
//	wait COMMAND => OUTCOME the command is repeated until its answer is that
//	after TIME COMMAND      the command is carried out that much later, with an outcome or without
//	expect OUTCOME          the answer to the command before must have been that
//
// A blank line and narration have no words.
type line struct {
	words   []word
	wait    bool
	expect  bool
	after   time.Duration // 0 for at once
	outcome *outcome      // nil if any will do
}

// An outcome is what must follow, with what must follow in other stages where they differ on purpose:
//
//	1 | stage2: absent | stage0-1: ok
type outcome struct {
	other  []word // in a stage that is not named
	stages []stageOutcome
}

type stageOutcome struct {
	from, to int
	words    []word
}

// said is the line without the outcome of its command; an outcome that is the command is that of the
// stage.
func (l line) said(stage int) string {
	said := join(l.words)
	switch {
	case l.wait:
		said = "wait " + said
	case l.expect:
		said = "expect " + join(l.outcome.in(stage))
	}
	if l.after > 0 {
		said = fmt.Sprintf("after %v %s", l.after, said)
	}
	return said
}

// parse takes a line apart. It knows no commands.
func parse(text string) (line, error) {
	if strings.HasPrefix(strings.TrimLeftFunc(text, unicode.IsSpace), "#") {
		return line{}, nil
	}
	ws, err := words(text)
	if err != nil || len(ws) == 0 {
		return line{}, err
	}
	if ws[0].is("expect") {
		o, err := parseOutcome(ws[1:])
		return line{words: ws[:1], expect: true, outcome: o}, err
	}
	l := line{words: ws}
	for i, w := range ws {
		if w.is("=>") {
			if l.outcome, err = parseOutcome(ws[i+1:]); err != nil {
				return line{}, err
			}
			l.words = ws[:i]
			break
		}
	}
	if len(l.words) > 0 && l.words[0].is("after") {
		if len(l.words) < 3 {
			return line{}, errors.New("what is to be done, and when? usage: after TIME COMMAND")
		}
		if l.after, err = duration(l.words[1:2]); err != nil {
			return line{}, err
		}
		l.words = l.words[2:]
	}
	if len(l.words) > 0 && l.words[0].is("wait") {
		l.wait, l.words = true, l.words[1:]
		if l.outcome == nil {
			return line{}, errors.New("what for? usage: wait COMMAND => OUTCOME")
		}
	}
	if len(l.words) == 0 {
		return line{}, errors.New("there is no command before =>")
	}
	return l, nil
}

func parseOutcome(ws []word) (*outcome, error) {
	o := &outcome{}
	for i, alternative := range split(ws, "|") {
		if len(alternative) == 0 {
			return nil, errors.New(`an outcome is missing (an empty value is "")`)
		}
		from, to, tagged := stageTag(alternative[0])
		switch {
		case tagged && i == 0:
			return nil, errors.New("the first outcome is that of all stages not named, and so names none")
		case !tagged && i > 0:
			return nil, errors.New("an outcome after the first names its stage: 1 | stage2: absent")
		case i == 0:
			o.other = alternative
		case len(alternative) == 1:
			return nil, fmt.Errorf("no outcome after %s", alternative[0])
		default:
			o.stages = append(o.stages, stageOutcome{from, to, alternative[1:]})
		}
	}
	return o, nil
}

// split cuts words at an unquoted separator.
func split(ws []word, separator string) [][]word {
	parts := [][]word{nil}
	for _, w := range ws {
		if w.is(separator) {
			parts = append(parts, nil)
			continue
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], w)
	}
	return parts
}

var stagePattern = regexp.MustCompile(`^stage(\d)(?:-(\d))?:$`)

// stageTag reads stage2: or stage0-1:
func stageTag(w word) (from, to int, ok bool) {
	m := stagePattern.FindStringSubmatch(w.text)
	if m == nil || w.quoted {
		return 0, 0, false
	}
	from, _ = strconv.Atoi(m[1])
	to = from
	if m[2] != "" {
		to, _ = strconv.Atoi(m[2])
	}
	return from, to, true
}

func isStageTag(s string) bool { return stagePattern.MatchString(s) }

// in is the outcome for one stage.
func (o *outcome) in(stage int) []word {
	for _, s := range o.stages {
		if s.from <= stage && stage <= s.to {
			return s.words
		}
	}
	return o.other
}

// matches compares word by word, so that blanks and line ends do not matter, nor whether a word is in
// quotes that does not need them. Of an error, the outcome may be the beginning: "error timeout".
func matches(want []word, answer string) bool {
	w, got := join(want), join(wordsOf(answer))
	if w == got {
		return true
	}
	if !want[0].is("error") || !strings.HasPrefix(got, w) {
		return false
	}
	next, _ := utf8.DecodeRuneInString(got[len(w):])
	return !unicode.IsLetter(next) && !unicode.IsDigit(next) && next != '_'
}
