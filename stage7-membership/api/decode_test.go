package api

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

func TestDecodeRequest_reads_every_field(t *testing.T) {
	got, err := DecodeRequest([]byte(`{"id":18446744073709551615,"op":"cas","key":"k","value":"","expect":"old",` +
		`"prefix":"p","delimiter":"/","after":"a","limit":7,"timeout_ms":8}`))
	require.Nil(t, err)
	want := Request{ID: 1<<64 - 1, Op: CAS, Key: "k", Value: new(""), Expect: new("old"),
		Prefix: "p", Delimiter: "/", After: "a", Limit: 7, TimeoutMS: 8}
	require.Empty(t, cmp.Diff(want, got))
}

func TestDecodeRequest_keeps_every_character(t *testing.T) {
	for _, c := range []struct{ line, key, value string }{
		{`{"id":1,"op":"put","key":"a\nb\u0000c","value":""}`, "a\nb\x00c", ""},
		{`{"id":1,"op":"put","key":"ключ","value":"\u00e9é\ud83d\ude00😀"}`, "ключ", "éé😀😀"},
		{`{"id":1,"op":"put","key":"\\ud800","value":"\ufffd�"}`, `\ud800`, "��"},
		{`{"id":1,"op":"put","key":"{\"key\":\"","value":",\"key\":1,"}`, `{"key":"`, `,"key":1,`},
		{"\t{ \"id\" : 1 , \"op\" : \"put\", \"key\" : \"k\", \"value\" : \" \" } \r", "k", " "},
	} {
		got, err := DecodeRequest([]byte(c.line))
		require.Nil(t, err, c.line)
		require.Equal(t, c.key, got.Key)
		require.Equal(t, c.value, *got.Value)
	}
}

func TestDecodeRequest_refuses_with_the_id_where_it_can_be_read(t *testing.T) {
	for _, c := range []struct {
		name string
		line string
		id   uint64
		code string
		says string
	}{
		{"empty line", ``, 0, BadRequest, "the line is not JSON: unexpected end of JSON input"},
		{"no JSON", `get x`, 0, BadRequest, "the line is not JSON: invalid character 'g' looking for beginning of value"},
		{"half of it", `{"id":3,"op":"get","key":"x"`, 0, BadRequest, "the line is not JSON: unexpected end of JSON input"},
		{"more than one", `{"id":3,"op":"get","key":"x"} {"id":4}`, 0, BadRequest, "the line is not JSON: invalid character '{' after top-level value"},
		{"an array", `[1]`, 0, BadRequest, "the line must be one JSON object, not array"},
		{"null", `null`, 0, BadRequest, "the line must be one JSON object"},
		{"deep", strings.Repeat("[", 100_000), 0, BadRequest, "the line is not JSON: invalid character '[' exceeded max depth"},
		{"not UTF-8", "{\"id\":3,\"op\":\"get\",\"key\":\"\xff\"}", 3, BadRequest, "the line is not UTF-8"},
		{"half a pair", `{"id":3,"op":"get","key":"\ud800"}`, 3, BadRequest, `"key" has half of a surrogate pair (\ud800 to \udfff), which is no character`},
		{"the other half", `{"id":3,"op":"get","key":"\uDE00"}`, 3, BadRequest, `"key" has half of a surrogate pair (\ud800 to \udfff), which is no character`},
		{"two first halves", `{"id":3,"op":"get","key":"\ud83d\ud83d\ude00"}`, 3, BadRequest, `"key" has half of a surrogate pair (\ud800 to \udfff), which is no character`},
		{"half a pair, then a letter", `{"id":3,"op":"get","key":"\ud83dn"}`, 3, BadRequest, `"key" has half of a surrogate pair (\ud800 to \udfff), which is no character`},
		{"no id", `{"op":"get","key":"x"}`, 0, BadRequest, `"id" is missing: a whole number from 1 on`},
		{"negative id", `{"id":-1,"op":"get","key":"x"}`, 0, BadRequest, `"id" must be a whole number from 0 to 2^64-1`},
		{"id too large", `{"id":18446744073709551616,"op":"get","key":"x"}`, 0, BadRequest, `"id" must be a whole number from 0 to 2^64-1`},
		{"broken id", `{"id":1.5,"op":"get","key":"x"}`, 0, BadRequest, `"id" must be a whole number from 0 to 2^64-1`},
		{"number with a leading zero", `{"id":01,"op":"get","key":"x"}`, 0, BadRequest, "the line is not JSON: invalid character '1' after object key:value pair"},
		{"line break in a string", "{\"id\":3,\"op\":\"get\",\"key\":\"\t\"}", 0, BadRequest, "the line is not JSON: invalid character '\\t' in string literal"},
		{"unknown escape", `{"id":3,"op":"get","key":"\x"}`, 0, BadRequest, "the line is not JSON: invalid character 'x' in string escape code"},
		{"no comma", `{"id":3 "op":"get","key":"x"}`, 0, BadRequest, "the line is not JSON: invalid character '\"' after object key:value pair"},
		{"comma at the end", `{"id":3,"op":"get","key":"x",}`, 0, BadRequest, "the line is not JSON: invalid character '}' looking for beginning of object key string"},
		{"no op", `{"id":3}`, 3, BadRequest, `"op" is missing: one of get put cas delete append list status lead log trace snapshot members change transfer register`},
		{"null op", `{"id":3,"op":null}`, 3, BadRequest, `"op" must be a string`},
		{"unknown op", `{"id":3,"op":"frob"}`, 3, UnknownOp, `there is no op "frob": one of get put cas delete append list status lead log trace snapshot members change transfer register`},
		{"unknown long op", `{"id":3,"op":"` + strings.Repeat("é", 30) + `"}`, 3, UnknownOp, `there is no op "` + strings.Repeat("é", 20) + `"...: one of get put cas delete append list status lead log trace snapshot members change transfer register`},
		{"no key", `{"id":3,"op":"get"}`, 3, BadRequest, `"key" is missing or empty`},
		{"empty key", `{"id":3,"op":"get","key":""}`, 3, BadRequest, `"key" is missing or empty`},
		{"no value", `{"id":3,"op":"put","key":"x"}`, 3, BadRequest, `"value" is missing`},
		{"null value", `{"id":3,"op":"put","key":"x","value":null}`, 3, BadRequest, `"value" must be a string`},
		{"number as value", `{"id":3,"op":"put","key":"x","value":5}`, 3, BadRequest, `"value" must be a string`},
		{"object as key", `{"id":3,"op":"put","key":{"key":1},"value":"5"}`, 3, BadRequest, `"key" must be a string`},
		{"text as limit", `{"id":3,"op":"list","limit":"5"}`, 3, BadRequest, `"limit" must be a whole number from 0 to 2^64-1`},
		{"negative limit", `{"id":3,"op":"list","limit":-5}`, 3, BadRequest, `"limit" must be a whole number from 0 to 2^64-1`},
		{"negative timeout", `{"id":3,"op":"get","key":"x","timeout_ms":-5}`, 3, BadRequest, `"timeout_ms" must be a whole number from 0 to 2^64-1`},
		{"unknown field", `{"id":3,"op":"get","key":"x","ttl":5}`, 3, BadRequest, `there is no field "ttl"`},
		{"unknown field within one", `{"id":3,"op":"get","key":"x","ttl":{"key":5}}`, 3, BadRequest, `there is no field "ttl"`},
		{"another case", `{"id":3,"op":"get","KEY":"x"}`, 3, BadRequest, `there is no field "KEY"`},
		{"escaped name", `{"id":3,"op":"get","\u006bey":"x"}`, 3, BadRequest, `there is no field "\\u006bey"`},
		{"twice", `{"id":3,"op":"get","key":"x","key":"y"}`, 3, BadRequest, `"key" is there twice`},
		{"id twice", `{"id":3,"op":"get","key":"x","id":7}`, 0, BadRequest, `"id" is there twice`},
		{"id in another case", `{"id":3,"op":"get","key":"x","ID":7}`, 0, BadRequest, `there is no field "ID"`},
		{"id twice, after what is wrong", `{"ttl":5,"id":3,"id":7}`, 0, BadRequest, `there is no field "ttl"`},
		{"long key", `{"id":3,"op":"get","key":"` + strings.Repeat("k", MaxKey+1) + `"}`, 3, TooLarge, "the key has 1025 bytes, at most 1024 are allowed"},
		{"long value", `{"id":3,"op":"put","key":"k","value":"` + strings.Repeat("v", MaxValue+1) + `"}`, 3, TooLarge, "the value has 131073 bytes, at most 131072 are allowed"},
		{"long value of few letters", `{"id":3,"op":"put","key":"k","value":"` + strings.Repeat("é", MaxValue/2+1) + `"}`, 3, TooLarge, "the value has 131074 bytes, at most 131072 are allowed"},
		{"long prefix", `{"id":3,"op":"list","prefix":"` + strings.Repeat("v", MaxKey+1) + `"}`, 3, TooLarge, "prefix, delimiter and after have at most 1024 bytes"},
		{"long expected value", `{"id":3,"op":"cas","key":"k","value":"","expect":"` + strings.Repeat("v", MaxValue+1) + `"}`, 3, TooLarge, "the expected value has 131073 bytes, no value has more than 131072"},
		{"long value that is of no use", `{"id":3,"op":"delete","key":"k","value":"` + strings.Repeat("v", MaxValue+1) + `"}`, 3, TooLarge, "the value has 131073 bytes, at most 131072 are allowed"},
		{"long prefix that is of no use", `{"id":3,"op":"delete","key":"k","prefix":"` + strings.Repeat("v", MaxKey+1) + `"}`, 3, TooLarge, "prefix, delimiter and after have at most 1024 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := DecodeRequest([]byte(c.line))
			require.Empty(t, cmp.Diff(&Error{Code: c.code, Message: c.says}, err))
			require.Empty(t, cmp.Diff(Request{ID: c.id}, r), "nothing but the id")
		})
	}
}

// The longest key with the longest value, escaped as clumsily as JSON allows, still fits a line.
func TestLimits_leave_room_for_escapes(t *testing.T) {
	key := strings.Repeat(`\u0001`, MaxKey)
	value := strings.Repeat(`\u0001`, MaxValue)
	line := `{"id":18446744073709551615,"op":"put","timeout_ms":9223372036854775807,"key":"` + key + `","value":"` + value + `"}`
	require.Less(t, len(line), MaxLine)
	r, err := DecodeRequest([]byte(line))
	require.Nil(t, err)
	require.Len(t, *r.Value, MaxValue)
}

// Whatever the bytes: no panic, and what is taken for a request is one, which comes out the same when it is
// written and read again.
func FuzzDecodeRequest(f *testing.F) {
	for _, line := range []string{
		`{"id":1,"op":"put","key":"k","value":"v"}`,
		`{"id":2,"op":"cas","key":"k","expect":"\ud83d\ude00","value":"\\"}`,
		`{"id":3,"op":"list","prefix":"/a/","delimiter":"/","after":"/a/b","limit":3}`,
		`{"id":3,"op":"get","key":"\ud800","key":{"key":[]}}`,
		"{\"id\":4,\"op\":\"get\",\"key\":\"\xff\"}",
		`[[{"a":"\"`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := DecodeRequest(line)
		if err != nil {
			require.Empty(t, cmp.Diff(Request{ID: r.ID}, r))
			require.False(t, err == errNoObject && json.Unmarshal(line, &r) == nil && string(bytes.TrimSpace(line)) != "null", "it is one")
			return
		}
		var theirs Request
		require.NoError(t, json.Unmarshal(line, &theirs), "whatever is taken is JSON")
		require.Empty(t, cmp.Diff(theirs, r))
		again, err := DecodeRequest(encode(t, r))
		require.Nil(t, err)
		require.Empty(t, cmp.Diff(r, again))
	})
}
