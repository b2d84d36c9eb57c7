// Package api is the protocol between a client and a server: one JSON object a line, in UTF-8, over
// TCP.
//
//	{"id":1,"op":"put","key":"/app/color","value":"red"}    {"id":1,"ok":true}
//	{"id":2,"op":"get","key":"/app/color"}                  {"id":2,"ok":true,"found":true,"value":"red"}
//	{"id":3,"op":"get","key":"/app/size"}                   {"id":3,"ok":true,"found":false}
//
// Many requests may be in flight on one connection. A response carries the id of its request, and the
// order of responses is not promised.
package api

import (
	"fmt"
	"unicode/utf8"
)

// Limits in bytes. Those of a key and a value count decoded bytes. JSON writes one of them in at most
// six: a key and a value always fit a line, but the two values of a cas may not.
const (
	MaxKey   = 1 << 10   // a key has at least one byte
	MaxValue = 128 << 10 // a value may be empty
	MaxLine  = 1 << 20   // its newline included
)

// The operations.
const (
	Get    = "get"
	Put    = "put"
	CAS    = "cas"
	Delete = "delete"
	Append = "append"
	List   = "list"
	Status = "status"
	Lead   = "lead"  // the node campaigns
	Log    = "log"   // the last entries that the node holds
	Trace  = "trace" // the node says what it thinks, or no longer

	Register = "register" // opens a session
)

// A Request is one line from a client. A pointer is nil where the field is missing, so that an empty
// value is not taken for none.
type Request struct {
	// ID is chosen by the client, at least 1, and comes back in the response.
	ID uint64 `json:"id"`
	Op string `json:"op"`
	// Key is what get, put, cas, delete and append are about.
	Key string `json:"key,omitempty"`
	// Value is what put, cas and append write, and whether trace is to be on or off.
	Value *string `json:"value,omitempty"`
	// Expect is what cas must find. Nil means: nothing.
	Expect *string `json:"expect,omitempty"`
	// Prefix is what all keys of a list begin with.
	Prefix string `json:"prefix,omitempty"`
	// Delimiter makes a list stop at its first occurrence after the prefix, as at the / of a path.
	Delimiter string `json:"delimiter,omitempty"`
	// After is where a list goes on: the last that the list before it returned.
	After string `json:"after,omitempty"`
	// Limit is how much a list returns at most, or a log; 0 means DefaultLimit, or DefaultLog.
	Limit uint64 `json:"limit,omitempty"`
	// TimeoutMS is how many milliseconds the server may take; 0 means that it may choose.
	TimeoutMS uint64 `json:"timeout_ms,omitempty"`
	// Session is that in which a write is done once, however often it is sent; 0 for none.
	Session uint64 `json:"session,omitempty"`
	// Seq tells the writes of a session apart, from 1 on.
	Seq uint64 `json:"seq,omitempty"`
	// Done is the lowest seq of the session whose answer is still awaited: those below may be forgotten.
	Done uint64 `json:"done,omitempty"`
	// MinIndex makes a read that may be outdated wait until the node has applied the entry with this index.
	MinIndex uint64 `json:"min_index,omitempty"`
	// MaxStalenessMS is how many milliseconds the answer to a read may be outdated; nil for not at all: then only
	// the leader answers.
	MaxStalenessMS *uint64 `json:"max_staleness_ms,omitempty"`
}

// DefaultLimit is how many keys and prefixes a list returns at most unless told otherwise.
const DefaultLimit = 1000

// DefaultLog is how many entries log returns unless told otherwise, and MaxLog at most.
const (
	DefaultLog = 20
	MaxLog     = 1000
)

// A Response is one line from a server. A field is missing where the operation does not set it.
type Response struct {
	// ID is that of the request; 0 where it could not be read.
	ID uint64 `json:"id"`
	// OK is false exactly if there is an Error.
	OK    bool   `json:"ok"`
	Error *Error `json:"error,omitempty"`
	// Found says of get, delete and a cas that did not swap whether the key was there.
	Found *bool `json:"found,omitempty"`
	// Value is what get found, or what was in the way of cas.
	Value   *string `json:"value,omitempty"`
	Swapped *bool   `json:"swapped,omitempty"`
	// Length is that of the value after append, in bytes.
	Length *int `json:"length,omitempty"`
	// Keys and Prefixes are what list found, each in byte order.
	Keys     []string `json:"keys,omitzero"`
	Prefixes []string `json:"prefixes,omitzero"`
	// More says that the list was cut, by its limit or by the length of a line.
	More   bool        `json:"more,omitempty"`
	Status *NodeStatus `json:"status,omitempty"`
	// Log is what log found, oldest first: an entry each, for people to read.
	Log []string `json:"log,omitzero"`
	// Session is the one that register has opened.
	Session uint64 `json:"session,omitempty"`
	// Index is the last entry that the node had applied.
	Index uint64 `json:"index,omitempty"`
	// StalenessMS is how many milliseconds the answer to a read is outdated at most; nil if not at all, or if that is not known.
	StalenessMS *uint64 `json:"staleness_ms,omitempty"`
}

// Writes reports whether a request may change the store or its sessions.
func (r *Request) Writes() bool {
	return r.Op == Put || r.Op == CAS || r.Op == Delete || r.Op == Append || r.Op == Register
}

// Answers reports whether a response has what op promises.
func (r *Response) Answers(op string) bool {
	switch op {
	case Get:
		return r.Found != nil && *r.Found == (r.Value != nil)
	case CAS:
		return r.Swapped != nil
	case Delete:
		return r.Found != nil
	case Append:
		return r.Length != nil
	case Status, Lead:
		return r.Status != nil
	case Log:
		return r.Log != nil
	case Register:
		return r.Session != 0
	default:
		return true
	}
}

// NodeStatus is what a server says of itself.
type NodeStatus struct {
	Node   string `json:"node"`
	Role   string `json:"role"` // leader, candidate or follower
	Term   uint64 `json:"term"`
	Leader string `json:"leader"` // the leader's id; empty if not known
	// LastIndex is the last entry of the log, CommitIndex the last that is known to be committed, AppliedIndex the
	// last that the store has.
	LastIndex    uint64 `json:"last_index"`
	CommitIndex  uint64 `json:"commit_index"`
	AppliedIndex uint64 `json:"applied_index"`
	Peers        int    `json:"peers"` // nodes that this one is connected to
	Keys         int    `json:"keys"`
	Clients      int    `json:"clients"` // connections, this one included
}

// Refuse is the response to request id when err is why nothing was done.
func Refuse(id uint64, err *Error) Response { return Response{ID: id, Error: err} }

// Check says what is wrong with a request by itself, or nil.
func (r *Request) Check() *Error {
	if r.ID == 0 {
		return Errorf(BadRequest, `"id" is missing: a whole number from 1 on`)
	}
	if err := r.checkSizes(); err != nil {
		return err
	}
	if (r.Session == 0) != (r.Seq == 0) || r.Done > r.Seq {
		return Errorf(BadRequest, `"session" and "seq" go together, and "done" is not above "seq"`)
	}
	switch r.Op {
	case Get, Delete:
		return r.checkKey()
	case Put, CAS, Append:
		if err := r.checkKey(); err != nil {
			return err
		}
		return r.checkValue()
	case List, Status, Lead, Register:
		return nil
	case Log:
		if r.Limit > MaxLog {
			return Errorf(TooLarge, "log shows at most %d entries", MaxLog)
		}
		return nil
	case Trace:
		if r.Value == nil || *r.Value != "on" && *r.Value != "off" {
			return Errorf(BadRequest, `"value" is on or off`)
		}
		return nil
	case "":
		return Errorf(BadRequest, `"op" is missing: one of %s`, ops)
	default:
		return Errorf(UnknownOp, "there is no op %s: one of %s", shorten(r.Op), ops)
	}
}

const ops = "get put cas delete append list status lead log trace register"

// checkSizes bounds every text, those included that the operation has no use for.
func (r *Request) checkSizes() *Error {
	switch {
	case len(r.Key) > MaxKey:
		return Errorf(TooLarge, "the key has %d bytes, at most %d are allowed", len(r.Key), MaxKey)
	case r.Value != nil && len(*r.Value) > MaxValue:
		return Errorf(TooLarge, "the value has %d bytes, at most %d are allowed", len(*r.Value), MaxValue)
	case r.Expect != nil && len(*r.Expect) > MaxValue:
		return Errorf(TooLarge, "the expected value has %d bytes, no value has more than %d", len(*r.Expect), MaxValue)
	case max(len(r.Prefix), len(r.Delimiter), len(r.After)) > MaxKey:
		return Errorf(TooLarge, "prefix, delimiter and after have at most %d bytes", MaxKey)
	}
	return nil
}

func (r *Request) checkKey() *Error {
	if r.Key == "" {
		return Errorf(BadRequest, `"key" is missing or empty`)
	}
	return nil
}

func (r *Request) checkValue() *Error {
	if r.Value == nil {
		return Errorf(BadRequest, `"value" is missing`)
	}
	return nil
}

// shorten quotes what a client sent for an error message, at most 40 bytes of it.
func shorten(s string) string {
	const most = 40
	if len(s) <= most {
		return fmt.Sprintf("%q", s)
	}
	cut := most
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%q...", s[:cut])
}
