package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"raftworkbook/common/wire"
)

// A request is a line that is encoded once and then patched: ids have eight digits, keys six. It
// belongs to one connection.
type request struct {
	line []byte
	// id, idField and key are the parts of line that are patched, and that an answer must repeat.
	id, idField, key []byte
	// wants is what a right answer holds beside the id. It is nil where the answer is the line itself.
	wants [][]byte
	// found is the value that a get must find; nil for a put.
	found *string
	sent  int
}

const (
	idDigits  = 8
	keyDigits = 6 // enough for maxKeys
	firstID   = 10_000_000
	ids       = 90_000_000
)

// newRequest encodes a put of value, or a get that must find it. Echoed says that the server sends the
// line back.
func newRequest(op, value string, echoed bool) *request {
	q := &request{}
	line := fmt.Sprintf(`{"id":%d,"op":%q,"key":"key-%0*d"`, firstID, op, keyDigits, 0)
	q.line = []byte(line)
	wants := [][]byte{[]byte(`"ok":true`)}
	if op == "put" {
		q.line = fmt.Appendf(q.line, `,"value":%q`, value)
	} else {
		q.found = &value
		wants = append(wants, []byte(`"found":true`), fmt.Appendf(nil, `"value":%q`, value))
	}
	q.line = append(q.line, "}\n"...)
	if !echoed {
		q.wants = wants
	}
	q.idField = q.line[1 : 1+len(`"id":`)+idDigits]
	q.id = q.idField[len(`"id":`):]
	q.key = q.line[len(line)-1-keyDigits : len(line)-1]
	return q
}

// value returns n bytes that need no escape in JSON.
func value(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	return strings.Repeat(letters, n/len(letters)+1)[:n]
}

// next makes the line a new request, for the key of that number.
func (q *request) next(key int) {
	setDigits(q.id, firstID+q.sent%ids)
	setDigits(q.key, key)
	q.sent++
}

// setDigits writes n into all of text, which is long enough.
func setDigits(text []byte, n int) {
	for i := len(text) - 1; i >= 0; i-- {
		text[i] = byte('0' + n%10)
		n /= 10
	}
}

// complaint says what is wrong with an answer to the line: the code of its error, or what is missing.
// It is "" if nothing is.
func (q *request) complaint(answer []byte) string {
	if q.wants == nil {
		if !bytes.Equal(answer, q.line) {
			return "wrong echo"
		}
		return ""
	}
	if !bytes.Contains(answer, q.idField) {
		return q.explain(answer)
	}
	for _, want := range q.wants {
		if !bytes.Contains(answer, want) {
			return q.explain(answer)
		}
	}
	return ""
}

// explain is the slow half of complaint, for an answer that is wrong, or right in other words.
func (q *request) explain(answer []byte) string {
	var r wire.Response
	err := json.Unmarshal(answer, &r)
	switch {
	case err != nil:
		return "no JSON"
	case r.Error != nil:
		return r.Error.Code
	case !r.OK:
		return "not ok"
	case fmt.Sprint(r.ID) != string(q.id):
		return "wrong id"
	case q.found != nil && (r.Value == nil || *r.Value != *q.found):
		return "wrong value"
	default:
		return ""
	}
}
