package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// DecodeRequest reads a line. It is strict where encoding/json is lenient: there, a field that is unknown is
// ignored, "KEY" is taken for "key", the last of two wins, and U+FFFD is put for what is no character. What a
// server passes over in silence is what a client relied on.
//
// On an error the request has nothing but its ID, and that only where the line was JSON and had one id: of two,
// either may be that of another request.
func DecodeRequest(line []byte) (Request, *Error) {
	var r Request
	err := decode(line, &r)
	if err == nil {
		err = r.Check()
	}
	if err != nil {
		return explain(line, err)
	}
	return r, nil
}

// errNoObject is for a line that is something else; encoding/json mostly knows better what is wrong.
var errNoObject = Errorf(BadRequest, "the line must be one JSON object")

func decode(line []byte, r *Request) *Error {
	if !utf8.Valid(line) {
		return Errorf(BadRequest, "the line is not UTF-8")
	}
	var names [16][]byte
	seen := names[:0]
	s := scanner{line}
	if !s.take('{') {
		return errNoObject
	}
	for first := true; !s.take('}'); first = false {
		if !first && !s.take(',') {
			return errNoObject
		}
		name, ok := s.quoted()
		if !ok || !s.take(':') {
			return errNoObject
		}
		if slices.ContainsFunc(seen, func(b []byte) bool { return bytes.Equal(b, name) }) {
			return Errorf(BadRequest, "%q is there twice", name)
		}
		seen = append(seen, name)
		if err := s.field(name, r); err != nil {
			return err
		}
	}
	if !s.end() {
		return errNoObject
	}
	return nil
}

// explain finds the words and the id to refuse a line with, if it is for err.
func explain(line []byte, err *Error) (Request, *Error) {
	var r struct{ ID ids }
	syntax, wrong := new(json.SyntaxError), new(json.UnmarshalTypeError)
	switch e := json.Unmarshal(line, &r); {
	case errors.As(e, &syntax):
		err = Errorf(BadRequest, "the line is not JSON: %v", e)
	case errors.As(e, &wrong) && wrong.Field == "":
		err = Errorf(BadRequest, "the line must be one JSON object, not %s", wrong.Value)
	}
	if len(r.ID) != 1 {
		return Request{}, err
	}
	return Request{ID: r.ID[0]}, err
}

// ids are all that a line has under the name of id, in whatever case; 0 for what is no number.
type ids []uint64

// UnmarshalJSON is called for each of them.
func (i *ids) UnmarshalJSON(b []byte) error {
	var id uint64
	json.Unmarshal(b, &id)
	*i = append(*i, id)
	return nil
}

// field takes the value of the field name.
func (s *scanner) field(name []byte, r *Request) *Error {
	switch string(name) {
	case "id":
		return s.number(name, &r.ID)
	case "op":
		return s.text(name, &r.Op)
	case "key":
		return s.text(name, &r.Key)
	case "value":
		r.Value = new(string)
		return s.text(name, r.Value)
	case "expect":
		r.Expect = new(string)
		return s.text(name, r.Expect)
	case "prefix":
		return s.text(name, &r.Prefix)
	case "delimiter":
		return s.text(name, &r.Delimiter)
	case "after":
		return s.text(name, &r.After)
	case "limit":
		return s.number(name, &r.Limit)
	case "timeout_ms":
		return s.number(name, &r.TimeoutMS)
	case "session":
		return s.number(name, &r.Session)
	case "seq":
		return s.number(name, &r.Seq)
	case "done":
		return s.number(name, &r.Done)
	case "min_index":
		return s.number(name, &r.MinIndex)
	case "max_staleness_ms":
		r.MaxStalenessMS = new(uint64)
		return s.number(name, r.MaxStalenessMS)
	default:
		return Errorf(BadRequest, "there is no field %s", shorten(string(name)))
	}
}

// A scanner goes through a line of JSON once.
type scanner struct {
	rest []byte
}

// end skips blanks and reports whether nothing else is left.
func (s *scanner) end() bool {
	for len(s.rest) > 0 && bytes.IndexByte([]byte(" \t\r\n"), s.rest[0]) >= 0 {
		s.rest = s.rest[1:]
	}
	return len(s.rest) == 0
}

// take skips blanks and then c, if that is next.
func (s *scanner) take(c byte) bool {
	if s.end() || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// quoted takes a string and returns what is between its quotes, as it is written.
func (s *scanner) quoted() (raw []byte, ok bool) {
	if !s.take('"') {
		return nil, false
	}
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			raw, s.rest = s.rest[:i], s.rest[i+1:]
			return raw, true
		case c == '\\':
			i++
		case c < ' ':
			return nil, false
		}
	}
	return nil, false
}

func (s *scanner) text(name []byte, into *string) *Error {
	raw, ok := s.quoted()
	if !ok {
		return Errorf(BadRequest, "%q must be a string", name)
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		*into = string(raw)
		return nil
	}
	if json.Unmarshal(slices.Concat([]byte{'"'}, raw, []byte{'"'}), into) != nil {
		return errNoObject
	}
	if halfAPair(raw) {
		return Errorf(BadRequest, `%q has half of a surrogate pair (\ud800 to \udfff), which is no character`, name)
	}
	return nil
}

func (s *scanner) number(name []byte, into *uint64) *Error {
	s.end()
	n := 0
	for n < len(s.rest) && bytes.IndexByte([]byte("+-.0123456789Ee"), s.rest[n]) >= 0 {
		n++
	}
	number, err := strconv.ParseUint(string(s.rest[:n]), 10, 64)
	if err != nil || n > 1 && s.rest[0] == '0' {
		return Errorf(BadRequest, "%q must be a whole number from 0 to 2^64-1", name)
	}
	*into, s.rest = number, s.rest[n:]
	return nil
}

// halfAPair reports whether an escape stands for one half of a surrogate pair without the other. Text is the
// inside of a valid JSON string.
func halfAPair(text []byte) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		first := escaped(text[i:])
		if !utf16.IsSurrogate(first) {
			i++ // over what is escaped, which may be another backslash
			continue
		}
		i += len(`\ud83d`)
		if utf16.DecodeRune(first, escaped(text[i:])) == utf8.RuneError {
			return true
		}
		i += len(`\ude0`) // the loop steps over the last digit
	}
	return false
}

// escaped is the number that text begins with in the form \u1234, and 0 if it begins with anything else.
func escaped(text []byte) rune {
	if len(text) < len(`\u1234`) || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	n, _ := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(n)
}
