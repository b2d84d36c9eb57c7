package api

import "fmt"

// The codes of errors. All but Timeout are definite: nothing happened, and nothing will.
const (
	// BadRequest is a line that is not a request: no JSON, a field that is unknown, missing, doubled
	// or of the wrong type.
	BadRequest = "bad_request"
	// UnknownOp is a request for something that no server of this stage does.
	UnknownOp = "unknown_op"
	// TooLarge is a key, value or line beyond its limit. After such a line the connection is closed.
	TooLarge = "too_large"
	// Unavailable is a request that nobody can take now: too many clients, shutting down, or no server
	// to be reached.
	Unavailable = "unavailable"
	// NotLeader is a request that only the leader takes. Error.Leader is where to go.
	NotLeader = "not_leader"
	// Timeout is a request that was sent and not answered, or begun and not finished. It may have been
	// carried out, or may yet be.
	Timeout = "timeout"
)

// An Error is why a request was not carried out, or, with Timeout, why nobody knows.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Leader is the address at which the leader serves clients, with NotLeader and where it is known.
	Leader string `json:"leader,omitempty"`
	// Cause is what lies beneath at the client, such as the end of a context; nil in a server's answer.
	Cause error `json:"-"`
}

// Error says the code, then the words.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Unwrap is for errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Cause }

// Definite reports whether it is certain that the request was not carried out and never will be. Of a code that
// it does not know nothing is certain.
func (e *Error) Definite() bool {
	switch e.Code {
	case BadRequest, UnknownOp, TooLarge, Unavailable, NotLeader:
		return true
	}
	return false
}

// Errorf makes an error of a code and words for a person.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}
