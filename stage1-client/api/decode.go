package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// DecodeRequest reads a line. It is strict, because what a server passes over in silence a client may
// rely on: where encoding/json puts U+FFFD for what is not UTF-8, ignores a field that it does not know,
// takes "KEY" for "key" and the last of two, this is an error.
//
// On an error the request has nothing but its ID, and that only where the line was JSON.
func DecodeRequest(line []byte) (Request, *Error) {
	var r Request
	err := decode(line, &r)
	if err == nil {
		err = r.Check()
	}
	if err != nil {
		return Request{ID: r.ID}, err
	}
	return r, nil
}

func decode(line []byte, r *Request) *Error {
	if !utf8.Valid(line) {
		return Errorf(BadRequest, "the line is not UTF-8")
	}
	if err := json.Unmarshal(line, r); err != nil {
		return Errorf(BadRequest, "%s", explain(err))
	}
	if escapesHalfAPair(line) {
		return Errorf(BadRequest, `the line escapes half of a surrogate pair (\ud800 to \udfff), which is no character`)
	}
	return checkNames(line)
}

// explain says in the protocol's words what encoding/json did not like.
func explain(err error) string {
	var wrong *json.UnmarshalTypeError
	switch {
	case !errors.As(err, &wrong):
		return "the line is not JSON: " + err.Error()
	case wrong.Field == "":
		return "the line must be one JSON object, not " + wrong.Value
	case wrong.Type.Kind() == reflect.String:
		return strconv.Quote(wrong.Field) + " must be a string, not " + wrong.Value
	default:
		return strconv.Quote(wrong.Field) + " must be a whole number in its range, not " + wrong.Value
	}
}

// requestFields numbers the names that a request may use.
var requestFields = func() map[string]int {
	names := map[string]int{}
	for i, f := range reflect.VisibleFields(reflect.TypeFor[Request]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names[name] = i
	}
	return names
}()

// checkNames refuses a name that is unknown, spelt otherwise or there twice. The line is valid JSON.
func checkNames(line []byte) *Error {
	seen := 0 // a bit for each field
	depth := 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			end := endOfString(line, i)
			text := line[i+1 : end]
			i = end
			if depth != 1 || !colonFollows(line[end+1:]) {
				continue // a value
			}
			field, known := requestFields[string(text)]
			if !known {
				return Errorf(BadRequest, "there is no field %s", shorten(string(text)))
			}
			if seen&(1<<field) != 0 {
				return Errorf(BadRequest, "%q is there twice", text)
			}
			seen |= 1 << field
		}
	}
	return nil
}

// endOfString returns where the string that opens at line[open] has its closing quote.
func endOfString(line []byte, open int) int {
	i := open + 1
	for line[i] != '"' {
		if line[i] == '\\' {
			i++
		}
		i++
	}
	return i
}

func colonFollows(rest []byte) bool {
	rest = bytes.TrimLeft(rest, " \t\r\n")
	return len(rest) > 0 && rest[0] == ':'
}

// escapesHalfAPair reports whether a \u escape stands for one half of a surrogate pair without the
// other. The line is valid JSON.
func escapesHalfAPair(line []byte) bool {
	for i := 0; i < len(line); i++ {
		if line[i] != '\\' {
			continue
		}
		i++ // onto what is escaped, which may be another backslash
		first := escaped(line[i:])
		if !utf16.IsSurrogate(first) {
			continue
		}
		i += len("uD83D")
		if line[i] != '\\' || utf16.DecodeRune(first, escaped(line[i+1:])) == utf8.RuneError {
			return true
		}
		i += len(`\uDE0`) // the loop steps over the last digit
	}
	return false
}

// escaped is the number in u1234, or 0 if this is another escape.
func escaped(s []byte) rune {
	if s[0] != 'u' {
		return 0
	}
	n, _ := strconv.ParseUint(string(s[1:5]), 16, 16)
	return rune(n)
}
